"""IPython's shell in a session: displays go to the server, all other output to file descriptors 1 and 2."""

import os
import re
import sys
import warnings
from contextlib import contextmanager
from traceback import extract_tb, format_exception, format_exception_only
from types import FrameType
from typing import Any, Callable, Iterator, NamedTuple, Optional

import IPython
from IPython.core import page
from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.paths import get_ipython_dir
from traitlets.config import Config

from . import display, integrations, profile, session_context, streams, tracebacks
from .cell_compiler import CellCompiler
from .magics import SessionMagics
from .shell_command import ShellCommand

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# The functions of %run and, in old versions of IPython, of %time, which print an error instead of raising it.
_CODE_RUNNERS = ("safe_execfile", "safe_run_module", "time")
# The functions that run a cell.
_CELL_RUNNERS = ("_run_cell", "run_cell_async", "run_ast_nodes", "run_code")
# The functions that show an error.
_ERROR_PRINTERS = (
    *("showtraceback", "showsyntaxerror", "showindentationerror", "show_usage_error"),
    *("_showtraceback", "_show_exit", "_show_failure"),
)


class SessionTerminated(SystemExit):
    """Ends the session. It leaves the running cell as sys.exit() does, so that `finally` blocks run."""


class Failure(NamedTuple):
    """An exception that ended a cell, or code that the cell ran through IPython."""

    error: BaseException
    # With IPython's colors.
    traceback: "list[str]"
    line: Optional[int]
    column: Optional[int]
    # Whether it was raised by the body of the cell's cell magic.
    in_body: bool = False


class Shell(InteractiveShell):  # type: ignore[misc]
    """The shell of one session."""

    # Whether the running cell's client renders values and errors itself: IPython prints nothing of its own.
    rich = False
    # The last traceback of the running cell, with colors.
    traceback_lines: list[str]
    # For a rich client, the errors of which one may be that of the cell, which is not printed, with their tracebacks.
    _held_tracebacks: list[tuple[BaseException, list[str]]]
    # The first failure of code that the running cell ran through IPython: ``%run``, ``%%capture`` or ``run_cell()``.
    nested_failure: Optional[Failure]
    # What ``%load`` proposes as the next cell.
    next_input: Optional[str]
    # Called before the cell's own code runs.
    before_code: Callable[[], None]
    # Returns the exception to report in place of another.
    replace_error: Callable[[BaseException], BaseException]
    # The session's process; in a fork of it, os.getpid() differs.
    pid: int
    # Runs the profile's startup files.
    startup: Optional[Callable[[], None]] = None

    def init_instance_attrs(self) -> None:
        """Set the attributes that the rest of the initialization needs."""
        super().init_instance_attrs()
        self.compile = CellCompiler()
        self._running_cells = 0
        self._has_started = False
        self._context = session_context.new_context()

    def init_hooks(self) -> None:
        """Print what IPython would show in a pager."""
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(_print_page), 99)

    def init_magics(self) -> None:
        """Register IPython's magics and the session's."""
        super().init_magics()
        self.register_magics(SessionMagics)

    def begin_cell(self) -> None:
        """Clear the results of the last cell."""
        self.traceback_lines = []
        self._held_tracebacks = []
        self._running_codes = 0
        self.nested_failure = self.next_input = None
        self.displayhook.text = self.displayhook.unsent = None
        self.compile.begin_cell()

    def run_startup(self) -> None:
        """Run the profile's startup files, once. Their output belongs to the cell that runs next."""
        if self.startup is None or self._has_started:
            return
        self._has_started = True
        self.before_code()
        self._context.run(self.startup)
        if self.rich:
            self.print_held_tracebacks(None)
            self.displayhook.send()
        self.begin_cell()

    def start_over(self) -> None:
        """Return to the state of a new session."""
        self.reset(new_session=True)
        self.execution_count = 1
        self._has_started = False
        self._context = session_context.new_context()

    @property
    def runs_code(self) -> bool:
        """Whether a statement of the cell is running."""
        return self._running_codes > 0

    def write_output(self, text: str, stream: str = "stdout") -> None:
        """Write text of IPython's to a stream of the session, even if a cell has replaced the one in `sys`."""
        output = streams.session_stream(stream)
        output.write(text if output.at_line_start else f"\n{text}")

    def failure(self, error: BaseException, *, in_body: bool = False) -> Failure:
        """Return the failure for an exception, with the traceback that was printed."""
        line, column = tracebacks.position(error, self.compile)
        return Failure(error, self.traceback_lines or self._traceback(error), line, column, in_body)

    def run_cell(self, raw_cell: str, *args: Any, **options: Any) -> Any:
        """Run a cell, or code that a cell passes to `run_cell`. If that code fails, so does the cell."""
        self._running_cells += 1
        try:
            result = super().run_cell(raw_cell, *args, **options)
        finally:
            self._running_cells -= 1
        if self._running_cells and not result.success:
            error = result.error_before_exec or result.error_in_exec
            self._note_failure(error, in_body=self.compile.is_body(raw_cell))
        return result

    async def run_cell_async(self, *args: Any, **options: Any) -> Any:
        """Run a cell in the session's context."""
        cell = super().run_cell_async(*args, **options)
        return await (cell if session_context.is_active() else session_context.InContext(self._context, cell))

    def _note_failure(self, error: BaseException, *, in_body: bool = False) -> None:
        if self.nested_failure is None:
            self.nested_failure = self.failure(error, in_body=in_body)

    def _showtraceback(self, etype: type, evalue: BaseException, stb: "list[str] | str") -> None:
        lines = [stb] if isinstance(stb, str) else stb
        self._show_failure(evalue, self.InteractiveTB.stb2text(lines), "stdout")

    def _show_failure(self, error: BaseException, text: str, stream: str) -> None:
        """Print an error or, for a rich client, keep it if it ends the cell or code that the cell runs."""
        self.traceback_lines = text.splitlines()
        if not self.rich:
            self.write_output(f"{text}\n", stream)
        elif self._ends_code():
            self._held_tracebacks.append((error, self.traceback_lines))
        else:
            self.write_output(f"{text}\n", "stderr")

    def _ends_code(self) -> bool:
        """Return whether the error that is being shown ends the cell, or code that it runs through IPython."""
        if not self._running_cells or os.getpid() != self.pid:
            return False
        frame: Optional[FrameType] = sys._getframe(1)
        while frame is not None and frame.f_code.co_name in _ERROR_PRINTERS:
            frame = frame.f_back
        is_runner = frame is not None and _is_in_ipython(frame, (*_CELL_RUNNERS, *_CODE_RUNNERS))
        return is_runner or bool(self.displayhook.is_formatting)

    def print_held_tracebacks(self, failure: Optional[Failure]) -> None:
        """Print the tracebacks of errors that are not the cell's failure."""
        for error, lines in self._held_tracebacks:
            if failure is None or (error is not failure.error and lines is not failure.traceback):
                self.write_output("\n".join([*lines, ""]), "stderr")

    def showtraceback(
        self,
        exc_tuple: Any = None,
        filename: Optional[str] = None,
        tb_offset: Optional[int] = None,
        exception_only: bool = False,
        running_compiled_code: bool = False,
    ) -> None:
        """Print the traceback of `exc_tuple`, else of the exception being handled, else of the last one."""
        is_nested = _is_in_ipython(sys._getframe(1), _CODE_RUNNERS)
        kind, error, traceback = exc_tuple or sys.exc_info()
        if isinstance(error, KeyboardInterrupt) and not self._running_cells:
            raise error  # from a startup file: old versions of IPython would go on with the cell
        if error is not None:
            reported = self.replace_error(error.with_traceback(traceback))
            traceback = tracebacks.user_frames(reported.__traceback__, self.compile)
            exception_only = exception_only and reported is error  # IPython sets it for a SystemExit
            error = reported.with_traceback(traceback)
            kind = type(error)
        if isinstance(error, SystemExit):
            self._show_exit(error, ends_cell=self._running_cells > 0 and not is_nested)
        elif error is not None and _has_group(error):
            # IPython lets Python print a group, with the rest of IPython's frames.
            self._showtraceback(type(error), error, "".join(format_exception(kind, error, traceback)).splitlines())
        else:
            # IPython's own frames, which `tb_offset` counts, are removed already.
            running_compiled_code = running_compiled_code or is_nested
            super().showtraceback((kind, error, traceback), filename, 0, exception_only, running_compiled_code)
        if error is not None and (is_nested or self.displayhook.is_formatting):
            self._note_failure(error)

    def showsyntaxerror(self, filename: Optional[str] = None, running_compiled_code: bool = False) -> None:
        """Print a syntax error, and if it was raised at run time, where in the user's code."""
        kind, error, traceback = self._get_exc_info()
        was_running = running_compiled_code and error.filename != self.compile.cell_file
        frames = extract_tb(tracebacks.user_frames(traceback, self.compile)) if was_running else []
        self._showtraceback(kind, error, self.SyntaxTB.structured_traceback(kind, error, frames))

    def show_usage_error(self, exc: BaseException) -> None:
        """Print the error of a magic that was used wrongly, on the session's stderr."""
        self._show_failure(exc, f"UsageError: {exc}", "stderr")

    def _traceback(self, error: BaseException) -> "list[str]":
        """Return the traceback of an error that was printed in another form, or not at all."""
        traceback = tracebacks.user_frames(error.__traceback__, self.compile)
        if traceback is None:
            lines = format_exception_only(type(error), error)
        else:
            try:
                lines = self.InteractiveTB.structured_traceback(type(error), error, traceback, tb_offset=0)
            except Exception:  # IPython's own imports fail when no file descriptor is left, for example
                lines = format_exception(type(error), error, traceback)
        return str(self.InteractiveTB.stb2text(lines)).splitlines()

    def _show_exit(self, error: SystemExit, *, ends_cell: bool) -> None:
        if isinstance(error, SessionTerminated) or os.getpid() != self.pid:
            return  # in these cases the process ends
        lines = ["SystemExit" if error.code is None else f"SystemExit: {error.code}"]
        if ends_cell:
            lines.append("Only the cell has ended: the session and its variables are still there.")
        self._showtraceback(type(error), error, ["\n".join(lines)])

    def debugger(self, force: bool = False) -> None:
        """Debug the last error, if the client answers input requests."""
        self.InteractiveTB.pdb = None  # or IPython would use one that writes to an earlier sys.stdout
        try:
            super().debugger(force=force)
        except StdinNotImplementedError as error:
            sys.stderr.write(f"No debugger: {error}\n")

    def _format_exception_for_storage(self, exception: BaseException, *args: Any, **kwargs: Any) -> "dict[str, Any]":
        """Return what ``%notebook`` saves of an error. IPython's version fails if the error's ``__str__`` raises."""
        return {
            "ename": type(exception).__name__,
            "evalue": error_message(exception),
            "traceback": without_colors(self.traceback_lines),
        }

    @contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Do not keep what cells print: IPython 9 keeps all of it, for ``%notebook``, until the session ends."""
        yield

    def forget_input(self, number: int) -> None:
        """Delete ``_i<number>``, as IPython does with old results; it stays in ``In``.

        Otherwise each cell would add a name, and all names are read after each cell.
        """
        for names in (self.user_ns, self.user_ns_hidden):
            names.pop(f"_i{number}", None)

    def transform_cell(self, raw_cell: str) -> str:
        """Return a cell as Python, on its original lines: IPython drops empty lines at its start."""
        transformed = str(super().transform_cell(raw_cell))
        lines_above = self.compile.record_transformed(raw_cell, transformed)
        return "\n" * lines_above + transformed

    def should_run_async(self, raw_cell: str, *, transformed_cell: str, **options: Any) -> bool:
        """Return whether a cell uses `await`. IPython compiles each cell to find out."""
        if "await" not in transformed_cell and "async" not in transformed_cell:
            return False
        return bool(super().should_run_async(raw_cell, transformed_cell=transformed_cell, **options))

    def set_next_input(self, text: str, replace: bool = False) -> None:
        """Propose the next cell."""
        self.next_input = text

    def reset(self, *args: Any, **kwargs: Any) -> None:
        """Clear the namespace, but keep it a module's: multiprocessing reads ``__spec__``."""
        super().reset(*args, **kwargs)
        for name in ("__doc__", "__loader__", "__package__", "__spec__"):
            self.user_ns.setdefault(name, None)

    def enable_matplotlib(self, gui: Optional[str] = None) -> Any:
        """Choose matplotlib's backend, inline by default."""
        name = "inline" if gui in (None, "auto") else gui
        # IPython drops the backend in use before it finds out that the new one does not work.
        if name.lower() not in ("inline", *integrations.FILE_BACKENDS):
            raise UsageError(f"a session cannot show figures with the {name} backend: use %matplotlib inline")
        result = super().enable_matplotlib(name)
        # IPython's runner for GUI backends calls plt.draw() after %run, which makes an empty figure if there is none.
        self.magics_manager.registry["ExecutionMagics"].default_runner = self.safe_execfile
        return result

    def enable_gui(self, gui: Optional[str] = None) -> None:
        """Raise an error for a GUI event loop, as ``%matplotlib`` and ``%gui`` ask for one."""
        if gui not in (None, "", "inline"):
            raise UsageError(f"a session has no GUI event loop ({gui}): use %matplotlib inline")

    def system(self, cmd: str) -> None:
        """Run ``!cmd`` and store its exit status in ``_exit_code``."""
        command = ShellCommand(self.var_expand(cmd, depth=1))
        try:
            command.finish()
        finally:
            self.user_ns["_exit_code"] = command.status
            # Assume that the command ended its last line, as most do.
            streams.session_stream("stdout").at_line_start = True

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> bool:
        """Run a statement of the cell. From here on an interrupt reaches it."""
        self.before_code()
        self.displayhook.send()
        self._running_codes += 1
        try:
            return bool(await super().run_code(code_obj, result, async_=async_))
        finally:
            self._running_codes -= 1

    def ask_exit(self) -> None:
        """End the cell that called ``exit()``; the session goes on."""
        raise SystemExit


def without_colors(lines: "list[str]") -> "list[str]":
    """Return lines without the escape sequences of colors."""
    return [_ANSI.sub("", line) for line in lines]


def _is_in_ipython(frame: FrameType, functions: "tuple[str, ...]") -> bool:
    """Return whether `frame` is one of these functions of IPython's."""
    module = str(frame.f_globals.get("__name__"))
    return module.startswith("IPython.core.") and frame.f_code.co_name in functions


def _print_page(text: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Optional[str] = None) -> None:
    plain = text.get(display.TEXT, "") if isinstance(text, dict) else text
    print("\n".join(plain.splitlines()[start:]) if start > 0 else plain)


def _has_group(error: BaseException) -> bool:
    """Return whether an exception or one of its causes is an exception group, the backport included."""
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
    ipython_dir = get_ipython_dir()
    Shell.displayhook_class = display.SessionDisplayHook
    Shell.display_pub_class = display.SessionDisplayPublisher
    if profile.exists(ipython_dir):
        shell = _create_with_profile()
    else:
        shell = Shell.instance(ipython_dir=ipython_dir, config=_config())
    shell.displayhook.publisher = shell.display_pub
    shell.begin_cell()
    shell.pid = os.getpid()
    # IPython's advice on SystemExit is for a terminal, and %cd saves no directory history between sessions.
    for pattern in ("To exit: use", ".*dhist requires"):
        warnings.filterwarnings("ignore", pattern, UserWarning)
    return shell


def _config() -> Config:
    config = Config()
    config.InteractiveShell.banner1 = ""
    config.HistoryManager.hist_file = ":memory:"  # no file, no lock on it, no thread
    config.MagicsManager.lazy_magics = {"store": "IPython.extensions.storemagic"}
    if os.environ.get("NO_COLOR"):
        config.InteractiveShell.colors = "nocolor" if IPython.version_info[0] >= 9 else "NoColor"
    return config


def _create_with_profile() -> Shell:
    from .profile_app import IPKernelApp  # only here: it takes a while to import

    app = IPKernelApp()
    app.load(_config())
    try:
        shell: Shell = Shell.instance(parent=app, ipython_dir=app.ipython_dir, profile_dir=app.profile_dir)
    except Exception:
        app.log.warning("The configuration of the IPython profile cannot be used:", exc_info=True)
        app.config = _config()
        shell = Shell.instance(parent=app, ipython_dir=app.ipython_dir, profile_dir=app.profile_dir)
    app.shell = shell
    shell.startup = app.run_startup
    return shell


def error_message(error: BaseException) -> str:
    """Return ``str(error)``, or a replacement: a user's ``__str__`` may raise anything."""
    try:
        return str(error)
    except Exception as raised:
        return f"<its __str__ raised {type(raised).__name__}>"
