"""What a value consists of: items, columns or attributes, page by page, and the path to one of them.

A step of a path is a string (a key, a column or an attribute), a whole number (an index, or a key that is one), or
``{"position": n}`` for a key that is neither, or that another key looks like.
"""

import collections
import re
import sys
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Callable, Iterable, Mapping, Optional, Tuple, Union

from . import libraries
from .objects import UnknownError, is_a, stored_attributes
from .render import repr_is_complete, text

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MOST_LABELS = 10_000  # among which a key is looked for by its text
_LONGEST_LABEL = 100

CONTAINERS: "Tuple[type, ...]" = (list, tuple, dict, set, frozenset, collections.deque, range)
TEXTS: "Tuple[type, ...]" = (str, bytes, bytearray, memoryview)
_WITHOUT_PARTS: "Tuple[type, ...]" = (*TEXTS, int, float)

Step = Union[str, int, Mapping[str, int]]


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
            UnknownError: there is none.
        """
        if isinstance(step, str):
            digits = step.strip("[]")
            if not _NUMBER.fullmatch(digits):
                raise UnknownError(step)
            position = int(digits)
        else:
            position = step["position"] if isinstance(step, Mapping) else step
        if position < 0:
            position += self.length
        found = list(self.take_values(position, 1)) if 0 <= position < self.length else []
        if not found:
            raise UnknownError(step)
        return found[0]


@dataclass(frozen=True)
class Keyed:
    """Parts that have a key, any object."""

    length: int
    keys: "Callable[[], Iterable[object]]"
    pairs: "Callable[[], Iterable[Tuple[object, Any]]]"  # each key with what `open` turns into the part
    open: "Callable[[Any], object]" = lambda part: part

    def take(self, start: int, count: int) -> "list[Part]":
        """Return up to `count` parts."""
        taken = list(islice(self.pairs(), start, start + count))
        return [Part(label(key), _step(key, at), self.open(part)) for at, (key, part) in enumerate(taken, start)]

    def find(self, step: Step) -> object:
        """Return the part that a step leads to: its key, or else what its key is shown as.

        Raises:
            UnknownError: there is none.
        """
        position = step["position"] if isinstance(step, Mapping) else self._position(step)
        for _, part in islice(self.pairs(), position, None):
            return self.open(part)
        raise UnknownError(step)

    def _position(self, step: "Union[str, int]") -> int:
        keys = list(self.keys())  # copied at once: another thread may be adding to them
        kind = type(step)
        # Not by the dict's own lookup, which may call an __eq__ of the user's.
        exact = (at for at, key in enumerate(keys) if type(key) is kind and key == step)
        number = int(step) if isinstance(step, str) and _NUMBER.fullmatch(step) else None
        by_number = (at for at, key in enumerate(keys) if type(key) is int and key == number)
        shown = (at for at, key in enumerate(keys[:_MOST_LABELS]) if label(key) == step)
        for position in chain(exact, by_number, shown):
            return position
        raise UnknownError(step)


Parts = Union[Indexed, Keyed]


def items_of(value: object) -> "Optional[Parts]":
    """Return the items of a container, array or table, None if it is none."""
    metadata = libraries.metadata(value)
    if metadata is not None:
        return _of_library(metadata.elements) if metadata.elements is not None else None
    if is_a(value, dict):
        return Keyed(dict.__len__(value), lambda: dict.keys(value), lambda: dict.items(value))  # type: ignore[arg-type]
    for base in CONTAINERS:
        if is_a(value, base):
            return Indexed(base.__len__(value), _slicer(value, base))  # type: ignore[attr-defined]
    return None


def parts_of(value: object) -> "Optional[Parts]":
    """Return the items of a value or else its attributes, None if it has neither."""
    items = items_of(value)
    if items is not None or libraries.metadata(value) is not None or not has_attributes(value):
        return items
    found = dict(stored_attributes(value))
    return Keyed(len(found), found.keys, found.items)


def has_attributes(value: object) -> bool:
    """Return whether an object stores attributes that are worth a look."""
    if repr_is_complete(value) or any(is_a(value, leaf) for leaf in _WITHOUT_PARTS) or libraries.is_scalar(value):
        return False
    return next(stored_attributes(value), None) is not None


def item(value: object, key: Step) -> object:
    """Return ``value[key]`` of a container, array or table.

    Raises:
        UnknownError: there is none, or only code could tell.
    """
    items = items_of(value)
    if items is None:
        raise UnknownError(key)
    try:
        return items.find(key)
    except Exception:  # there is none, or its library cannot read it
        raise UnknownError(key) from None


def follow(value: object, path: "Iterable[Step]") -> object:
    """Return what a path leads to.

    Raises:
        UnknownError: it leads nowhere.
    """
    for step in path:
        parts = parts_of(value)
        if parts is None:
            raise UnknownError(step)
        value = parts.find(step)
    return value


def _step(key: object, position: int) -> Step:
    if type(key) is str and len(key) <= _LONGEST_LABEL:
        return key
    return key if type(key) is int and abs(key) < sys.maxsize else {"position": position}


def _of_library(elements: libraries.Elements) -> Parts:
    get = elements.get
    if elements.labels is None:
        stop = elements.length
        return Indexed(stop, lambda start, count: (get(at) for at in range(start, min(start + count, stop))))
    labels = elements.labels
    return Keyed(elements.length, lambda: labels, lambda: ((key, at) for at, key in enumerate(labels)), get)


def _slicer(value: Any, base: Any) -> "Callable[[int, int], Iterable[object]]":
    if base in (list, tuple, range):
        return lambda start, count: base.__getitem__(value, slice(start, start + count))
    if base is collections.deque:
        return lambda start, count: [base.__getitem__(value, at) for at in range(start, min(start + count, len(value)))]
    return lambda start, count: list(islice(base.__iter__(value), start, start + count))


def label(key: object) -> str:
    """Return how a key or a column is shown: a string without quotes."""
    if not is_a(key, str):
        return text(key, _LONGEST_LABEL)[0]
    shown = str.__getitem__(key, slice(0, _LONGEST_LABEL + 1))  # type: ignore[index]
    return shown if len(shown) <= _LONGEST_LABEL else f"{shown[: _LONGEST_LABEL - 1]}…"
