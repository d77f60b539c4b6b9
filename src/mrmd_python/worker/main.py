"""Runs the worker: it says hello to the server, then handles one message at a time until the server closes the socket.

The main thread has one event loop. The loop runs between cells, so that tasks of earlier cells go on. While a
synchronous cell runs, the loop only counts as running, so that both create_task() and asyncio.run() work in the cell.
"""

import asyncio
import atexit
import gc
import importlib.util
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Optional

from . import fallback, import_guard, integrations, sigint, streams
from .channel import Channel, Message
from .limits import limit_outcome
from .running_loop import RunningLoop

# The packages whose frames belong to the event loop.
_LOOP_PACKAGES = ("asyncio", "selectors", __package__)


def main() -> None:
    """Run the worker."""
    control, replies, queries = map(int, os.environ.pop("MRMD_WORKER_FDS").split())
    channel = Channel(control, os.environ.pop("MRMD_WORKER_SECRET").encode())
    streams.install()
    sys.argv = [""]
    # As in Jupyter. In a service TERM is not set, and `clear`, `tput` and `top` fail.
    os.environ.setdefault("TERM", "xterm-color")
    if importlib.util.find_spec("IPython") is None:
        channel.send({"op": "fallback", "pythonVersion": list(sys.version_info[:3])})
        reply = channel.receive()
        if reply is None:
            sys.exit(1)
        fallback.use_fallback(reply["modules"], reply["distributions"])
    try:
        worker = Worker(channel, replies, queries)
    except ImportError as error:
        channel.send({"op": "failed", "message": f"IPython cannot be imported in {sys.prefix}: {error}"})
        sys.exit(1)
    worker.run()


class Worker:
    """One session's shell, event loop and channel."""

    def __init__(self, channel: Channel, replies: int, queries: int) -> None:
        from . import cell, shell, stdin

        self._cell = cell
        self._channel = channel
        # The number: given a socket, the selector would format its repr each time, with two system calls.
        self._control = channel.socket.fileno()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._running_loop = RunningLoop()
        integrations.install()
        self._shell = shell.create()
        self._interrupts = cell.Interrupts(self._loop, self._running_loop)
        self._stdin = stdin.Stdin(channel, replies)
        self._stdin.install()
        self._shell.before_code = self._interrupts.arm
        self._shell.replace_error = self._interrupts.translate
        self._shell.loop_runner = self._interrupts.run
        self._publisher = self._shell.display_pub
        self._publisher.send = self._send_in_order
        self._message: Optional[Message] = None
        self._has_message = False
        self._terminated = False
        self._queries = queries
        self._session_ends = shell.SessionTerminated
        self._cwd = os.getcwd()
        sigint.resend_unraised()
        signal.signal(signal.SIGURG, self._interrupts.retry)
        signal.signal(signal.SIGTERM, self._terminate)
        fork_handlers = ForkHandlers()
        os.register_at_fork(
            before=fork_handlers.begin,
            after_in_parent=fork_handlers.end,
            after_in_child=fork_handlers.restore_default_signals,
        )

    def run(self) -> None:
        """Say hello to the server, then handle its messages until it closes the socket."""
        from . import profile

        self._channel.send(
            {
                "op": "hello",
                "executable": sys.executable,
                "prefix": sys.prefix,
                "pythonVersion": ".".join(map(str, sys.version_info[:3])),
                "sources": [*_package_directories(), *profile.sources(self._shell.ipython_dir)],
            }
        )
        # Not before the hello: these imports take a while, and the server waits.
        from .idle_calls import IdleCalls
        from .queries import QueryThread

        self._idle_calls = IdleCalls(self._interrupts)
        QueryThread(self._queries, self._shell, self._idle_calls)
        import_guard.install()
        gc.enable()
        if "" not in sys.path:
            sys.path.insert(0, "")
        self._path = list(sys.path)
        with suppress(self._session_ends):
            self._serve()
        if self._terminated:
            self._exit_by_sigterm()
        sys.exit(0)

    def _serve(self) -> None:
        while True:
            message = self._next_message()
            if message is None:
                break
            reply = self._execute(message) if message["op"] == "execute" else self._reset()
            if self._terminated:
                break  # without `done`, the server sends no other cell
            self._idle_calls.accept(self._loop)  # after the message below, the session counts as idle
            self._channel.send(
                {"op": "done", "variables": len(self._cell.variable_names(self._shell)), **reply}, in_order=True
            )

    def _next_message(self) -> Optional[Message]:
        """Run the event loop until a message arrives."""
        if self._loop.is_closed() or self._loop.is_running():  # a cell has closed it, or left it running
            self._loop = self._interrupts.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)  # asyncio.run() in a cell unsets it
        self._has_message = False
        self._loop.add_reader(self._control, self._receive)
        self._interrupts.between_cells = True
        self._idle_calls.accept(self._loop)
        try:
            while not (self._has_message or self._terminated):
                try:
                    self._loop.run_forever()
                except BaseException as error:
                    # A task, callback or signal handler of an earlier cell raised it, or the loop itself is broken.
                    frames = _without_asyncio(error.__traceback__)
                    if not isinstance(error, (SystemExit, KeyboardInterrupt)) and frames is None:
                        raise
                    if not self._terminated:
                        traceback.print_exception(type(error), error, frames)
        finally:
            self._idle_calls.refuse()
            self._interrupts.between_cells = False
            self._loop.remove_reader(self._control)
        return self._message if self._has_message else None

    def _receive(self) -> None:
        # If another callback raises, run_forever() ends with this one still queued, and the next select() queues it
        # again. The second call would wait for a message that does not come. After remove_reader() it is skipped.
        self._loop.remove_reader(self._control)
        self._interrupts.between_cells = False  # an interrupt in the middle of a message would end the session
        self._message = self._channel.receive()
        self._has_message = True
        self._loop.stop()

    def _execute(self, message: Message) -> "dict[str, Any]":
        self._stdin.allowed = message["allowStdin"]
        self._shell.rich = self._publisher.rich = message["rich"]
        self._running_loop.begin_cell(self._loop)
        try:
            outcome = self._cell.run(
                self._shell,
                self._interrupts,
                self._announce_running,
                message["code"],
                store_history=message["storeHistory"],
                silent=message["silent"],
            )
            return limit_outcome(outcome)
        finally:
            self._shell.rich, self._publisher.rich = False, True
            self._stdin.end_cell()
            self._running_loop.end_cell()
            self._channel.restore()
            streams.repair()

    def _announce_running(self) -> None:
        self._channel.send({"op": "running"})

    def _reset(self) -> "dict[str, Any]":
        self._shell.start_over()
        self._stdin.install()
        streams.install()
        integrations.close_all_figures()
        sys.path[:] = self._path
        with suppress(OSError):  # it may not exist any more
            os.chdir(self._cwd)
        return {"success": True}

    def _terminate(self, number: int, frame: Optional[FrameType]) -> NoReturn:
        """Leave the cell as sys.exit() does, so that `finally` blocks run; a second SIGTERM kills at once."""
        self._terminated = True  # IPython catches the exception
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise self._session_ends(128 + number)

    def _exit_by_sigterm(self) -> NoReturn:
        """Run the exit handlers, then end by SIGTERM itself: the server reports how the process ended."""
        try:
            atexit._run_exitfuncs()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    def _send_in_order(self, message: Message) -> None:
        with sigint.deferred():
            self._channel.send(message, in_order=True)


def _package_directories() -> "list[str]":
    """Return the directories on sys.path that package managers install into."""
    return [entry for entry in sys.path if os.path.basename(entry) in ("dist-packages", "site-packages")]


def _without_asyncio(entry: Optional[TracebackType]) -> Optional[TracebackType]:
    """Return a traceback from where the event loop calls other code, or None if it calls none."""
    while entry is not None and str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0] in _LOOP_PACKAGES:
        entry = entry.tb_next
    return entry


class ForkHandlers:
    """Restores the default signal handlers in a forked child.

    SIGTERM is blocked during the fork: Python forgets a signal that the child gets before its handlers are restored
    (PyOS_AfterFork_Child).
    """

    def __init__(self) -> None:
        # Whether `begin` has blocked SIGTERM in the thread that forks: it may have been blocked before.
        self._blocked = threading.local()

    def begin(self) -> None:
        """Block SIGTERM before the fork."""
        self._blocked.here = signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def end(self) -> None:
        """Unblock SIGTERM."""
        if self._blocked.here:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def restore_default_signals(self) -> None:
        """Restore Python's default signal handlers."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGURG, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.end()
