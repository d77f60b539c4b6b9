"""A sign of life for a person who waits."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_FRAMES = "|/-\\"
_FIRST_SECONDS = 0.3
"""What is over sooner needs no sign."""
_FRAME_SECONDS = 0.1


@contextmanager
def spinning(text: str) -> Iterator[None]:
    """Show `text` and the seconds that have gone by, while the block runs; on a terminal only, and gone afterwards."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    ended = threading.Event()
    spinner = threading.Thread(target=_spin, args=(text, ended), daemon=True)
    spinner.start()
    try:
        yield
    finally:
        ended.set()
        spinner.join()


def _spin(text: str, ended: threading.Event) -> None:
    begun = time.monotonic()
    if ended.wait(_FIRST_SECONDS):
        return
    count = 0
    while not ended.wait(_FRAME_SECONDS):
        sign = _FRAMES[count % len(_FRAMES)]
        print(f"\r{sign} {text}: {time.monotonic() - begun:.0f} s", end="", file=sys.stderr, flush=True)
        count += 1
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # erase the line (ECMA-48, EL)
