"""Answers POST /inspect, /hover, /variables and /variables/{name}."""

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
from .objects import UnknownError, class_name, full_name, is_subclass
from .parts import CONTAINERS, TEXTS, Parts, follow, has_attributes, label, parts_of
from .resolve import ResolvedName, at_cursor, called_at_cursor, is_argument_name

_MAX_CHILDREN = 100
_MAX_VALUE_LENGTH = 1000
_MAX_DOCSTRING_LENGTH = 100_000
_SHORT_VALUE_LENGTH = 120
_MAX_KEYS = 20
_MAX_NAMES = 500
# Limits for a list of variables in number, seconds and characters. What is beyond them is left out.
_MAX_VARIABLES = 10_000
_SECONDS = 1.0
_MAX_TEXT = 1_000_000

_IPYTHON_NAME = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[doi]h|_exit_code|__\w*__")
_WITH_SIGNATURE = objects.type_ids(types.FunctionType, types.MethodType)
_BUILT_IN = {id(cls): cls for cls in (*TEXTS, *CONTAINERS)}

Json = dict[str, Any]


def inspection(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /inspect: describe the name at the cursor or, in an argument list, what is called."""
    code, cursor, detail = request["code"], request["cursor"], request["detail"]
    found = None if is_argument_name(code, cursor) else at_cursor(shell, code, cursor)
    found = found or called_at_cursor(shell, code, cursor) or at_cursor(shell, code, cursor)
    if found is None:
        return {"found": False}
    definition = source.of(shell, found.definition)
    parts = parts_of(found.subject)
    return {
        "found": True,
        "source": "runtime",
        "name": found.name,
        "kind": kinds.kind(found.definition, found.owner),
        "type": class_name(type(found.subject)),
        "signature": signature.full_text(found.subject),
        "docstring": (_docstring(found.definition) or _class_docstring(found.subject)) if detail >= 1 else None,
        "sourceCode": definition.text() if definition is not None and detail >= 2 else None,
        "file": definition.file if definition is not None else None,
        "line": definition.line if definition is not None else None,
        "value": _value_text(found.subject, _MAX_VALUE_LENGTH)[0],
        "children": [] if parts is None or detail < 1 else _children(parts, 0, _MAX_CHILDREN),
    }


def hover(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /hover: describe the name at the cursor."""
    found = at_cursor(shell, request["code"], request["cursor"])
    if found is None:
        return {"found": False}
    docstring = _docstring(found.definition)
    return {
        "found": True,
        "name": found.name,
        "type": class_name(type(found.subject)),
        "value": _value_text(found.subject, _MAX_VALUE_LENGTH)[0],
        "signature": _signature_with_name(found),
        "docstring": docstring,
        "documentation": docstring,
    }


def variables(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /variables: list the user's variables that match the filter, in order of creation."""
    names = variable_names(shell) + ([] if request["excludePrivate"] else _private_names(shell))
    pattern, types_ = request["namePattern"].lower(), set(request["types"])
    matching = names if not pattern else [name for name in names if _matches(name.lower(), pattern)]
    described, whole = _within_limits(_variables(shell, matching, types_))
    return {"variables": described, "count": len(described), "truncated": not whole}


def variable(shell: Shell, request: "Mapping[str, Any]") -> Json:
    """Answer POST /variables/{name}: describe a variable or a part of it, or ``{"unknown": true}``."""
    name, path = request["name"], request["path"]
    try:
        value = follow(shell.user_ns[name], path)
    except (KeyError, UnknownError):
        return {"unknown": True}
    text, whole = _value_text(value, request["maxValueLength"])
    parts = parts_of(value)
    start = request["offset"]
    children = [] if parts is None else _children(parts, start, request["maxChildren"])
    methods, attributes = _members(value)
    return {
        **describe(value).as_json(_last_name(name, path)),
        "fullValue": text,
        "children": children,
        "methods": methods,
        "attributes": attributes,
        "truncated": not whole or (parts is not None and start + len(children) < parts.length),
    }


# By a query's `op`.
ANSWERS: "Mapping[str, Callable[[Shell, Mapping[str, Any]], Json]]" = {
    "hover": hover,
    "inspect": inspection,
    "variable": variable,
    "variables": variables,
}


@dataclass
class Description:
    """MRP's Variable without its name. Not frozen: creating ten thousand frozen ones takes twice as long."""

    type: str
    value: str
    size: Optional[str] = None  # human-readable
    expandable: bool = False
    shape: "Optional[list[int]]" = None
    dtype: Optional[str] = None
    length: Optional[int] = None
    keys: "Optional[list[str]]" = None

    def as_json(self, name: str) -> Json:
        """Return MRP's Variable."""
        return {"name": name, **vars(self)}


def describe(value: object) -> Description:
    """Describe a value in a list of many, reading only a bounded part of it."""
    cls = type(value)
    kind = class_name(cls)
    if render.is_leaf(value):
        return Description(kind, repr(value))
    summary, _ = _value_text(value, _SHORT_VALUE_LENGTH)
    base: Any = _BUILT_IN.get(id(cls))
    if base is None:
        metadata = libraries.metadata(value)
        if metadata is not None:
            return _library_description(kind, summary, metadata)
        base = next((base for base in _BUILT_IN.values() if is_subclass(cls, base)), None)
    if base is None:
        return Description(kind, summary, expandable=has_attributes(value))
    length = base.__len__(value)
    if base is str:
        return Description(kind, summary, _count(length, "character"), length=length)
    if base in TEXTS:
        return Description(kind, summary, _byte_count(length), length=length)
    keys = _labels(dict.keys(value)) if base is dict else None  # type: ignore[arg-type]
    return Description(kind, summary, _count(length, "item"), length > 0, length=length, keys=keys)


def _library_description(kind: str, summary: str, metadata: libraries.Metadata) -> Description:
    elements = metadata.elements
    return Description(
        kind,
        summary,
        None if metadata.size is None else _byte_count(metadata.size),
        elements is not None and elements.length > 0,
        metadata.shape,
        metadata.dtype,
        metadata.shape[0] if metadata.shape else None,
        None if elements is None or elements.labels is None else _labels(elements.labels),
    )


def _labels(keys: "Iterable[object]") -> "list[str]":
    return [label(key) for key in islice(keys, _MAX_KEYS)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _byte_count(size: float) -> str:
    """Return a human-readable number of bytes: ``45.2 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _value_text(value: object, limit: int) -> "Tuple[str, bool]":
    """Return a value as text of at most `limit` characters, and whether the text is complete."""
    text, whole = render.text(value, limit)
    if whole and objects.type_in(value, _WITH_SIGNATURE):
        text = f"{text[:-1]}{signature.full_text(value) or ''}>"
        return text[:limit], len(text) <= limit
    return text, whole


def _signature_with_name(found: ResolvedName) -> Optional[str]:
    text = signature.full_text(found.subject)
    return None if text is None else found.name.rpartition(".")[2] + text


def _docstring(definition: object) -> Optional[str]:
    text = kinds.documentation(definition)
    return None if text is None else inspect.cleandoc(text[:_MAX_DOCSTRING_LENGTH])


def _class_docstring(value: object) -> Optional[str]:
    """Return the docstring of an object's class, except for classes built into Python."""
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
    """Return the variables inside a value, up to `count` from `start` on."""
    taken = parts.take(start, min(count, _MAX_VARIABLES))
    return _within_limits({**describe(part.value).as_json(part.name), "path": part.step} for part in taken)[0]


def _within_limits(variables_: "Iterator[Json]") -> "tuple[list[Json], bool]":
    """Return the variables that are within the limits, and whether those are all."""
    deadline = time.monotonic() + _SECONDS
    taken: "list[Json]" = []
    room = _MAX_TEXT
    for one in variables_:
        keys = one["keys"]
        room -= len(one["name"]) + len(one["value"]) + (sum(map(len, keys)) if keys else 0)
        if room < 0 or len(taken) == _MAX_VARIABLES or time.monotonic() > deadline:
            return taken, False
        taken.append(one)
    return taken, True


def _last_name(name: str, path: "list[Any]") -> str:
    """Return the name of the object at the end of a path."""
    step = path[-1] if path else name
    return step if isinstance(step, str) else f"[{step['position'] if isinstance(step, dict) else step}]"


def _private_names(shell: Shell) -> "list[str]":
    names = [name for name in list(shell.user_ns) if isinstance(name, str) and name.startswith("_")]
    return [name for name in names if name not in shell.user_ns_hidden and not _IPYTHON_NAME.fullmatch(name)]


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name contains a pattern or, if that has ``*``, ``?`` or ``[``, matches it as in a shell."""
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _members(value: Any) -> "tuple[list[str], list[str]]":
    """Return the names of a value's public methods and of its other public attributes, inherited ones included."""
    methods: "list[str]" = []
    others: "list[str]" = []
    for name, definition in sorted(objects.attributes(value).items()):
        if not name.startswith("_"):
            (methods if kinds.is_callable(definition) else others).append(name)
    return methods[:_MAX_NAMES], others[:_MAX_NAMES]
