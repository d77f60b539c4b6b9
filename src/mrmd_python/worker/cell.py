"""Running one cell, and saying afterwards what came of it."""

import ast
import asyncio
import os
import signal
import time
from types import FrameType
from typing import Any, Callable, Coroutine, NoReturn, Optional

from .shell import Shell, as_text, message, position


class Interrupts:
    """SIGINT: KeyboardInterrupt in a cell that computes, cancellation of one that awaits, nothing when none runs.

    While a cell's code runs, the handler is Python's own, which asyncio.run() and trio.run() look for and replace by
    theirs. While IPython prepares that code, an interrupt waits: somewhere in there it might be swallowed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.between_cells = False
        """Whether the event loop runs for what earlier cells have left in it."""
        self._task: "Optional[asyncio.Task[Any]]" = None
        self._armed = self._early = self._cancelled = False
        self.disarm()

    def expect(self) -> None:
        """Begin a cell: from now on an interrupt is meant for it."""
        self._armed = self._early = self._cancelled = False

    def arm(self) -> None:
        """Let SIGINT interrupt the cell, whose code is now to run.

        Raises:
            KeyboardInterrupt: it came already.
        """
        if self._armed:
            return  # the cell goes on, perhaps with a handler of its own
        self._armed = True
        signal.signal(signal.SIGINT, signal.default_int_handler if self._task is None else self._cancel)
        if self._early:
            raise KeyboardInterrupt

    def disarm(self) -> None:
        """Let SIGINT wait again, whatever handler the cell has left and whatever signal is pending."""
        while True:
            try:
                signal.signal(signal.SIGINT, self._note)
            except KeyboardInterrupt:  # one was pending: signal() runs the old handler for it first
                continue
            return

    def run(self, coroutine: "Coroutine[Any, Any, Any]") -> Any:
        """Run a cell with a top-level await on the session's event loop."""
        self._task = task = self.loop.create_task(coroutine)
        try:
            while True:
                try:
                    return self.loop.run_until_complete(task)
                except KeyboardInterrupt:  # raised in a callback or another task, which it has ended
                    if task.done():
                        raise
                    self._cancelled = True
                    task.cancel()
        finally:
            self._task = None

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self._early = True
        if self.between_cells and _runs_code(frame):
            raise KeyboardInterrupt  # a callback of an earlier cell holds up the event loop

    def _cancel(self, number: int, frame: Optional[FrameType]) -> None:
        if _runs_code(frame):
            raise KeyboardInterrupt
        assert self._task is not None
        self._cancelled = True
        self._task.cancel()
        # select() is restarted after a signal (PEP 475) and would not see the cancellation.
        self.loop.call_soon_threadsafe(lambda: None)

    def as_raised(self, error: BaseException) -> BaseException:
        """Return KeyboardInterrupt for the CancelledError that an interrupt made, and any other exception as it is."""
        if self._cancelled and isinstance(error, asyncio.CancelledError):
            return KeyboardInterrupt().with_traceback(error.__traceback__)
        return error


def _runs_code(frame: Optional[FrameType]) -> bool:
    """Return whether a cell's code is on the processor, rather than the event loop or this package.

    A callback in C, as time.sleep is, has no frame of its own: it shows as that of asyncio's Handle._run.
    """
    if frame is None:
        return False
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    return package not in ("asyncio", "selectors", __package__) or frame.f_code.co_name == "_run"


def run(
    shell: Shell,
    interrupts: Interrupts,
    announce: "Callable[[], None]",
    code: str,
    *,
    store_history: bool,
    silent: bool,
) -> "dict[str, Any]":
    """Run a cell, having announced that an interrupt will reach it; return what the worker knows of ExecuteResult."""
    shell.traceback_text = []
    shell.displayhook.formatted, shell.displayhook.metadata = {}, {}
    count = shell.execution_count
    started = time.perf_counter()
    error: Optional[BaseException]
    try:
        try:
            interrupts.expect()
            announce()
            result = shell.run_cell(code, store_history=store_history, silent=silent)
        finally:
            interrupts.disarm()
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # whatever a cell lets through ends the cell, not the session
        interrupts.disarm()
        error = raised
    if error is not None:
        error = interrupts.as_raised(error)
    if os.getpid() != shell.pid:
        _end_fork(error)
    shell.forget_input(count - shell.cache_size)
    duration = (time.perf_counter() - started) * 1000
    formatted = {mime: as_text(value) for mime, value in shell.displayhook.formatted.items()}
    return {
        "success": error is None,
        "result": formatted.get("text/plain"),
        "rich": {"data": formatted, "metadata": shell.displayhook.metadata} if len(formatted) > 1 else None,
        "error": None if error is None else _describe(shell, error),
        "executionCount": count,
        "duration": round(duration, 3),
        "imports": _imports(shell, code),
    }


def _end_fork(error: Optional[BaseException]) -> NoReturn:
    """End a fork of the session that has come to the end of its cell, by the status that a script would have.

    Without finalizing the interpreter: to close the event loop here would take descriptors out of the parent's epoll
    instance, which a fork shares (epoll(7)), and atexit handlers are the parent's.
    """
    status = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    os._exit(status & 0xFF)


def _describe(shell: Shell, error: BaseException) -> "dict[str, Any]":
    line, column = position(error, getattr(shell, "cell_file", ""))
    return {
        "type": type(error).__name__,
        "message": message(error),
        "traceback": shell.traceback_text,
        "line": line,
        "column": column,
    }


def _imports(shell: Shell, code: str) -> "list[str]":
    """Return the top-level modules that a cell imports, in order."""
    if "import" not in code:
        return []
    try:
        tree = ast.parse(shell.transform_cell(code))
    except Exception:  # no Python, too deep for the parser, or a transformer of the person's own
        return []
    names: "list[str]" = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def variable_names(shell: Shell) -> "list[str]":
    """Return the names of the user's variables, in the order they were made."""
    hidden = shell.user_ns_hidden
    names = list(shell.user_ns)  # a thread may be adding to it
    # Most of them are hidden: IPython leaves two for each cell.
    return [name for name in names if name not in hidden and isinstance(name, str) and not name.startswith("_")]
