"""The execution log: every event of one execution.

Up to 256 KiB are in memory. Beyond that, events go to an unlinked temporary file. Beyond 64 MiB, the middle is dropped:
the first 32 MiB and the last 24 to 32 MiB stay, and readers get the number of bytes dropped.

The number of an event is the number of bytes logged up to its end. So this number alone says what a reader has received
and how much it has missed.
"""

import os
import tempfile
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from mrmd_python.server.event_log import Entry, EventLog

_MEMORY_BYTES = 256 * 1024
_CHUNK_BYTES = 8 * 1024 * 1024
_SLOT_BYTES = 1 << 32
_HEAD_CHUNKS = 4
_TAIL_CHUNKS = 4
# Counted for each entry besides its bytes, so that many small entries are bounded too.
_ENTRY_COST = 256


class _Spill:
    """The unlinked file of a log. Each chunk has a slot of 4 GiB in it: the file is sparse, so gaps take no space."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._free = list(range(_HEAD_CHUNKS + _TAIL_CHUNKS + 1))

    def take_slot(self) -> int:
        return self._free.pop(0)

    def free_slot(self, slot: int) -> None:
        self._free.append(slot)

    def write(self, slot: int, offset: int, data: bytearray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the log, when nothing refers to it
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.pwrite(self._file.fileno(), view[written:], slot * _SLOT_BYTES + offset + written)

    def read(self, slot: int, offset: int, length: int) -> bytes:
        assert self._file is not None
        return os.pread(self._file.fileno(), length, slot * _SLOT_BYTES + offset)


class _Chunk:
    """Consecutive entries. The newest are in memory, the others in the file."""

    def __init__(self, start: int, spill: _Spill) -> None:
        # The numbers of the entry before the first one and of the last one.
        self.start = self.end = start
        self.cost = 0
        self.slot = spill.take_slot()
        self._names: list[str] = []
        self._ends: list[int] = []
        self._spill = spill
        self._memory = bytearray()
        self._memory_limit = _MEMORY_BYTES
        self._filed = start

    def append(self, name: str, data: bytes) -> None:
        self.end += len(data)
        self._names.append(name)
        self._ends.append(self.end)
        self.cost += len(data) + _ENTRY_COST
        self._memory += data
        if len(self._memory) > self._memory_limit:
            self.move_to_file()

    def move_to_file(self) -> None:
        try:
            self._spill.write(self.slot, self._filed - self.start, self._memory)
        except OSError:
            # The disk is full: keep it in memory, which the size of a chunk limits. Do not try again for every line.
            self._memory_limit = len(self._memory) + _MEMORY_BYTES
            return
        self._filed += len(self._memory)
        self._memory = bytearray()
        self._memory_limit = _MEMORY_BYTES

    def entries(self, after: int) -> Iterator[Entry]:
        for index in range(bisect_right(self._ends, after), len(self._ends)):
            start, end = (self._ends[index - 1] if index else self.start), self._ends[index]
            if start >= self._filed:
                data = bytes(self._memory[start - self._filed : end - self._filed])
            else:
                data = self._spill.read(self.slot, start - self.start, end - start)
            yield Entry(end, self._names[index], data)


class ExecutionLog(EventLog):
    """The log of one execution: its session appends to it, any number of streams read it."""

    def __init__(self) -> None:
        super().__init__()
        self._spill = _Spill()
        self._head = [_Chunk(0, self._spill)]
        self._tail: deque[_Chunk] = deque()

    def append(self, name: str, data: bytes) -> None:
        """Add an event."""
        chunk = self._tail[-1] if self._tail else self._head[-1]
        if chunk.cost >= _CHUNK_BYTES:
            chunk = self._next_chunk(chunk)
        chunk.append(name, data)
        self.last = chunk.end
        self._wake()

    def read(self, after: int, size_limit: int) -> tuple[list[Entry], int]:
        """Return about `size_limit` bytes of entries after the number `after`, and the bytes dropped between."""
        missed = 0
        if self._tail and self._head[-1].end <= after < self._tail[0].start:
            missed, after = self._tail[0].start - after, self._tail[0].start
        entries: list[Entry] = []
        size = 0
        for chunk in (*self._head, *self._tail):
            for entry in chunk.entries(after):
                entries.append(entry)
                size += len(entry.data)
                if size >= size_limit:
                    return entries, missed
            if self._tail and chunk is self._head[-1] and after < chunk.end < self._tail[0].start:
                break  # a gap follows, which the next call reports
        return entries, missed

    def _next_chunk(self, full: _Chunk) -> _Chunk:
        full.move_to_file()
        chunk = _Chunk(self.last, self._spill)
        if len(self._head) < _HEAD_CHUNKS:
            self._head.append(chunk)
            return chunk
        self._tail.append(chunk)
        if len(self._tail) > _TAIL_CHUNKS:
            self._spill.free_slot(self._tail.popleft().slot)
        return chunk
