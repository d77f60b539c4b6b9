"""The session's variables: all of them in short, or one of them and what it consists of."""

import re
import time
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, Iterable, Iterator, Mapping

from . import static
from .cell import variable_names
from .description import describe, full_text
from .parts import NoSuchPartError, Parts, follow, parts_of
from .shell import Shell

_MOST_VARIABLES = 10_000
_SECONDS = 1.0
_MOST_TEXT = 1_000_000
"""How long a list may take to be made, and how many characters it may have; what is beyond that is left out."""
_MOST_NAMES = 500
_IPYTHON = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[doi]h|_exit_code|__\w*__")
"""The private names that are IPython's."""


def listing(shell: Shell, request: "Mapping[str, Any]") -> "dict[str, Any]":
    """Answer POST /variables: the user's variables that pass the filter, in the order they were made."""
    names = variable_names(shell) + ([] if request["excludePrivate"] else _private_names(shell))
    pattern, types = request["namePattern"].lower(), set(request["types"])
    matching = names if not pattern else [name for name in names if _matches(name.lower(), pattern)]
    variables, whole = _bounded(_described(shell, matching, types))
    return {"variables": variables, "count": len(variables), "truncated": not whole}


def _described(shell: Shell, names: "Iterable[str]", types: "set[str]") -> "Iterator[dict[str, Any]]":
    for name in names:
        try:
            value = shell.user_ns[name]
        except KeyError:
            continue  # a cell has just deleted it
        if not types or types & {static.class_name(type(value)), static.full_name(type(value))}:
            yield describe(value).as_json(name)


def _bounded(variables: "Iterator[dict[str, Any]]") -> "tuple[list[dict[str, Any]], bool]":
    """Return what there is time and room for, and whether that is all."""
    deadline = time.monotonic() + _SECONDS
    taken: "list[dict[str, Any]]" = []
    room = _MOST_TEXT
    for variable in variables:
        room -= len(variable["name"]) + len(variable["value"]) + sum(map(len, variable["keys"] or ()))
        if room < 0 or len(taken) == _MOST_VARIABLES or time.monotonic() > deadline:
            return taken, False
        taken.append(variable)
    return taken, True


def expansion(shell: Shell, request: "Mapping[str, Any]") -> "dict[str, Any]":
    """Answer POST /variables/{name}; ``{"unknown": true}`` if there is none or the path leads nowhere."""
    name, path = request["name"], request["path"]
    try:
        value = follow(shell.user_ns[name], path)
    except (KeyError, NoSuchPartError):
        return {"unknown": True}
    text, whole = full_text(value, request["maxValueLength"])
    parts = parts_of(value)
    start = request["offset"]
    shown = [] if parts is None else children(parts, start, request["maxChildren"])
    methods, attributes = _members(value)
    return {
        **describe(value).as_json(_last(name, path)),
        "fullValue": text,
        "children": shown,
        "methods": methods,
        "attributes": attributes,
        "truncated": not whole or (parts is not None and start + len(shown) < parts.length),
    }


def children(parts: Parts, start: int, count: int) -> "list[dict[str, Any]]":
    """Return the variables that a value consists of, from `start` on, as many as `count` at most."""
    taken = parts.take(start, min(count, _MOST_VARIABLES))
    return _bounded({**describe(part.value).as_json(part.name), "path": part.step} for part in taken)[0]


def _last(name: str, path: "list[Any]") -> str:
    """Return what the end of a path is called, as far as the path tells."""
    step = path[-1] if path else name
    return step if isinstance(step, str) else f"[{step['position'] if isinstance(step, dict) else step}]"


def _private_names(shell: Shell) -> "list[str]":
    names = [name for name in list(shell.user_ns) if isinstance(name, str) and name.startswith("_")]
    return [name for name in names if name not in shell.user_ns_hidden and not _IPYTHON.fullmatch(name)]


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name is like a pattern: a shell's if it has ``*``, ``?`` or ``[`` in it, else a part of it."""
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _members(value: Any) -> "tuple[list[str], list[str]]":
    """Return the names of a value's public methods and of its other public attributes, those of its class included."""
    methods: "set[str]" = set()
    others: "set[str]" = set()
    classes = static.mro(value if static.is_a(value, type) else type(value))
    inherited = (member for cls in reversed(classes) for member in list(static.class_dict(cls).items()))
    for name, member in chain(inherited, static.attributes(value)):
        if type(name) is str and not name.startswith("_"):
            (methods if _is_method(member) else others).add(name)
    return sorted(methods)[:_MOST_NAMES], sorted(others - methods)[:_MOST_NAMES]


def _is_method(member: object) -> bool:
    return any(name in static.class_dict(type(member)) for name in ("__call__", "__func__"))
