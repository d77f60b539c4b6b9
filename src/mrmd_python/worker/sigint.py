"""SIGINT at a moment at which an exception would do harm."""

import signal
import threading
from contextlib import contextmanager
from typing import Iterator


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
