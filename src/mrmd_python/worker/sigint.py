"""SIGINT at a moment at which an exception would do harm, or would do nothing."""

import _thread
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator


@contextmanager
def noted() -> Iterator["list[int]"]:
    """Note SIGINT in the list that is the value, and raise nothing.

    Only the main thread gets signals, so others have nothing to note; nor is there a handler to put back where C code
    has installed its own.
    """
    came: "list[int]" = []
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield came
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, handler)


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
