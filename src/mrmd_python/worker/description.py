"""What MRP tells of a value: its text, size, shape and so on; never more than a bounded part of the value is read."""

import collections
import types
from dataclasses import dataclass
from itertools import islice
from typing import Any, Optional, Tuple

from . import libraries, signature, static
from .text import is_told_whole, text
from .writer import is_leaf

_SHORT = 120
_SHOWN_KEYS = 20
LONGEST_LABEL = 100

SIZED: "Tuple[type, ...]" = (list, tuple, dict, set, frozenset, collections.deque, range)
"""The built-in containers."""
_BYTES: "Tuple[type, ...]" = (bytes, bytearray, memoryview)
_BUILT_IN = {id(base): base for base in (str, *_BYTES, *SIZED)}
_LEAVES: "Tuple[type, ...]" = (str, int, float, *_BYTES)
"""What is not worth going down into."""


@dataclass
class Description:
    """MRP's Variable, less its name. Not frozen: ten thousand of those take twice the time to be made."""

    type: str
    value: str
    size: Optional[str] = None
    """For people."""
    expandable: bool = False
    shape: "Optional[list[int]]" = None
    dtype: Optional[str] = None
    length: Optional[int] = None
    keys: "Optional[list[str]]" = None

    def as_json(self, name: str) -> "dict[str, Any]":
        """Return it as the variable of that name."""
        return {"name": name, **vars(self)}


def describe(value: object) -> Description:
    """Return what to tell of a value in a list of many."""
    cls = type(value)
    kind = static.class_name(cls)
    if is_leaf(value):
        return Description(kind, repr(value))
    shown, _ = full_text(value, _SHORT)
    base: Any = _BUILT_IN.get(id(cls))
    if base is None:
        told = libraries.metadata(value)
        if told is not None:
            return _of_library(kind, shown, told)
        base = next((base for base in _BUILT_IN.values() if static.is_below(cls, base)), None)
    if base is None:
        return Description(kind, shown, expandable=has_attributes(value))
    length = base.__len__(value)
    if base is str:
        return Description(kind, shown, _count(length, "character"), length=length)
    if base in _BYTES:
        return Description(kind, shown, _amount(length), length=length)
    keys = _keys(value) if base is dict else None
    return Description(kind, shown, _count(length, "item"), length > 0, length=length, keys=keys)


def has_attributes(value: object) -> bool:
    """Return whether one can go down into what an object stores."""
    if is_told_whole(value) or any(static.is_a(value, leaf) for leaf in _LEAVES) or libraries.is_scalar(value):
        return False
    return next(static.attributes(value), None) is not None


def full_text(value: object, limit: int) -> "Tuple[str, bool]":
    """Return a value as text of at most `limit` characters, and whether that is all of it."""
    shown, whole = text(value, limit)
    if type(value) is types.FunctionType and whole:
        shown = f"{shown[:-1]}{signature.of(value) or ''}>"
        return shown[:limit], len(shown) <= limit
    return shown, whole


def _of_library(kind: str, shown: str, told: libraries.Metadata) -> Description:
    labels = told.elements.labels if told.elements is not None else None
    return Description(
        kind,
        shown,
        None if told.size is None else _amount(told.size),
        told.elements is not None and told.elements.length > 0,
        told.shape,
        told.dtype,
        told.shape[0] if told.shape else None,
        None if labels is None else _labels(labels),
    )


def _keys(value: Any) -> "list[str]":
    return _labels(islice(dict.keys(value), _SHOWN_KEYS))


def _labels(keys: Any) -> "list[str]":
    return [label(key) for key in islice(keys, _SHOWN_KEYS)]


def label(key: object) -> str:
    """Return how a key or a column is called where its value is shown: a string without quotes."""
    if not static.is_a(key, str):
        return text(key, LONGEST_LABEL)[0]
    shown = str.__getitem__(key, slice(0, LONGEST_LABEL + 1))  # type: ignore[index]
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _amount(size: float) -> str:
    """Return a number of bytes for people: ``45.2 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
