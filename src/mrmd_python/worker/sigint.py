"""SIGINT at a moment at which an exception would do harm, or would do nothing."""

import _thread
import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Any, Callable, Iterator, Optional


class CellInterrupted(SystemExit):
    """An interrupt at an input() whose caller would catch KeyboardInterrupt and ask again.

    It is an exit because libraries that catch everything let exits through, and asyncio stops its loop for them.
    """

    def __init__(self) -> None:
        super().__init__("interrupted")  # %run ignores an exit without a status


@contextmanager
def _handled_by(handler: "Callable[[int, Optional[FrameType]], Any]") -> Iterator[None]:
    """Handle SIGINT in this way, in the main thread, which alone gets signals.

    There is no handler to put back where C code has installed its own.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def noted() -> Iterator["list[int]"]:
    """Note SIGINT in the list that is the value, and raise nothing."""
    came: "list[int]" = []
    with _handled_by(lambda number, frame: came.append(number)):
        yield came


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT, whatever it means to the code around this.

    To asyncio.run(), for one, it means to cancel a task, which does not end what blocks the event loop.
    """
    with _handled_by(signal.default_int_handler):
        yield


@contextmanager
def put_off() -> Iterator[None]:
    """Deliver SIGINT only after the block."""
    came: "list[int]" = []
    try:
        with noted() as came:
            yield
    finally:
        if came:
            signal.raise_signal(signal.SIGINT)


def release_leaked(lock: Any) -> None:
    """Release a `threading.RLock` that no code of this thread holds any more.

    If a signal handler raises just before a `with` block would release its lock, the thread keeps it, and others wait.
    """
    while lock._is_owned():
        lock.release()


def send_unraised_again() -> None:
    """From now on, have a SIGINT that Python could not raise come again.

    What it raises in a finalizer or a weak reference's callback goes to sys.unraisablehook, and the code that was to be
    interrupted goes on.
    """
    show = sys.unraisablehook

    def send_again(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            show(unraisable)
            return
        # From a thread: sent here, it would be raised here. Should it still come too early, this is called again.
        _thread.start_new_thread(signal.pthread_kill, (_thread.get_ident(), signal.SIGINT))

    sys.unraisablehook = send_again
