"""What a value consists of: items, columns or attributes, page by page, and the way down to one of them.

A step of a path is a string (a key, a column or an attribute), a whole number (an index, or a key that is one), or
``{"position": n}`` for a key that is neither, or that another key looks like.
"""

import collections
import re
import sys
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Tuple, Union

from . import libraries, static
from .description import LONGEST_LABEL, SIZED, has_attributes, label

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MOST_LABELS = 10_000
"""Among how many keys one is looked for by what it is shown as."""

Step = Union[str, int, Mapping[str, int]]


class NoSuchPartError(LookupError):
    """A step of a path leads nowhere."""


@dataclass(frozen=True)
class Part:
    """One thing that a value consists of."""

    name: str
    step: Step
    value: object


@dataclass(frozen=True)
class Indexed:
    """Parts that have a number."""

    length: int
    take_values: "Callable[[int, int], Iterable[object]]"

    def take(self, start: int, count: int) -> "list[Part]":
        """Return up to `count` parts."""
        return [Part(f"[{at}]", at, value) for at, value in enumerate(self.take_values(start, count), start)]

    def find(self, step: Step) -> object:
        """Return the part that a step leads to: ``3``, ``"3"`` or ``"[3]"``.

        Raises:
            NoSuchPartError: there is none.
        """
        if isinstance(step, str):
            digits = step.strip("[]")
            if not _NUMBER.fullmatch(digits):
                raise NoSuchPartError(step)
            position = int(digits)
        else:
            position = step["position"] if isinstance(step, Mapping) else step
        if position < 0:
            position += self.length
        found = list(self.take_values(position, 1)) if 0 <= position < self.length else []
        if not found:
            raise NoSuchPartError(step)
        return found[0]


@dataclass(frozen=True)
class Keyed:
    """Parts that have a key, any object."""

    length: int
    pairs: "Callable[[], Iterator[Tuple[object, Any]]]"
    """Yields each key with what `open` turns into the part."""
    open: "Callable[[Any], object]" = lambda part: part

    def take(self, start: int, count: int) -> "list[Part]":
        """Return up to `count` parts."""
        taken = list(islice(self.pairs(), start, start + count))
        return [Part(label(key), _step(key, at), self.open(part)) for at, (key, part) in enumerate(taken, start)]

    def find(self, step: Step) -> object:
        """Return the part that a step leads to: its key, or else what its key is shown as.

        Raises:
            NoSuchPartError: there is none.
        """
        if isinstance(step, Mapping):
            for _, part in islice(self.pairs(), step["position"], None):
                return self.open(part)
            raise NoSuchPartError(step)
        pairs = list(self.pairs())
        exact = (part for key, part in pairs if type(key) is type(step) and key == step)
        number = int(step) if isinstance(step, str) and _NUMBER.fullmatch(step) else None
        by_number = (part for key, part in pairs if type(key) is int and key == number)
        shown = (part for key, part in pairs[:_MOST_LABELS] if label(key) == step)
        for part in chain(exact, by_number, shown):
            return self.open(part)
        raise NoSuchPartError(step)


Parts = Union[Indexed, Keyed]


def parts_of(value: object) -> "Optional[Parts]":
    """Return what a value consists of, or None if one cannot go down into it."""
    told = libraries.metadata(value)
    if told is not None:
        return _of_library(told.elements) if told.elements is not None else None
    if static.is_a(value, dict):
        return Keyed(dict.__len__(value), lambda: iter(dict.items(value)))  # type: ignore[arg-type]
    for base in SIZED:
        if static.is_a(value, base):
            return Indexed(base.__len__(value), _slicer(value, base))  # type: ignore[attr-defined]
    if has_attributes(value):
        found = list(static.attributes(value))
        return Keyed(len(found), lambda: iter(found))
    return None


def follow(value: object, path: "Iterable[Step]") -> object:
    """Return what a path leads to.

    Raises:
        NoSuchPartError: it leads nowhere.
    """
    for step in path:
        parts = parts_of(value)
        if parts is None:
            raise NoSuchPartError(step)
        value = parts.find(step)
    return value


def _step(key: object, position: int) -> Step:
    if type(key) is str and len(key) <= LONGEST_LABEL:
        return key
    return key if type(key) is int and abs(key) < sys.maxsize else {"position": position}


def _of_library(elements: libraries.Elements) -> Parts:
    get = elements.get
    if elements.labels is None:
        stop = elements.length
        return Indexed(stop, lambda start, count: (get(at) for at in range(start, min(start + count, stop))))
    labels = elements.labels
    return Keyed(elements.length, lambda: ((key, at) for at, key in enumerate(labels)), get)


def _slicer(value: Any, base: Any) -> "Callable[[int, int], Iterable[object]]":
    if base in (list, tuple, range):
        return lambda start, count: base.__getitem__(value, slice(start, start + count))
    if base is collections.deque:
        return lambda start, count: [base.__getitem__(value, at) for at in range(start, min(start + count, len(value)))]
    return lambda start, count: list(islice(base.__iter__(value), start, start + count))
