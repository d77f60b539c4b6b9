"""SIGINT where a KeyboardInterrupt would do harm, or would be lost."""

import _thread
import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Any, Callable, Iterator, Optional


class CellInterrupted(SystemExit):
    """An interrupt of input(), for a caller that would catch a KeyboardInterrupt and ask again.

    It is a SystemExit because libraries that catch other exceptions let it through, and asyncio stops its loop for it.
    """

    def __init__(self) -> None:
        super().__init__("interrupted")  # %run ignores a SystemExit without a status


@contextmanager
def _handled_by(handler: "Callable[[int, Optional[FrameType]], Any]") -> Iterator[None]:
    """Set a handler of SIGINT while the block runs. Do nothing outside the main thread, which alone gets signals.

    If C code has installed a handler, leave it: it could not be restored.
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
def recorded() -> Iterator["list[int]"]:
    """Append each SIGINT to the list that this yields, instead of raising KeyboardInterrupt."""
    received: "list[int]" = []
    with _handled_by(lambda number, frame: received.append(number)):
        yield received


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT, whatever handler is set.

    The handler of asyncio.run(), for example, cancels a task, which does not stop code that blocks the event loop.
    """
    with _handled_by(signal.default_int_handler):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Deliver SIGINT only after the block."""
    received: "list[int]" = []
    try:
        with recorded() as received:
            yield
    finally:
        if received:
            signal.raise_signal(signal.SIGINT)


def release_leaked(lock: Any) -> None:
    """Release a `threading.RLock` that this thread still holds after a cell.

    If a signal handler raises just before the end of a `with` block, the lock stays held, and other threads wait.
    """
    while lock._is_owned():
        lock.release()


def resend_unraised() -> None:
    """From now on, send a SIGINT again if its KeyboardInterrupt was lost.

    Python passes an exception in a finalizer or a weak reference's callback to sys.unraisablehook, and the code that
    should be interrupted goes on.
    """
    show = sys.unraisablehook

    def send_again(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            show(unraisable)
            return
        # From another thread, because here the exception would be lost again. If it comes too early, this repeats.
        _thread.start_new_thread(signal.pthread_kill, (_thread.get_ident(), signal.SIGINT))

    sys.unraisablehook = send_again
