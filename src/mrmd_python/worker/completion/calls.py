"""What a call would give, told by a class or an annotation: nothing is called."""

import sys
from types import FunctionType
from typing import Any

from ..live_objects import Instance, UnknownValueError
from ..static import is_a


def result_of(function: Any, owner: Any) -> Instance:
    """Return a stand-in for what `function` returns.

    Args:
        function: what is called.
        owner: what it was found on, if it is a method.

    Raises:
        UnknownValueError: nothing tells.
    """
    if is_a(function, type):
        return Instance(function)
    if type(function) is not FunctionType:
        raise UnknownValueError
    annotation: Any = function.__annotations__.get("return")
    if is_a(annotation, type):
        return Instance(annotation)
    if type(annotation) is not str:
        raise UnknownValueError
    name = annotation.partition("|")[0].strip()  # of "DataFrame | None"
    if name == "Self":
        return owner if type(owner) is Instance else Instance(type(owner))
    return Instance(_class_named(name, function))


def _class_named(name: str, function: FunctionType) -> type:
    """Return the class that an annotation means: annotations often name what only a type checker imports."""
    package = (function.__module__ or "").partition(".")[0]
    modules = [function.__globals__]
    modules += [vars(module) for key, module in list(sys.modules.items()) if key.partition(".")[0] == package]
    for names in modules:
        if is_a(names.get(name), type):
            return names[name]  # type: ignore[no-any-return]
    raise UnknownValueError
