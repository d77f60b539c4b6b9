"""Lets code that writes fast wait for the clients that read all of its output, so that they lose nothing.

The wait is bounded. A client that has stopped reading is not waited for, and a slow one makes output no slower than
1 MiB per second.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# The log keeps the last 24 MiB at least: a reader may be this far behind before code waits for it.
_MOST_BEHIND = 8 * 1024 * 1024
# A reader that has not advanced for this long has stopped reading.
_STOPPED_SECONDS = 1.0
# The longest wait before the next MiB of output is read.
LONGEST_WAIT_SECONDS = 1.0


@dataclass(eq=False)
class Reader:
    """A client that reads the log of an execution: the number of the last event that it has, and since when."""

    position: int
    since: float

    def advance(self, position: int) -> None:
        """Note how far it has read."""
        self.position, self.since = position, time.monotonic()


class Pace:
    """The readers of one execution that want all of its output."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()

    @contextmanager
    def reading(self, position: int) -> Iterator[Reader]:
        """Count a reader while the block runs."""
        reader = Reader(position, time.monotonic())
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def is_too_fast(self, last: int) -> bool:
        """Return whether a client that reads is far behind the last event."""
        stopped = time.monotonic() - _STOPPED_SECONDS
        return any(last - reader.position > _MOST_BEHIND and reader.since > stopped for reader in self._readers)
