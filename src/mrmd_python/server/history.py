"""The cells that a session has run."""

from collections import deque
from fnmatch import fnmatchcase
from typing import NamedTuple

_MOST_ENTRIES = 10_000
_MOST_CHARACTERS = 16 * 1024 * 1024


class Entry(NamedTuple):
    """A cell that has run."""

    # The n of its In[n]. When the worker is replaced, the numbers continue.
    number: int
    code: str


class Page(NamedTuple):
    """A part of a history, oldest first."""

    entries: list[Entry]
    # Whether there are older matches.
    has_more: bool


class History:
    """The last cells of a session, up to a limit."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._characters = 0

    def add(self, code: str, count: int) -> None:
        """Add a cell that was In[count], or 0 if the number is unknown. Blank cells are not added."""
        if not code or code.isspace():
            return
        last = self._entries[-1].number if self._entries else 0
        self._entries.append(Entry(max(count, last + 1), code))
        self._characters += len(code)
        while len(self._entries) > _MOST_ENTRIES or self._characters > _MOST_CHARACTERS:
            self._characters -= len(self._entries.popleft().code)

    def clear(self) -> None:
        """Remove all cells."""
        self._entries.clear()
        self._characters = 0

    def snapshot(self) -> "History":
        """Return a copy, for another thread to read."""
        copy = History()
        copy._entries = self._entries.copy()
        return copy

    def page(self, count: int, pattern: str, before: int | None) -> Page:
        """Return the last `count` cells that match.

        Args:
            count: the number of cells.
            pattern: a glob for the whole cell if it has ``*`` or ``?`` (fnmatch), else a substring; empty for all.
            before: return only cells with a lower index.
        """
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if (before is None or entry.number < before) and _matches(entry.code, pattern):
                if len(found) >= count:
                    return Page(found[::-1], True)
                found.append(entry)
        return Page(found[::-1], False)

    def tail(self, characters: int) -> list[str]:
        """Return the code of the last cells, oldest first: as many as fit into this number of characters."""
        found: list[str] = []
        for entry in reversed(self._entries):
            characters -= len(entry.code)
            if characters < 0:
                break
            found.append(entry.code)
        return found[::-1]


def _matches(code: str, pattern: str) -> bool:
    if "*" in pattern or "?" in pattern:
        return fnmatchcase(code, pattern)
    return pattern in code
