"""Finds the kind of an object, and its documentation."""

from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Optional

from . import objects
from .objects import (
    FUNCTIONS,
    UNKNOWN,
    WRAPPERS,
    class_attribute,
    class_dict,
    instance_dict,
    is_callable_in_c,
    is_instance,
    type_in,
)

_DOCUMENTED = FUNCTIONS | objects.type_ids(*objects.PROPERTIES, MemberDescriptorType)
_MAX_DECORATORS = 20


def is_callable(definition: Any) -> bool:
    """Return whether an attribute with this definition is callable."""
    return type_in(definition, WRAPPERS) or class_attribute(type(definition), "__call__") is not UNKNOWN


def is_function(value: Any) -> bool:
    """Return whether a value is a function or method."""
    return type_in(value, FUNCTIONS) or (is_callable_in_c(value) and not is_instance(value, type))


def unwrapped(definition: Any) -> Any:
    """Return the function inside a static or class method; anything else unchanged."""
    return definition.__func__ if type_in(definition, WRAPPERS) else definition


def underlying(definition: Any) -> Any:
    """Return the function inside a static, class or bound method; anything else unchanged."""
    function = unwrapped(definition)
    return function.__func__ if type(function) is MethodType else function


def undecorated(value: Any) -> Any:
    """Return the function inside decorators that use functools.wraps; anything else unchanged."""
    for _ in range(_MAX_DECORATORS):
        stored = value.__dict__ if type(value) is FunctionType else instance_dict(value)
        wrapped = stored.get("__wrapped__")
        if type(wrapped) is not FunctionType:
            break
        value = wrapped
    return value


def kind(definition: Any, owner: Any = None) -> str:
    """Return MRP's kind: module, class, function, method, property or variable.

    Args:
        definition: a name's value or, for an attribute, its definition.
        owner: the object whose attribute it is, or None.
    """
    function = unwrapped(definition)
    if is_function(function):
        is_free = owner is None or is_instance(owner, ModuleType)
        return "function" if is_free and type(function) is not MethodType else "method"
    if is_instance(function, type):
        return "class"
    if is_instance(function, ModuleType):
        return "module"
    return "property" if owner is not None and objects.is_property(function) else "variable"


def documentation(definition: Any) -> Optional[str]:
    """Return the docstring of a function, class, module or property."""
    function = underlying(definition)
    if type_in(function, _DOCUMENTED) or is_function(function):
        text = function.__doc__
    elif is_instance(function, type):
        text = class_dict(function).get("__doc__")
    elif is_instance(function, ModuleType):
        text = instance_dict(function).get("__doc__")
    else:
        return None
    return text if type(text) is str else None
