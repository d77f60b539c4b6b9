"""A session's activity: what is queued, starts and ends in it, and what it writes while nothing runs.

The newest events are in memory, up to 1 MiB. A reader that comes later starts at the oldest of them.
"""

import json
import time
from collections import deque
from itertools import takewhile
from typing import NamedTuple

from mrmd_python.server.assets import Display
from mrmd_python.server.event_log import Entry, EventLog
from mrmd_python.server.execution import Execution, ExecutionJson

_KEPT_BYTES = 1024 * 1024
# Counted for each event besides its text or data, so that many small events are bounded too.
_EVENT_COST = 512
# Longer code is shortened in events to its first and last part.
_LONGEST_CODE = 64 * 1024
_CODE_PART = 8 * 1024


class _Event(NamedTuple):
    number: int
    name: str
    # Encoded only when it is read: most sessions have no reader.
    data: bytes | ExecutionJson
    cost: int


class ActivityLog(EventLog):
    """The activity of one session."""

    def __init__(self) -> None:
        # Numbers start at the time in microseconds. So a client that returns to a new session with the number of an
        # event of an earlier one, or of an earlier runtime, gets all events.
        self.start = time.time_ns() // 1000
        super().__init__(self.start)
        self._events: deque[_Event] = deque()
        self._cost = 0

    def note(self, name: str, execution: Execution) -> None:
        """Add that an execution was queued, started or ended."""
        found = execution.as_json()
        found["code"] = _shortened(found["code"])
        self._keep(name, found, len(found["code"]))

    def text(self, stream: str, text: str) -> None:
        """Add text that was written while nothing ran."""
        self.append(stream, text.encode(errors="replace"))  # JSON may hold a lone surrogate

    def display(self, display: Display) -> None:
        """Add a display that came while nothing ran."""
        self.append("display", json.dumps(display.as_json()).encode())

    def append(self, name: str, data: bytes) -> None:
        """Add an event."""
        self._keep(name, data, len(data))

    def read(self, after: int, size_limit: int) -> tuple[list[Entry], int]:
        """Return about `size_limit` bytes of entries after the number `after`; dropped ones are not counted."""
        newest_first = list(takewhile(lambda event: event.number > after, reversed(self._events)))
        entries: list[Entry] = []
        size = 0
        while newest_first and size < size_limit:
            event = newest_first.pop()
            data = event.data if isinstance(event.data, bytes) else json.dumps(event.data).encode()
            entries.append(Entry(event.number, event.name, data))
            size += len(data)
        return entries, 0

    def _keep(self, name: str, data: bytes | ExecutionJson, size: int) -> None:
        """Add an event, and drop the oldest ones that do not fit."""
        self.last += 1
        self._events.append(_Event(self.last, name, data, size + _EVENT_COST))
        self._cost += size + _EVENT_COST
        while self._cost > _KEPT_BYTES and len(self._events) > 1:
            self._cost -= self._events.popleft().cost
        self._wake()


def _shortened(code: str) -> str:
    if len(code) <= _LONGEST_CODE:
        return code
    left_out = len(code) - 2 * _CODE_PART
    return f"{code[:_CODE_PART]}\n[mrmd-python: {left_out} characters are left out here]\n{code[-_CODE_PART:]}"
