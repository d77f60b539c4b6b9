"""What sort of thing an object is, and the documentation that it has."""

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
    is_a,
    is_callable_in_c,
    is_exactly,
)

_DOCUMENTED = FUNCTIONS | objects.types(*objects.PROPERTIES, MemberDescriptorType)
_MOST_DECORATORS = 20


def is_callable(definition: Any) -> bool:
    """Return whether what is defined so can be called."""
    return is_exactly(definition, WRAPPERS) or class_attribute(type(definition), "__call__") is not UNKNOWN


def is_function(value: Any) -> bool:
    """Return whether a value is a function or method."""
    return is_exactly(value, FUNCTIONS) or (is_callable_in_c(value) and not is_a(value, type))


def unwrapped(definition: Any) -> Any:
    """Return the function in a static or class method, and anything else as it is."""
    return definition.__func__ if is_exactly(definition, WRAPPERS) else definition


def undecorated(value: Any) -> Any:
    """Return the function that decorators which say so (functools.wraps) have wrapped, or the value itself."""
    for _ in range(_MOST_DECORATORS):
        stored = value.__dict__ if type(value) is FunctionType else instance_dict(value)
        wrapped = stored.get("__wrapped__")
        if type(wrapped) is not FunctionType:
            break
        value = wrapped
    return value


def kind(definition: Any, owner: Any = None) -> str:
    """Return module, class, function, method, property or variable.

    Args:
        definition: what a name stands for or, for an attribute, its definition.
        owner: what it is an attribute of, if it is one.
    """
    bare = unwrapped(definition)
    if is_function(bare):
        is_free = owner is None or is_a(owner, ModuleType)
        return "function" if is_free and type(bare) is not MethodType else "method"
    if is_a(bare, type):
        return "class"
    if is_a(bare, ModuleType):
        return "module"
    return "property" if owner is not None and objects.is_property(bare) else "variable"


def documentation(definition: Any) -> Optional[str]:
    """Return the docstring that a function, class, module or property has."""
    bare = unwrapped(definition)
    if type(bare) is MethodType:
        bare = bare.__func__
    if is_exactly(bare, _DOCUMENTED) or is_function(bare):
        text = bare.__doc__
    elif is_a(bare, type):
        text = class_dict(bare).get("__doc__")
    elif is_a(bare, ModuleType):
        text = instance_dict(bare).get("__doc__")
    else:
        return None
    return text if type(text) is str else None
