"""The parts of a value (items, columns or attributes), page by page, and the path to one of them.

A step of a path is a string (a key, column or attribute), an integer (an index or an integer key), or
``{"position": n}`` for any other key, or one that looks like another.
"""

import collections
import re
import sys
from itertools import chain, islice
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Tuple, Union

from . import libraries
from .objects import UnknownError, is_instance, stored_attributes
from .render import repr_is_complete, text

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MAX_LABELS = 10_000  # of the keys that are compared by their labels
_MAX_LABEL_LENGTH = 100

CONTAINERS: "Tuple[type, ...]" = (list, tuple, dict, set, frozenset, collections.deque, range)
TEXTS: "Tuple[type, ...]" = (str, bytes, bytearray, memoryview)
_WITHOUT_PARTS: "Tuple[type, ...]" = (*TEXTS, int, float)

Step = Union[str, int, Mapping[str, int]]


class Part(NamedTuple):
    """One part of a value."""

    name: str
    step: Step
    value: object


class Indexed(NamedTuple):
    """Parts with an index."""

    length: int
    take_values: "Callable[[int, int], Iterable[object]]"

    def take(self, start: int, count: int) -> "list[Part]":
        """Return up to `count` parts."""
        return [Part(f"[{at}]", at, value) for at, value in enumerate(self.take_values(start, count), start)]

    def find(self, step: Step) -> object:
        """Return the part at a step: ``3``, ``"3"`` or ``"[3]"``.

        Raises:
            UnknownError: it does not exist.
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


class Keyed(NamedTuple):
    """Parts with a key, which may be any object."""

    length: int
    keys: "Callable[[], Iterable[object]]"
    pairs: "Callable[[], Iterable[Tuple[object, Any]]]"  # each key with the argument for `open`
    open: "Callable[[Any], object]" = lambda part: part

    def take(self, start: int, count: int) -> "list[Part]":
        """Return up to `count` parts."""
        taken = list(islice(self.pairs(), start, start + count))
        return [Part(label(key), _step(key, at), self.open(part)) for at, (key, part) in enumerate(taken, start)]

    def find(self, step: Step) -> object:
        """Return the part at a step, which is its key or else the label of its key.

        Raises:
            UnknownError: it does not exist.
        """
        position = step["position"] if isinstance(step, Mapping) else self._position(step)
        for _, part in islice(self.pairs(), position, None):
            return self.open(part)
        raise UnknownError(step)

    def _position(self, step: "Union[str, int]") -> int:
        keys = list(self.keys())  # copied at once: another thread may be adding to them
        kind = type(step)
        # Not by looking the key up in the dict, which may call the __eq__ of a user's key.
        exact = (at for at, key in enumerate(keys) if type(key) is kind and key == step)
        number = int(step) if isinstance(step, str) and _NUMBER.fullmatch(step) else None
        by_number = (at for at, key in enumerate(keys) if type(key) is int and key == number)
        by_label = (at for at, key in enumerate(keys[:_MAX_LABELS]) if label(key) == step)
        for position in chain(exact, by_number, by_label):
            return position
        raise UnknownError(step)


Parts = Union[Indexed, Keyed]


def items_of(value: object) -> "Optional[Parts]":
    """Return the items of a container, array or table, or None for any other value."""
    metadata = libraries.metadata(value)
    if metadata is not None:
        return _library_parts(metadata.elements) if metadata.elements is not None else None
    if is_instance(value, dict):
        return Keyed(dict.__len__(value), lambda: dict.keys(value), lambda: dict.items(value))  # type: ignore[arg-type]
    for base in CONTAINERS:
        if is_instance(value, base):
            return Indexed(base.__len__(value), _slice_function(value, base))  # type: ignore[attr-defined]
    return None


def parts_of(value: object) -> "Optional[Parts]":
    """Return the items of a value, else its attributes, or None if it has neither."""
    items = items_of(value)
    if items is not None or libraries.metadata(value) is not None or not has_attributes(value):
        return items
    found = dict(stored_attributes(value))
    return Keyed(len(found), found.keys, found.items)


def has_attributes(value: object) -> bool:
    """Return whether an object stores attributes that its text does not show."""
    if (
        repr_is_complete(value)
        or any(is_instance(value, leaf) for leaf in _WITHOUT_PARTS)
        or libraries.is_scalar(value)
    ):
        return False
    return next(stored_attributes(value), None) is not None


def item(value: object, key: Step) -> object:
    """Return ``value[key]`` of a container, array or table.

    Raises:
        UnknownError: there is no such item, or only running code could tell.
    """
    items = items_of(value)
    if items is None:
        raise UnknownError(key)
    try:
        return items.find(key)
    except Exception:  # no such item, or its library cannot read it
        raise UnknownError(key) from None


def follow(value: object, path: "Iterable[Step]") -> object:
    """Return the object at the end of a path.

    Raises:
        UnknownError: there is no such path.
    """
    for step in path:
        parts = parts_of(value)
        if parts is None:
            raise UnknownError(step)
        value = parts.find(step)
    return value


def _step(key: object, position: int) -> Step:
    if type(key) is str and len(key) <= _MAX_LABEL_LENGTH:
        return key
    return key if type(key) is int and abs(key) < sys.maxsize else {"position": position}


def _library_parts(elements: libraries.Elements) -> Parts:
    get = elements.get
    if elements.labels is None:
        stop = elements.length
        return Indexed(stop, lambda start, count: (get(at) for at in range(start, min(start + count, stop))))
    labels = elements.labels
    return Keyed(elements.length, lambda: labels, lambda: ((key, at) for at, key in enumerate(labels)), get)


def _slice_function(value: Any, base: Any) -> "Callable[[int, int], Iterable[object]]":
    if base in (list, tuple, range):
        return lambda start, count: base.__getitem__(value, slice(start, start + count))
    if base is collections.deque:
        return lambda start, count: [base.__getitem__(value, at) for at in range(start, min(start + count, len(value)))]
    return lambda start, count: list(islice(base.__iter__(value), start, start + count))


def label(key: object) -> str:
    """Return the label of a key or column: strings without quotes."""
    if not is_instance(key, str):
        return text(key, _MAX_LABEL_LENGTH)[0]
    cut = str.__getitem__(key, slice(0, _MAX_LABEL_LENGTH + 1))  # type: ignore[index]
    return cut if len(cut) <= _MAX_LABEL_LENGTH else f"{cut[: _MAX_LABEL_LENGTH - 1]}…"
