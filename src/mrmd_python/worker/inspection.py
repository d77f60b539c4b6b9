"""What there is to say about the name at a cursor: signature, documentation, source."""

import functools
import inspect
import types
from typing import Any, Mapping, Optional

from . import definition, signature, static
from .description import full_text
from .names import Found, at_cursor, called_at_cursor, is_argument_name
from .parts import parts_of
from .shell import Shell
from .variables import children

_MOST_CHILDREN = 100
_LONGEST_VALUE = 1000
_LONGEST_DOCSTRING = 100_000
_IN_C = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.ClassMethodDescriptorType),
    *(types.WrapperDescriptorType, types.MethodWrapperType),
)
_WRAPPERS = (staticmethod, classmethod)
_PROPERTIES = (property, functools.cached_property, types.GetSetDescriptorType, types.MemberDescriptorType)


def inspection(shell: Shell, request: "Mapping[str, Any]") -> "dict[str, Any]":
    """Answer POST /inspect: about the name at the cursor or, among arguments, about what is called."""
    code, cursor, detail = request["code"], request["cursor"], request["detail"]
    found = None if is_argument_name(code, cursor) else at_cursor(shell, code, cursor)
    found = found or called_at_cursor(shell, code, cursor) or at_cursor(shell, code, cursor)
    if found is None:
        return {"found": False}
    value = _unwrapped(found.value)
    defined = definition.of(shell, value)
    parts = parts_of(value)
    return {
        "found": True,
        "source": "runtime",
        "name": found.name,
        "kind": _kind(found),
        "type": static.class_name(type(value)),
        "signature": _signature(found),
        "docstring": _docstring(value) or _docstring_of_class(value) if detail >= 1 else None,
        "sourceCode": defined.source() if defined is not None and detail >= 2 else None,
        "file": defined.file if defined is not None else None,
        "line": defined.line if defined is not None else None,
        "value": full_text(value, _LONGEST_VALUE)[0],
        "children": [] if parts is None or detail < 1 else children(parts, 0, _MOST_CHILDREN),
    }


def hover(shell: Shell, request: "Mapping[str, Any]") -> "dict[str, Any]":
    """Answer POST /hover: about the very name that the cursor is at."""
    found = at_cursor(shell, request["code"], request["cursor"])
    if found is None:
        return {"found": False}
    value = _unwrapped(found.value)
    docstring = _docstring(value)
    return {
        "found": True,
        "name": found.name,
        "type": static.class_name(type(value)),
        "value": full_text(value, _LONGEST_VALUE)[0],
        "signature": _signature(found),
        "docstring": docstring,
        "documentation": docstring,
    }


def _unwrapped(value: Any) -> Any:
    return value.__func__ if type(value) in _WRAPPERS else value


def _kind(found: Found) -> str:
    kind = type(_unwrapped(found.value))
    if static.is_below(kind, types.ModuleType):
        return "module"
    if static.is_below(kind, type):
        return "class"
    if kind is types.MethodType:
        return "method"
    if kind is types.FunctionType or any(kind is cls for cls in _IN_C):
        return "function" if found.owner is None or static.is_a(found.owner, types.ModuleType) else "method"
    return "property" if found.owner is not None and any(kind is cls for cls in _PROPERTIES) else "variable"


def _signature(found: Found) -> Optional[str]:
    owner, value = found.owner, found.value
    is_bound = owner is not None and not static.is_a(owner, type) and not static.is_a(owner, types.ModuleType)
    if is_bound and (type(value) is types.FunctionType or any(type(value) is cls for cls in _IN_C)):
        return signature.of_method(value)
    return signature.of(value)


def _docstring(value: Any) -> Optional[str]:
    """Return the documentation that something has of its own, as a function, a class, a module or a property has."""
    if type(value) is types.MethodType:
        value = value.__func__
    if static.is_a(value, type):
        found = static.class_dict(value).get("__doc__")
    elif static.is_a(value, types.ModuleType):
        found = static.instance_dict(value).get("__doc__")
    elif any(type(value) is cls for cls in (types.FunctionType, *_IN_C, *_PROPERTIES)):
        found = value.__doc__
    else:
        return None
    return inspect.cleandoc(found[:_LONGEST_DOCSTRING]) if type(found) is str else None


def _docstring_of_class(value: object) -> Optional[str]:
    """Return the documentation of an object's class, if that is not one that everybody knows."""
    is_known = "__module__" not in static.class_dict(type(value))  # as only classes of Python itself
    return None if is_known else _docstring(type(value))
