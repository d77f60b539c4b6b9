"""Answers to POST /inspect, /hover, /variables and /variables/{name}."""

import inspect
import re
import time
import types
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Tuple

from ..cell import variable_names
from ..shell import Shell
from . import kinds, libraries, objects, render, signature, source
from .objects import UnknownError, class_name, full_name, is_below
from .parts import CONTAINERS, TEXTS, Parts, follow, has_attributes, label, parts_of
from .resolve import Found, at_cursor, called_at_cursor, is_argument_name

_MOST_CHILDREN = 100
_LONGEST_VALUE = 1000
_LONGEST_DOCSTRING = 100_000
_SHORT_VALUE = 120
_SHOWN_KEYS = 20
_MOST_NAMES = 500
# How long a list of variables may take, and how many characters it may have; what is beyond that is left out.
_MOST_VARIABLES = 10_000
_SECONDS = 1.0
_MOST_TEXT = 1_000_000

_IPYTHON_NAME = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[doi]h|_exit_code|__\w*__")
_WITH_SIGNATURE = objects.types(types.FunctionType, types.MethodType)
_BUILT_IN = {id(cls): cls for cls in (*TEXTS, *CONTAINERS)}

Json = dict[str, Any]


def inspection(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /inspect: about the name at the cursor or, among arguments, about what is called."""
    code, cursor, detail = request["code"], request["cursor"], request["detail"]
    found = None if is_argument_name(code, cursor) else at_cursor(shell, code, cursor)
    found = found or called_at_cursor(shell, code, cursor) or at_cursor(shell, code, cursor)
    if found is None:
        return {"found": False}
    place = source.of(shell, found.definition)
    parts = parts_of(found.shown)
    return {
        "found": True,
        "source": "runtime",
        "name": found.name,
        "kind": kinds.kind(found.definition, found.owner),
        "type": class_name(type(found.shown)),
        "signature": signature.full_text(found.shown),
        "docstring": (_docstring(found.definition) or _class_docstring(found.shown)) if detail >= 1 else None,
        "sourceCode": place.text() if place is not None and detail >= 2 else None,
        "file": place.file if place is not None else None,
        "line": place.line if place is not None else None,
        "value": _text(found.shown, _LONGEST_VALUE)[0],
        "children": [] if parts is None or detail < 1 else _children(parts, 0, _MOST_CHILDREN),
    }


def hover(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /hover: about the very name that the cursor is at."""
    found = at_cursor(shell, request["code"], request["cursor"])
    if found is None:
        return {"found": False}
    docstring = _docstring(found.definition)
    return {
        "found": True,
        "name": found.name,
        "type": class_name(type(found.shown)),
        "value": _text(found.shown, _LONGEST_VALUE)[0],
        "signature": _signature_with_name(found),
        "docstring": docstring,
        "documentation": docstring,
    }


def variables(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /variables: the user's variables that pass the filter, in the order they were made."""
    names = variable_names(shell) + ([] if request["excludePrivate"] else _private_names(shell))
    pattern, types_ = request["namePattern"].lower(), set(request["types"])
    matching = names if not pattern else [name for name in names if _matches(name.lower(), pattern)]
    described, whole = _bounded(_variables(shell, matching, types_))
    return {"variables": described, "count": len(described), "truncated": not whole}


def variable(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /variables/{name}; ``{"unknown": true}`` if there is none or the path leads nowhere."""
    name, path = request["name"], request["path"]
    try:
        value = follow(shell.user_ns[name], path)
    except (KeyError, UnknownError):
        return {"unknown": True}
    text, whole = _text(value, request["maxValueLength"])
    parts = parts_of(value)
    start = request["offset"]
    shown = [] if parts is None else _children(parts, start, request["maxChildren"])
    methods, attributes = _members(value)
    return {
        **describe(value).as_json(_last(name, path)),
        "fullValue": text,
        "children": shown,
        "methods": methods,
        "attributes": attributes,
        "truncated": not whole or (parts is not None and start + len(shown) < parts.length),
    }


# By the `op` of a query.
ANSWERS: "Mapping[str, Callable[[Shell, Mapping[str, Any]], Json]]" = {
    "hover": hover,
    "inspect": inspection,
    "variable": variable,
    "variables": variables,
}


@dataclass
class Description:
    """MRP's Variable, less its name. Not frozen: ten thousand of those take twice as long to be made."""

    type: str
    value: str
    size: Optional[str] = None  # for people
    expandable: bool = False
    shape: "Optional[list[int]]" = None
    dtype: Optional[str] = None
    length: Optional[int] = None
    keys: "Optional[list[str]]" = None

    def as_json(self, name: str) -> Json:
        """Return it as the variable of that name."""
        return {"name": name, **vars(self)}


def describe(value: object) -> Description:
    """Return what describes a value in a list of many. Never more than a bounded part of the value is read."""
    cls = type(value)
    kind = class_name(cls)
    if render.is_leaf(value):
        return Description(kind, repr(value))
    shown, _ = _text(value, _SHORT_VALUE)
    base: Any = _BUILT_IN.get(id(cls))
    if base is None:
        metadata = libraries.metadata(value)
        if metadata is not None:
            return _of_library(kind, shown, metadata)
        base = next((base for base in _BUILT_IN.values() if is_below(cls, base)), None)
    if base is None:
        return Description(kind, shown, expandable=has_attributes(value))
    length = base.__len__(value)
    if base is str:
        return Description(kind, shown, _count(length, "character"), length=length)
    if base in TEXTS:
        return Description(kind, shown, _bytes(length), length=length)
    keys = _labels(dict.keys(value)) if base is dict else None  # type: ignore[arg-type]
    return Description(kind, shown, _count(length, "item"), length > 0, length=length, keys=keys)


def _of_library(kind: str, shown: str, metadata: libraries.Metadata) -> Description:
    elements = metadata.elements
    return Description(
        kind,
        shown,
        None if metadata.size is None else _bytes(metadata.size),
        elements is not None and elements.length > 0,
        metadata.shape,
        metadata.dtype,
        metadata.shape[0] if metadata.shape else None,
        None if elements is None or elements.labels is None else _labels(elements.labels),
    )


def _labels(keys: "Iterable[object]") -> "list[str]":
    return [label(key) for key in islice(keys, _SHOWN_KEYS)]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _bytes(size: float) -> str:
    """Return a number of bytes for people: ``45.2 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _text(value: object, limit: int) -> "Tuple[str, bool]":
    """Return a value as text of at most `limit` characters, and whether that is all of it."""
    text, whole = render.text(value, limit)
    if whole and objects.is_exactly(value, _WITH_SIGNATURE):
        text = f"{text[:-1]}{signature.full_text(value) or ''}>"
        return text[:limit], len(text) <= limit
    return text, whole


def _signature_with_name(found: Found) -> Optional[str]:
    written = signature.full_text(found.shown)
    return None if written is None else found.name.rpartition(".")[2] + written


def _docstring(definition: object) -> Optional[str]:
    text = kinds.documentation(definition)
    return None if text is None else inspect.cleandoc(text[:_LONGEST_DOCSTRING])


def _class_docstring(value: object) -> Optional[str]:
    """Return the documentation of an object's class, but for the classes that are built into Python."""
    is_built_in = "__module__" not in objects.class_dict(type(value))
    return None if is_built_in else _docstring(type(value))


def _variables(shell: Shell, names: "Iterable[str]", types_: "set[str]") -> "Iterator[Json]":
    for name in names:
        try:
            value = shell.user_ns[name]
        except KeyError:
            continue  # a cell has just deleted it
        if not types_ or types_ & {class_name(type(value)), full_name(type(value))}:
            yield describe(value).as_json(name)


def _children(parts: Parts, start: int, count: int) -> "list[Json]":
    """Return the variables that a value consists of, from `start` on, as many as `count` at most."""
    taken = parts.take(start, min(count, _MOST_VARIABLES))
    return _bounded({**describe(part.value).as_json(part.name), "path": part.step} for part in taken)[0]


def _bounded(variables_: "Iterator[Json]") -> "tuple[list[Json], bool]":
    """Return what there is time and room for, and whether that is all."""
    deadline = time.monotonic() + _SECONDS
    taken: "list[Json]" = []
    room = _MOST_TEXT
    for one in variables_:
        room -= len(one["name"]) + len(one["value"]) + sum(map(len, one["keys"] or ()))
        if room < 0 or len(taken) == _MOST_VARIABLES or time.monotonic() > deadline:
            return taken, False
        taken.append(one)
    return taken, True


def _last(name: str, path: "list[Any]") -> str:
    """Return the name of what is at the end of a path."""
    step = path[-1] if path else name
    return step if isinstance(step, str) else f"[{step['position'] if isinstance(step, dict) else step}]"


def _private_names(shell: Shell) -> "list[str]":
    names = [name for name in list(shell.user_ns) if isinstance(name, str) and name.startswith("_")]
    return [name for name in names if name not in shell.user_ns_hidden and not _IPYTHON_NAME.fullmatch(name)]


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a shell's pattern, if it has ``*``, ``?`` or ``[`` in it, or else contains it."""
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _members(value: Any) -> "tuple[list[str], list[str]]":
    """Return the names of a value's public methods and of its other public attributes, those of its class included."""
    methods: "list[str]" = []
    others: "list[str]" = []
    for name, definition in sorted(objects.attributes(value).items()):
        if not name.startswith("_"):
            (methods if kinds.is_callable(definition) else others).append(name)
    return methods[:_MOST_NAMES], others[:_MOST_NAMES]
