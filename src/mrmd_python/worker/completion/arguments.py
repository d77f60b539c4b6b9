"""The keyword arguments of the call that is being typed."""

import inspect
import re
from types import FunctionType
from typing import Any, Mapping, Optional

from ..live_objects import FUNCTIONS, UNKNOWN, Instance, UnknownValueError, attributes, is_callable_in_c
from ..static import is_a
from .cell_names import current_value, parameters_in
from .cell_text import Path, path_before
from .matches import Match, match, preview

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_GIVEN = re.compile(r"(\w+)[ \t]*=(?!=)")
_DEFINITION = re.compile(r"\b(?:def|class)[ \t]+\w+[ \t]*\Z")
_PARENTHESIS_ONLY = re.compile(
    r"(?:\A|[^\w)\]}\"'])\s*\Z|\b(?:and|assert|del|elif|else|for|if|in|is|not|or|print|return|while|with|yield)\s*\Z"
)


def keywords(namespace: "Mapping[str, Any]", before: str, word: str, brackets: "tuple[int, ...]") -> "list[Match]":
    """Return matches for the parameters that may be named behind `before`.

    Args:
        namespace: the globals.
        before: the cell up to the name that is being typed.
        word: the beginning of that name.
        brackets: where the brackets are that are open there.
    """
    if not brackets or before[brackets[-1]] != "(" or not before.rstrip().endswith(("(", ",")):
        return []
    callee, typed = before[: brackets[-1]], before[brackets[-1] + 1 :]
    if _DEFINITION.search(callee) or _PARENTHESIS_ONLY.search(callee):
        return []
    path = path_before(callee)
    if path is None:
        return []
    try:
        parameters = [one for one in _parameters(path, callee, namespace) if one.kind in _BY_NAME]
        defaults = {one.name: _default(one) for one in parameters}
    except UnknownValueError:
        defaults = dict.fromkeys(() if path.steps else parameters_in(before, path.root))
    given = set(_GIVEN.findall(typed))
    lowered = word.lower()
    return [
        match(f"{name}=", "variable", 0, detail="parameter", valuePreview=default)
        for name, default in defaults.items()
        if name not in given and name.lower().startswith(lowered)
    ]


def _default(parameter: inspect.Parameter) -> Optional[str]:
    return None if parameter.default is parameter.empty else preview(parameter.default)


def _parameters(path: Path, text: str, namespace: "Mapping[str, Any]") -> "list[inspect.Parameter]":
    """Return the parameters of what `path` stands for, but for the one that a method is bound to."""
    function = current_value(path, text, namespace)
    is_bound = False
    if is_a(function, type):
        found = attributes(function)
        function, is_bound = found.get("__init__"), True
        if type(function) is not FunctionType:
            function = found.get("__new__")
            function = getattr(function, "__func__", None) if type(function) is staticmethod else function
    elif type(function) not in FUNCTIONS and not is_callable_in_c(function):
        function, is_bound = attributes(function).get("__call__"), True
    elif path.steps and type(function) is FunctionType:
        is_bound = _is_method(path, text, namespace)
    if type(function) not in FUNCTIONS and not is_callable_in_c(function):
        return []
    try:
        parameters = list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    except Exception:  # there is none to be had
        return []
    return parameters[1:] if is_bound else parameters


def _is_method(path: Path, text: str, namespace: "Mapping[str, Any]") -> bool:
    """Return whether the function that `path` names gets an object or class as its first argument."""
    kind, name = path.steps[-1]
    if kind != ".":
        return False
    owner = current_value(Path(path.root, path.steps[:-1]), text, namespace)
    cls = owner.cls if type(owner) is Instance else owner if is_a(owner, type) else type(owner)
    found = attributes(cls).get(str(name), UNKNOWN)
    return type(found) in (FunctionType, classmethod)
