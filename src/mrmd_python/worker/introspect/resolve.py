"""Resolves a name in a cell to an object: from the session or, before the cell has run, from the cell's own code."""

import ast
import builtins
import re
import sys
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, Mapping, Optional

from ..shell import Shell
from .cell_text import DottedPath, field_start, imports_in, path_before, scan
from .objects import (
    UNKNOWN,
    Attribute,
    Instance,
    UnknownError,
    attribute,
    instance_dict,
    is_instance,
    is_library_instance,
)
from .parts import item

_NAME = r"[^\W\d]\w*"
_MAGIC = re.compile(rf"(?<!\w)%%?({_NAME})")
_CONTAINERS: "Mapping[type, object]" = {
    ast.List: [],
    ast.ListComp: [],
    ast.Tuple: (),
    ast.Dict: {},
    ast.DictComp: {},
    ast.Set: set(),
    ast.SetComp: set(),
    ast.JoinedStr: "",
}
_BUILTINS = builtins.__dict__


@dataclass(frozen=True)
class ResolvedName(Attribute):
    """The object that a name in the code refers to."""

    name: str  # as written in the code
    owner: Any = None  # the object whose attribute it is


def at_cursor(shell: Shell, code: str, cursor: int) -> Optional[ResolvedName]:
    """Resolve the name that `cursor` (in code points) is in or next to. Return None if it is unknown."""
    scanned = scan(code[:cursor])
    if scanned.in_comment or (scanned.string is not None and field_start(code[:cursor], scanned.string) is None):
        return None
    line_start = code.rfind("\n", 0, cursor) + 1
    for match in _MAGIC.finditer(code[line_start:].partition("\n")[0]):
        if match.start() <= cursor - line_start <= match.end():
            magic = shell.find_magic(match[1], "cell" if match[0].startswith("%%") else "line")
            if magic is not None:
                return ResolvedName(magic, magic, match[0])
    rest_of_name = re.match(r"\w*", code[cursor:])
    assert rest_of_name is not None
    return _found(shell, code[: cursor + rest_of_name.end()])


def called_at_cursor(shell: Shell, code: str, cursor: int) -> Optional[ResolvedName]:
    """Resolve the name of the function whose arguments `cursor` is in. Return None if it is unknown."""
    for bracket in reversed(scan(code[:cursor]).brackets):
        found = _found(shell, code[:bracket].rstrip(" \t")) if code[bracket] == "(" else None
        if found is not None:
            return found
    return None


def is_argument_name(code: str, cursor: int) -> bool:
    """Return whether ``=`` follows the name at `cursor`: among arguments, it is then a parameter name."""
    return re.match(r"\w*\s*=(?!=)", code[cursor:]) is not None


def _found(shell: Shell, text: str) -> Optional[ResolvedName]:
    """Resolve the dotted name at the end of `text` in the session."""
    path = path_before(text) if re.search(r"[\w\]]\Z", text) else None
    if path is None:
        return None
    try:
        found, owner = _follow(_current(path.root, text, shell.user_ns), path)
    except UnknownError:
        return None
    return ResolvedName(found.definition, found.value, text[path.start :], owner)


def value_of(path: DottedPath, text: str, namespace: "Mapping[str, Any]") -> Any:
    """Return the value that `path` will have at the end of `text`, the cell up to there.

    Raises:
        UnknownError: it is unknown, or only running code could tell.
    """
    found, _ = _follow(_expected(path.root, text, namespace), path)
    if found.value is UNKNOWN:
        raise UnknownError
    return found.value


def _follow(value: Any, path: DottedPath) -> "tuple[Attribute, Any]":
    """Follow `path` from the value of its root. Return the attribute at its end, and the owner of that."""
    found, owner = Attribute(value, value), None
    for kind, key in path.steps:
        if found.value is UNKNOWN:
            raise UnknownError
        value, owner = found.value, None
        if kind == ".":
            found, owner = _attribute(value, key), value
        else:
            value = _result(value) if kind == "(" else item(value, key)
            found = Attribute(value, value)
    return found, owner


def _attribute(owner: Any, name: str) -> Attribute:
    try:
        return attribute(owner, name)
    except UnknownError:
        if not is_library_instance(owner, "pandas", "DataFrame"):
            raise
        column = item(owner, name)
        return Attribute(column, column)


def _current(name: str, text: str, namespace: "Mapping[str, Any]") -> Any:
    """Return the value of a global name now, or the value that `text` imports under it.

    Raises:
        UnknownError: there is no such name.
    """
    for names in (namespace, _BUILTINS):
        if name in names:
            return names[name]
    return _imported(name, text)


def _expected(name: str, text: str, namespace: "Mapping[str, Any]") -> Any:
    """Return the value that a global name will have at the end of `text`.

    The current value is used even if the cell assigns the name, unless the new value clearly has another type: cells
    are often run again.

    Raises:
        UnknownError: only running code could tell.
    """
    lines = text.rpartition("\n")[0]
    assignments = list(re.finditer(rf"^[ \t]*{name}[ \t]*(?::[^=\n]*)?=(?!=)[ \t]*([^\n]+)", lines, re.MULTILINE))
    try:
        live = _current(name, text, namespace)
    except UnknownError:
        if not assignments:
            raise
        live = UNKNOWN
    if assignments:
        last = assignments[-1]
        value = _value_of_expression(last[1], text[: last.start()], namespace)
        if value is not UNKNOWN and (live is UNKNOWN or not is_instance(live, _class_of(value))):
            return value
    if live is UNKNOWN:
        raise UnknownError
    return live


def _value_of_expression(expression: str, text: str, namespace: "Mapping[str, Any]") -> Any:
    """Return the value of an expression after `text`, or a value of the same type; UNKNOWN if it cannot be found."""
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return UNKNOWN
    if isinstance(tree, ast.Constant):
        return tree.value
    path = path_before(expression)
    if type(tree) in _CONTAINERS or path is None or path.start > 0:
        return _CONTAINERS.get(type(tree), UNKNOWN)
    try:
        return value_of(path, text, namespace)
    except UnknownError:
        return UNKNOWN


def _class_of(value: Any) -> type:
    return value.cls if type(value) is Instance else type(value)


def _imported(name: str, code: str) -> Any:
    """Return the object that `code` imports under a name, if its module is loaded. Nothing is imported here.

    Raises:
        UnknownError: `code` does not import the name, or the module is not loaded.
    """
    found: Any = UNKNOWN
    for bound, module, member in imports_in(code):
        loaded = sys.modules.get(module)
        if bound == name and loaded is not None:
            found = attribute(loaded, member).value if member else loaded
    if found is UNKNOWN:
        raise UnknownError
    return found


def module_in(path: DottedPath, code: str) -> Optional[str]:
    """Return the name of the module at `path`, loaded or not, if `code` imports the path's root; else None."""
    bound = [".".join(filter(None, found[1:])) for found in imports_in(code) if found[0] == path.root]
    names = [key for kind, key in path.steps if kind == "."]
    return ".".join([bound[-1], *names]) if bound and len(names) == len(path.steps) else None


def _result(function: Any) -> Instance:
    """Return a stand-in for the result of a call, from the class or the return annotation. Nothing is called.

    Raises:
        UnknownError: only running code could tell.
    """
    if is_instance(function, type):
        return Instance(function)
    owner: Any = UNKNOWN
    if type(function) is MethodType:
        function, owner = function.__func__, function.__self__
    if type(function) is not FunctionType:
        raise UnknownError
    annotation: Any = function.__annotations__.get("return")
    if is_instance(annotation, type):
        return Instance(annotation)
    if type(annotation) is not str:
        raise UnknownError
    name = annotation.partition("|")[0].strip()  # of "DataFrame | None"
    if name == "Self" and owner is not UNKNOWN:
        return owner if type(owner) is Instance else Instance(owner if is_instance(owner, type) else type(owner))
    return Instance(_class_named(name, function))


def _class_named(name: str, function: FunctionType) -> type:
    """Return the class that an annotation names. Annotations often name classes that only a type checker imports."""
    package = (function.__module__ or "").partition(".")[0]
    modules = [function.__globals__]
    modules += [instance_dict(module) for key, module in list(sys.modules.items()) if key.partition(".")[0] == package]
    for names in modules:
        if is_instance(names.get(name), type):
            return names[name]  # type: ignore[no-any-return]
    raise UnknownError
