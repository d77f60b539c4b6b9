"""Runs one cell and describes its outcome."""

import ast
import asyncio
import os
import signal
import time
from functools import partial
from types import FrameType
from typing import Any, Callable, Coroutine, NoReturn, Optional

from . import tracebacks
from .running_loop import RunningLoop
from .shell import Failure, Shell, error_message, without_colors
from .sigint import CellInterrupted

# A partial, because freezegun replaces the function itself in every module that has it.
_clock = partial(time.perf_counter)


class Interrupts:
    """Handles SIGINT: raises KeyboardInterrupt in a running cell, or cancels a cell that awaits.

    While a cell's code runs, the handler is Python's own, which asyncio.run() and trio.run() recognize and replace.
    While IPython prepares the code, an interrupt is deferred, because IPython might swallow it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, running_loop: RunningLoop) -> None:
        self.loop = loop
        self._running_loop = running_loop
        # Whether the event loop runs tasks and callbacks of earlier cells.
        self.between_cells = False
        self._task: "Optional[asyncio.Task[Any]]" = None
        self._armed = self._deferred = self._cancelled = False
        # An interrupt came between two callbacks of an earlier cell.
        self._missed = False
        self.disarm()

    def begin_cell(self) -> None:
        """Begin a cell: an interrupt from now on is meant for it."""
        self._armed = self._deferred = self._cancelled = self._missed = False

    def arm(self) -> None:
        """Let SIGINT interrupt the cell, whose code is about to run.

        Raises:
            KeyboardInterrupt: SIGINT has arrived already.
        """
        if self._armed:
            return  # the cell has started, and may have set its own handler
        self._armed = True
        signal.signal(signal.SIGINT, signal.default_int_handler if self._task is None else self._cancel)
        if self._deferred:
            raise KeyboardInterrupt

    def disarm(self) -> None:
        """Defer SIGINT again, whatever handler the cell has set."""
        while True:
            try:
                signal.signal(signal.SIGINT, self._defer)
            except KeyboardInterrupt:  # signal() first runs the old handler for a pending SIGINT
                continue
            return

    def run(self, coroutine: "Coroutine[Any, Any, Any]") -> Any:
        """Run a cell with a top-level await on the session's event loop."""
        self._task = task = self.loop.create_task(coroutine)
        self._running_loop.end_cell()  # the loop runs for real now
        try:
            while True:
                try:
                    return self.loop.run_until_complete(task)
                except (KeyboardInterrupt, CellInterrupted):  # raised in a callback or another task
                    if task.done():
                        raise
                    self._cancelled = True
                    task.cancel()
        finally:
            self._running_loop.begin_cell(self.loop)
            self._task = None

    def _defer(self, number: int, frame: Optional[FrameType]) -> None:
        self._deferred = True
        if self.between_cells and _in_user_code(frame):
            raise KeyboardInterrupt  # a callback of an earlier cell blocks the event loop
        self._missed = self.between_cells

    def retry(self, number: int, frame: Optional[FrameType]) -> None:
        """Interrupt a callback of an earlier cell that began just after SIGINT: SIGURG follows each SIGINT."""
        missed, self._missed = self._missed, False
        if missed and self.between_cells and _in_user_code(frame):
            raise KeyboardInterrupt

    def _cancel(self, number: int, frame: Optional[FrameType]) -> None:
        if _in_user_code(frame):
            raise KeyboardInterrupt
        assert self._task is not None
        self._cancelled = True
        self._task.cancel()
        # select() resumes after a signal (PEP 475) and would not notice the cancellation.
        self.loop.call_soon_threadsafe(lambda: None)

    def translate(self, error: BaseException) -> BaseException:
        """Return a KeyboardInterrupt if an interrupt caused `error`, else `error` itself."""
        if isinstance(error, CellInterrupted):
            return KeyboardInterrupt().with_traceback(tracebacks.without_debugger(error.__traceback__))
        if self._cancelled and isinstance(error, asyncio.CancelledError):
            return KeyboardInterrupt().with_traceback(error.__traceback__)
        return error


def _in_user_code(frame: Optional[FrameType]) -> bool:
    """Return whether `frame` is a user's code, not the event loop's or this package's.

    A callback written in C, such as time.sleep, has no frame: the topmost one is then asyncio's Handle._run. Not so for
    a step of a task. An exception there, just before the step, would skip it, and nothing would run the task again.
    """
    if frame is None:
        return False
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    if package not in ("asyncio", "selectors", __package__):
        return True
    callback = getattr(frame.f_locals.get("self"), "_callback", None) if frame.f_code.co_name == "_run" else None
    return callback is not None and not isinstance(getattr(callback, "__self__", None), asyncio.Task)


def run(
    shell: Shell,
    interrupts: Interrupts,
    announce: "Callable[[], None]",
    code: str,
    *,
    store_history: bool,
    silent: bool,
) -> "dict[str, Any]":
    """Run a cell and return the worker's part of ExecuteResult.

    Args:
        shell: the session's shell.
        interrupts: the SIGINT handlers.
        announce: called when the cell can be interrupted.
        code: the cell.
        store_history: whether to add the cell to the history.
        silent: whether to leave out the history and the output prompt, as IPython does.
    """
    shell.begin_cell()
    count = shell.execution_count
    started = _clock()
    error: Optional[BaseException]
    try:
        try:
            interrupts.begin_cell()
            announce()
            shell.run_startup()
            result = shell.run_cell(code, store_history=store_history, silent=silent)
        finally:
            interrupts.disarm()
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # ends the cell, not the session
        interrupts.disarm()
        error = raised
    if os.getpid() != shell.pid:
        _exit_fork(error)
    failure = _failure(shell, interrupts, error)
    proposal = {} if shell.next_input is None else {"nextInput": shell.next_input}
    if proposal and not shell.rich:
        shell.write_output(f"{shell.next_input}\n")
    shell.forget_input(count - shell.cache_size)
    hook = shell.displayhook
    if shell.rich:
        shell.print_held_tracebacks(failure)
        if failure is not None:
            hook.send()  # an `error` event has no value
    duration = (_clock() - started) * 1000
    return {
        "success": failure is None,
        "result": hook.text,
        "value": hook.take(),
        "error": None if failure is None else _describe(failure, shell),
        "executionCount": count,
        "duration": round(duration, 3),
        "imports": _imports(shell, code),
        **proposal,
    }


def _failure(shell: Shell, interrupts: Interrupts, error: Optional[BaseException]) -> Optional[Failure]:
    """Return why a cell failed: its exception, or that of code it ran through IPython. None if it succeeded."""
    nested = shell.nested_failure
    if nested is not None and (error is None or nested.in_body):
        return nested._replace(error=interrupts.translate(nested.error))
    return None if error is None else shell.failure(interrupts.translate(error))


def _exit_fork(error: Optional[BaseException]) -> NoReturn:
    """Exit a fork of the session at the end of its cell, with the status that a script would have.

    The interpreter is not finalized: closing the event loop would remove file descriptors from the parent's epoll
    instance, which the fork shares (epoll(7)), and the atexit handlers are the parent's.
    """
    status = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    os._exit(status & 0xFF)


def _describe(failure: Failure, shell: Shell) -> "dict[str, Any]":
    ansi_traceback = {"ansiTraceback": failure.traceback} if shell.rich else {}
    return {
        "type": type(failure.error).__name__,
        "message": error_message(failure.error),
        "traceback": without_colors(failure.traceback),
        "line": failure.line,
        "column": failure.column,
        **ansi_traceback,
    }


def _imports(shell: Shell, code: str) -> "list[str]":
    """Return the top-level modules that a cell imports, in order."""
    if "import" not in code:
        return []
    try:
        tree = ast.parse(shell.transform_cell(code))
    except Exception:  # not Python, nested too deeply, or an error in a user's input transformer
        return []
    names: "list[str]" = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def variable_names(shell: Shell) -> "list[str]":
    """Return the names of the user's variables, in order of creation."""
    hidden = shell.user_ns_hidden
    variables = shell.user_ns.copy()  # a thread of the user's may be adding to it
    # Most names are hidden: IPython adds two for each cell. A cell may redefine a name that a startup file has set.
    return [
        name
        for name, value in variables.items()
        if (name not in hidden or hidden[name] is not value) and isinstance(name, str) and not name.startswith("_")
    ]
