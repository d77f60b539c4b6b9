"""Running one cell, and saying afterwards what came of it."""

import ast
import asyncio
import os
import signal
import time
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Callable, Coroutine, NoReturn, Optional

from . import tracebacks
from .running_loop import RunningLoop
from .shell import Failure, Shell, message
from .sigint import CellInterrupted

# Not the function itself, which freezegun would replace in each module that has it.
_clock = partial(time.perf_counter)


class Interrupts:
    """SIGINT: KeyboardInterrupt in a cell that computes, cancellation of one that awaits, nothing when none runs.

    While a cell's code runs, the handler is Python's own, which asyncio.run() and trio.run() look for and replace by
    theirs. While IPython prepares that code, an interrupt waits: somewhere in there it might be swallowed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, running_loop: RunningLoop) -> None:
        self.loop = loop
        self._running_loop = running_loop
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
        self._running_loop.end_cell()  # it runs in earnest
        try:
            while True:
                try:
                    return self.loop.run_until_complete(task)
                except (KeyboardInterrupt, CellInterrupted):  # raised in a callback or another task, which it has ended
                    if task.done():
                        raise
                    self._cancelled = True
                    task.cancel()
        finally:
            self._running_loop.begin_cell(self.loop)
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
        """Return KeyboardInterrupt for what an interrupt raised in its place, and any other exception as it is."""
        if isinstance(error, CellInterrupted):
            return KeyboardInterrupt().with_traceback(tracebacks.without_debugger(error.__traceback__))
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
    shell.begin_cell()
    count = shell.execution_count
    started = _clock()
    error: Optional[BaseException]
    try:
        try:
            interrupts.expect()
            announce()
            shell.run_startup()
            result = shell.run_cell(code, store_history=store_history, silent=silent)
        finally:
            interrupts.disarm()
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # whatever a cell lets through ends the cell, not the session
        interrupts.disarm()
        error = raised
    if os.getpid() != shell.pid:
        _end_fork(error)
    failure = _failure(shell, interrupts, error)
    proposal = {} if shell.next_input is None else {"nextInput": shell.next_input}
    if proposal:
        shell.write_output(f"{shell.next_input}\n")
    shell.forget_input(count - shell.cache_size)
    shown = shell.displayhook
    duration = (_clock() - started) * 1000
    return {
        "success": failure is None,
        "result": shown.text,
        "rich": shown.take(),
        "error": None if failure is None else _describe(failure),
        "executionCount": count,
        "duration": round(duration, 3),
        "imports": _imports(shell, code),
        **proposal,
    }


def _failure(shell: Shell, interrupts: Interrupts, error: Optional[BaseException]) -> Optional[Failure]:
    """Return why a cell has failed, or None if it has not: its own exception, or that of code it had IPython run."""
    nested = shell.nested_failure
    if nested is not None and (error is None or nested.is_of_body):
        return replace(nested, error=interrupts.as_raised(nested.error))
    return None if error is None else shell.failure(interrupts.as_raised(error))


def _end_fork(error: Optional[BaseException]) -> NoReturn:
    """End a fork of the session that has come to the end of its cell, by the status that a script would have.

    Without finalizing the interpreter: to close the event loop here would take descriptors out of the parent's epoll
    instance, which a fork shares (epoll(7)), and atexit handlers are the parent's.
    """
    status = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    os._exit(status & 0xFF)


def _describe(failure: Failure) -> "dict[str, Any]":
    return {
        "type": type(failure.error).__name__,
        "message": message(failure.error),
        "traceback": failure.traceback,
        "line": failure.line,
        "column": failure.column,
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
    variables = shell.user_ns.copy()  # a thread may be adding to it
    # Most of them are hidden: IPython leaves two for each cell. What a startup file has set, a cell may set again.
    return [
        name
        for name, value in variables.items()
        if (name not in hidden or hidden[name] is not value) and isinstance(name, str) and not name.startswith("_")
    ]
