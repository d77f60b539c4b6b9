"""Short calls into the user's objects, which the main thread makes for the query thread while no cell runs.

User code expects to run on the main thread, and only there can a signal interrupt it.
"""

import _thread
import asyncio
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from .cell import Interrupts

_SECONDS = 0.3
# Code with a bare `except:` swallows an interrupt, so it may take more than one.
_MAX_INTERRUPTS = 10
_SECONDS_BETWEEN_INTERRUPTS = 0.02

_WAITING, _RUNNING, _DONE = range(3)


Call = Callable[[], "list[object]"]


class _PendingCall:
    def __init__(self, function: Call) -> None:
        self.function = function
        self.state = _WAITING
        self.results: "list[object]" = []
        self.done = _thread.allocate_lock()
        self.done.acquire()


class IdleCalls:
    """Hands calls from the query thread to the event loop of the main thread."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._main_thread = threading.main_thread().ident or 0
        self._last: Optional[_PendingCall] = None
        self._lock = _thread.allocate_lock()  # guards the calls' states

    def accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Accept calls from now on: the main thread runs `loop`, or soon will."""
        self._loop = loop

    def refuse(self) -> None:
        """Accept no more calls: a cell is about to run, perhaps on the same loop."""
        self._loop = None

    def results(self, function: Optional[Call]) -> "list[object]":
        """Return the result of `function`, called on the main thread.

        The result is empty if `function` is None or raises, while a cell runs, and after 0.3 seconds.
        """
        loop = self._loop
        if function is None or loop is None or (self._last is not None and self._last.state == _RUNNING):
            return []
        call = self._last = _PendingCall(function)
        try:
            loop.call_soon_threadsafe(self._run, call)
        except RuntimeError:  # a cell has closed the loop
            return []
        if not call.done.acquire(True, _SECONDS):
            self._give_up(call)
        return call.results

    def _give_up(self, call: _PendingCall) -> None:
        for _ in range(_MAX_INTERRUPTS):
            with self._lock:  # so that the signal cannot interrupt what the main thread does after the call
                if call.state == _WAITING:  # a task of an earlier cell blocks the loop
                    call.state = _DONE
                    return
                if call.state == _RUNNING:
                    signal.pthread_kill(self._main_thread, signal.SIGINT)
            if call.done.acquire(True, _SECONDS_BETWEEN_INTERRUPTS):
                return

    def _run(self, call: _PendingCall) -> None:
        with self._lock:
            if call.state != _WAITING:
                return
            call.state = _DONE if self._loop is None else _RUNNING
        if call.state == _RUNNING:
            self._run_interruptible(call)
            with self._lock:
                call.state = _DONE
        call.done.release()

    def _run_interruptible(self, call: _PendingCall) -> None:
        try:
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with _muted():
                    call.results = call.function()
            finally:
                self._interrupts.disarm()
        except BaseException:  # from the user's code
            self._interrupts.disarm()  # again: SIGINT may have arrived just before the line above


@contextmanager
def _muted() -> "Iterator[None]":
    """Drop what this thread prints: it belongs to no cell."""
    streams = sys.stdout, sys.stderr
    muted = sys.stdout, sys.stderr = _MutedStream(sys.stdout), _MutedStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in muted:  # a logging handler created meanwhile may keep it
            stream.muted_thread = None


class _MutedStream:
    """Wraps a stream and drops what one thread writes."""

    def __init__(self, stream: Any) -> None:
        self.muted_thread: Optional[int] = _thread.get_ident()
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        return len(text) if _thread.get_ident() == self.muted_thread else self._stream.write(text)
