"""The cells that a session has run."""

from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

_MOST_ENTRIES = 10_000
_MOST_CHARACTERS = 16 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A cell that has run."""

    index: int
    """Its In[n]; in a session whose process was replaced, counted on."""
    code: str


@dataclass(frozen=True)
class Page:
    """Some of a history, oldest first."""

    entries: list[Entry]
    has_more: bool
    """Whether there are older ones of the kind."""


class History:
    """The last cells of a session, to a bound."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._characters = 0

    def add(self, code: str, count: int) -> None:
        """Add a cell that was In[count]; 0 if that is not known. An empty one is no cell."""
        if not code or code.isspace():
            return
        last = self._entries[-1].index if self._entries else 0
        self._entries.append(Entry(max(count, last + 1), code))
        self._characters += len(code)
        while len(self._entries) > _MOST_ENTRIES or self._characters > _MOST_CHARACTERS:
            self._characters -= len(self._entries.popleft().code)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._characters = 0

    def snapshot(self) -> "History":
        """Return one that stays as this one is now."""
        copy = History()
        copy._entries = self._entries.copy()
        return copy

    def page(self, count: int, pattern: str, before: int | None) -> Page:
        """Return the last `count` cells that match.

        Args:
            count: how many.
            pattern: with ``*`` or ``?`` a glob for the whole cell (fnmatch), else a part of it; empty for all.
            before: only those with a lower index, if it is given.
        """
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if (before is None or entry.index < before) and _matches(entry.code, pattern):
                if len(found) >= count:
                    return Page(found[::-1], True)
                found.append(entry)
        return Page(found[::-1], False)

    def tail(self, characters: int) -> list[str]:
        """Return the code of the last cells, as many as have so many characters together, oldest first."""
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
