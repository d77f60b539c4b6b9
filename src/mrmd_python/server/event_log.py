"""A log of events for any number of readers, each at its own speed."""

import asyncio
from abc import ABC, abstractmethod
from typing import NamedTuple


class Entry(NamedTuple):
    """One event. Its data is text for stdout and stderr, else JSON, and never empty."""

    number: int
    name: str
    data: bytes


class EventLog(ABC):
    """A log. What it keeps, and where, is up to the subclass."""

    def __init__(self, last: int = 0) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        # The number of the newest entry.
        self.last = last
        self.closed = False

    @abstractmethod
    def append(self, name: str, data: bytes) -> None:
        """Add an event."""

    @abstractmethod
    def read(self, after: int, size_limit: int) -> tuple[list[Entry], int]:
        """Return about `size_limit` bytes of entries after the number `after`, and the bytes dropped between."""

    def close(self) -> None:
        """End the log: there will be no more events."""
        self.closed = True
        self._wake()

    async def wait(self, after: int, seconds: float) -> bool:
        """Wait for an entry after the number `after`, or for the end of the log; return False on a timeout."""
        if self.last > after or self.closed:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.add(future)
        deadline = loop.call_later(seconds, _release, future)
        try:
            await future
        finally:
            deadline.cancel()
            self._waiting.discard(future)
        return self.last > after or self.closed

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _release(future)


def _release(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
