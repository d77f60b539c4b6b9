"""What the cell that is being typed says of a name, before it has run."""

import ast
import re
from typing import Any, Mapping

from ..live_objects import UNKNOWN, Instance, UnknownValueError, attribute, item
from ..static import is_a
from .calls import result_of
from .cell_text import Path

_TARGETS = r"((?:\w+[ \t]*,[ \t]*)*\w+)"
_BINDINGS = (
    (re.compile(rf"^[ \t]*{_TARGETS}[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE), "variable"),
    (re.compile(rf"\b(?:for|as)[ \t]+\(?{_TARGETS}"), "variable"),
    (re.compile(r"\b(\w+)[ \t]*:="), "variable"),
    (re.compile(r"\bdef[ \t]+\w+[ \t]*\(([^()]*)"), "variable"),
    (re.compile(r"\bdef[ \t]+(\w+)"), "function"),
    (re.compile(r"\bclass[ \t]+(\w+)"), "class"),
    (re.compile(r"^[ \t]*import[ \t]+(\w[\w, \t]*)", re.MULTILINE), "module"),
    (re.compile(r"^[ \t]*from[ \t]+[\w.]+[ \t]+import[ \t]+\(?([\w, \t\n]+)", re.MULTILINE), "variable"),
)
_BOUND_NAME = re.compile(r"(?:\A|,)\s*\*{0,2}([^\W\d]\w*)(?!\w*[ \t]+as\b)")
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


def bound_names(code: str) -> "dict[str, str]":
    """Return the names that `code` binds, complete or not, each with MRP's kind of it."""
    found: "dict[str, str]" = {}
    for pattern, kind in _BINDINGS:
        for binding in pattern.finditer(code):
            found.update((name, kind) for name in _BOUND_NAME.findall(binding[1]))
    return found


def parameters_in(code: str, function: str) -> "list[str]":
    """Return the names of the parameters of a function that `code` defines."""
    signatures = re.findall(rf"\bdef[ \t]+{function}[ \t]*\(([^()]*)", code)
    return _BOUND_NAME.findall(signatures[-1]) if signatures else []


def current_value(path: Path, text: str, namespace: "Mapping[str, Any]") -> object:
    """Return the value that `path` has at the end of `text`: what the cell assigns to it there, or what it has now.

    Raises:
        UnknownValueError: there is none, or code would have to run for it.
    """
    value = owner = _assigned(path.root, text, namespace)
    for kind, key in path.steps:
        if kind == "(":
            value = result_of(value, owner)
        else:
            owner, value = value, attribute(value, str(key)) if kind == "." else item(value, key)
    return value


def _assigned(name: str, text: str, namespace: "Mapping[str, Any]") -> object:
    """Return the value of a global name.

    The value that it has now is as good as one that the cell assigns, unless that is plainly of another type: cells
    run again and again.
    """
    import builtins

    live = namespace.get(name, vars(builtins).get(name, UNKNOWN))
    lines = text.rpartition("\n")[0]
    right_sides = re.findall(rf"^[ \t]*{name}[ \t]*(?::[^=\n]*)?=(?!=)[ \t]*([^\n]+)", lines, re.MULTILINE)
    if right_sides:
        try:
            expression = ast.parse(right_sides[-1], mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            expression = None
        stand_in = _CONTAINERS.get(type(expression), UNKNOWN)
        if isinstance(expression, ast.Constant):
            stand_in = expression.value
        if stand_in is not UNKNOWN and type(stand_in) is not type(live):
            return stand_in
        if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name):
            called = namespace.get(expression.func.id, UNKNOWN)
            if is_a(called, type) and called is not type(live):
                return Instance(called)
    if live is UNKNOWN:
        raise UnknownValueError
    return live
