"""IPython's shell as a session runs it: displays go to the server, everything else to descriptors 1 and 2."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from traceback import format_exception
from types import TracebackType
from typing import Any, Callable, Iterator, Optional

import IPython
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from . import figures, sigint

MimeBundle = dict[str, Any]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TEXT = "text/plain"
_TEXT_ALONE = (int, float, complex, bool, str, bytes)
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


class SessionDisplayHook(DisplayHook):  # type: ignore[misc]
    """Prints the last expression as IPython does and remembers how it was formatted."""

    formatted: MimeBundle
    metadata: dict[str, Any]

    def write_output_prompt(self) -> None:
        """Leave it to `write_format_data`: what is written at once reaches the server at once."""

    def compute_format_data(self, result: Any) -> "tuple[MimeBundle, dict[str, Any]]":
        """Return an object in all forms there are of it.

        Of what has no other form than text, unless a cell has given it one, the others are not asked for: that takes
        longer than to run most such cells.
        """
        formatter = self.shell.display_formatter
        others = (formatter.formatters[mime] for mime in formatter.formatters if mime != _TEXT)
        if type(result) in _TEXT_ALONE and not any(type(result) in other.type_printers for other in others):
            forms: "tuple[MimeBundle, dict[str, Any]]" = formatter.format(result, include={_TEXT})
        else:
            forms = formatter.format(result)
        return forms

    def write_format_data(self, format_dict: MimeBundle, md_dict: Optional[dict[str, Any]] = None) -> None:
        """Print the text and keep the rest for the result."""
        self.formatted, self.metadata = format_dict, md_dict or {}
        if _TEXT in format_dict:
            text = format_dict[_TEXT]
            prompt = f"Out[{self.prompt_count}]: " if self.do_full_cache else ""
            start = "\n" if "\n" in text else ""  # so that its columns line up
            print(f"{prompt}{start}{text}\n", end="")


class SessionDisplayPublisher(DisplayPublisher):  # type: ignore[misc]
    """Sends displays to the server, in order with the output."""

    send: Callable[[dict[str, Any]], None]
    # Whether the running cell's client takes `clear_output` events.
    rich = False

    def publish(
        self,
        data: MimeBundle,
        metadata: Optional[dict[str, Any]] = None,
        source: Any = None,
        *,
        transient: Optional[dict[str, Any]] = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        """Send a display, and print it unless it is a picture, for clients that show only text."""
        if _TEXT in data and not any(picture in data for picture in _PICTURES):
            print(data[_TEXT])
        forms = {mime: as_text(value) for mime, value in data.items()}
        display_id = (transient or {}).get("display_id")
        identity = {} if display_id is None else {"displayId": str(display_id), "update": bool(update)}
        self.send({"op": "display", "data": forms, "metadata": dict(metadata or {}), **identity})

    def clear_output(self, wait: bool = False) -> None:
        """Send a `clear_output` event, or print the escape sequence that clears a line for clients without it."""
        if self.rich:
            self.send({"op": "clear_output", "wait": bool(wait)})
        else:
            super().clear_output(wait)


def as_text(value: Any) -> Any:
    """Return bytes as the base64 that a MIME bundle has in JSON, and anything else as it is."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


class SessionEnds(SystemExit):
    """The session is told to end: a cell is left as by sys.exit(), so that its `finally` blocks run."""


class Shell(InteractiveShell):  # type: ignore[misc]
    """The shell of one session."""

    traceback_text: list[str]
    """The traceback that the running cell printed, plain."""
    cell_file: str
    """The file name under which the running cell was compiled."""
    before_code: Callable[[], None]
    """Called when a cell's own code is about to run."""
    replace_error: Callable[[BaseException], BaseException]
    """Says what a traceback is shown for in place of an exception."""
    pid: int
    """Of the session's process; in a fork of it, os.getpid() is another."""

    def _showtraceback(self, etype: type, evalue: BaseException, stb: "list[str] | str") -> None:
        lines = [stb] if isinstance(stb, str) else stb
        text = self.InteractiveTB.stb2text(lines)
        self.traceback_text = _ANSI.sub("", text).splitlines()
        print(text)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show the traceback of the exception in `exc_tuple` or of the one being handled."""
        kind, error, traceback = exc_tuple or sys.exc_info()
        if error is not None:
            traceback = _without_own_frames(traceback)
            error = self.replace_error(error).with_traceback(traceback)
            kind = type(error)
        if isinstance(error, SystemExit):
            self._show_exit(error)
        elif error is not None and _has_group(error):
            # IPython leaves groups to Python, which would show IPython's own frames first.
            self._show_as_python_does(error)
        else:
            super().showtraceback((kind, error, traceback), *args, **kwargs)

    def _show_as_python_does(self, error: BaseException) -> None:
        entry = error.__traceback__
        while entry is not None and entry.tb_frame.f_code.co_filename != self.cell_file:
            entry = entry.tb_next
        self._showtraceback(type(error), error, "".join(format_exception(type(error), error, entry)).splitlines())

    def _show_exit(self, error: SystemExit) -> None:
        if isinstance(error, SessionEnds) or os.getpid() != self.pid:
            return  # the process does end
        status = "" if error.code is None else f": {error.code}"
        told = f"SystemExit{status}\nOnly the cell has ended: the session goes on, and its variables are still there."
        self._showtraceback(type(error), error, [told])

    def _format_exception_for_storage(self, exception: BaseException, *args: Any, **kwargs: Any) -> "dict[str, Any]":
        """Return what ``%notebook`` saves of an error. IPython would format it anew, and fall over its ``__str__``."""
        return {
            "ename": type(exception).__name__,
            "evalue": message(exception),
            "traceback": self.traceback_text,
        }

    @contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Keep no copy of what cells print, as IPython 9 does for ``%notebook`` for as long as the session lives."""
        yield

    def forget_input(self, number: int) -> None:
        """Let go of ``_i<number>``, as IPython does of old results; in ``In`` it stays.

        What has to be done with all names after each cell would else take longer and longer.
        """
        for names in (self.user_ns, self.user_ns_hidden):
            names.pop(f"_i{number}", None)

    def transform_cell(self, raw_cell: str) -> str:
        """Return a cell as Python, its lines where they were: IPython drops empty ones at its start."""
        text = raw_cell.lstrip()
        empty = raw_cell[: len(raw_cell) - len(text)].count("\n")
        return "\n" * empty + str(super().transform_cell(raw_cell))

    def reset(self, *args: Any, **kwargs: Any) -> None:
        """Empty the namespace, which stays that of a module: multiprocessing looks for its ``__spec__``."""
        super().reset(*args, **kwargs)
        for name in ("__doc__", "__loader__", "__package__", "__spec__"):
            self.user_ns.setdefault(name, None)

    def enable_matplotlib(self, gui: Optional[str] = None) -> Any:
        """Choose matplotlib's backend, inline by default."""
        name = "inline" if gui in (None, "auto") else gui
        # Before IPython finds out that a backend does not work, it has given up the one that did.
        if name.lower() not in ("inline", *figures.FILE_BACKENDS):
            raise UsageError(f"a session cannot show figures by {name}: use %matplotlib inline")
        return super().enable_matplotlib(name)

    def enable_gui(self, gui: Optional[str] = None) -> None:
        """Refuse the event loop of a window system, which ``%matplotlib`` and ``%gui`` ask for."""
        if gui not in (None, "", "inline"):
            raise UsageError(f"a session has no windows, and so no event loop of {gui}: use %matplotlib inline")

    def system(self, cmd: str) -> None:
        """Run ``!cmd`` on the session's own descriptors, as os.system does, and leave its status in ``_exit_code``."""
        command = self.var_expand(cmd, depth=1)
        # Rather than /bin/sh, which may be dash, and that drops a SIGINT that comes while it forks (0.5.12).
        program = os.environ.get("SHELL") or shutil.which("bash")
        with sigint.noted() as came:
            process = subprocess.Popen(command, shell=True, executable=program)  # noqa: S602 - its purpose
            if came:  # before the child was there to get it
                os.killpg(0, signal.SIGINT)
        try:
            process.wait()
        except KeyboardInterrupt:
            came.append(signal.SIGINT)  # which the child has got as well
            process.wait()
        finally:
            self.user_ns["_exit_code"] = process.returncode
        if came:
            raise KeyboardInterrupt

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> bool:
        """Run a statement of the cell, which can be interrupted from here on."""
        self.before_code()
        return bool(await super().run_code(code_obj, result, async_=async_))

    def ask_exit(self) -> None:
        """End the cell that called ``exit()``; the session goes on."""
        raise SystemExit


def _without_own_frames(entry: Optional[TracebackType]) -> Optional[TracebackType]:
    """Take the frames of this package, such as that of print() on its way to the descriptor, out of a traceback."""
    while entry is not None and _is_own(entry):
        entry = entry.tb_next
    kept = entry
    while kept is not None:
        while kept.tb_next is not None and _is_own(kept.tb_next):
            kept.tb_next = kept.tb_next.tb_next
        kept = kept.tb_next
    return entry


def _is_own(entry: TracebackType) -> bool:
    return bool(entry.tb_frame.f_globals.get("__package__") == __package__)


def _has_group(error: BaseException) -> bool:
    """Return whether an exception, or one it came of, is an exception group, be it that of the backport for 3.10."""
    seen: "set[int]" = set()
    current: Optional[BaseException] = error
    while current is not None and id(current) not in seen:
        if any(kind.__name__ == "BaseExceptionGroup" for kind in type(current).__mro__):
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False


def create() -> Shell:
    """Return the shell, IPython's singleton."""
    config = Config()
    config.InteractiveShell.banner1 = ""
    config.HistoryManager.enabled = False  # history in memory: no file, no lock on it, no thread
    if os.environ.get("NO_COLOR"):
        config.InteractiveShell.colors = "nocolor" if IPython.version_info[0] >= 9 else "NoColor"
    Shell.displayhook_class = SessionDisplayHook
    Shell.display_pub_class = SessionDisplayPublisher
    shell: Shell = Shell.instance(config=config)
    shell.pid = os.getpid()
    # IPython's advice on SystemExit is for a terminal, and %cd keeps no list of folders from one start to the next.
    for message in ("To exit: use", ".*dhist requires"):
        warnings.filterwarnings("ignore", message, UserWarning)
    cache = shell.compile.cache

    def remember_file(*args: Any, **kwargs: Any) -> str:
        shell.cell_file = cache(*args, **kwargs)
        return shell.cell_file

    shell.compile.cache = remember_file
    return shell


def message(error: BaseException) -> str:
    """Return ``str(error)``, or what prevents it: a person's ``__str__`` may raise anything."""
    try:
        return str(error)
    except Exception as fault:
        return f"<its __str__ raised {type(fault).__name__}>"


def position(error: BaseException, cell_file: str) -> "tuple[Optional[int], Optional[int]]":
    """Return the line and column (1-based) in the cell that `error` points to, each None if it is not known."""
    if isinstance(error, SyntaxError) and error.filename in (cell_file, None, "<unknown>", "<string>", "<tokenize>"):
        return error.lineno, error.offset
    found: "Optional[TracebackType]" = None
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code.co_filename == cell_file:
            found = entry
        entry = entry.tb_next
    if found is None:
        return None, None
    column = None
    if sys.version_info >= (3, 11):
        positions = list(found.tb_frame.f_code.co_positions())[found.tb_lasti // 2]
        column = None if positions[2] is None else positions[2] + 1
    return found.tb_lineno, column
