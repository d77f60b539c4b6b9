"""Reading objects without running any code of theirs: no property, no __getattr__, no __class__ that lies.

Every access goes through a slot of `type` or of the built-in type that stores what is read.
"""

import sys
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Tuple

_MOST_DECORATORS = 20
_MRO = type.__dict__["__mro__"].__get__
_DICT = type.__dict__["__dict__"].__get__
_NAME = type.__dict__["__name__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__
_STORED = (GetSetDescriptorType, MemberDescriptorType)
"""What gives access, in C, to something that an object stores."""


class _Tuple(NamedTuple):
    field: int


_GETTERS = (MemberDescriptorType, type(_Tuple.field))
"""Those that stand for an attribute of the user's: in a slot, or in a named tuple."""


class NotStoredError(LookupError):
    """An object does not store what was looked for, or only its own code could tell."""


def mro(cls: type) -> "Tuple[type, ...]":
    """Return a class and its bases, most derived first."""
    return _MRO(cls)  # type: ignore[no-any-return]


def class_dict(cls: type) -> "Mapping[str, Any]":
    """Return what a class itself defines."""
    return _DICT(cls)  # type: ignore[no-any-return]


def class_name(cls: type) -> str:
    """Return the name of a class."""
    return _NAME(cls)  # type: ignore[no-any-return]


def full_name(cls: type) -> str:
    """Return the name of a class with those of its module and of the classes around it."""
    module = class_dict(cls).get("__module__")
    name: str = _QUALNAME(cls)
    return f"{module}.{name}" if type(module) is str and module not in ("builtins", "__main__") else name


def is_a(value: object, base: type) -> bool:
    """Return what isinstance() would, but for classes that say otherwise of themselves."""
    return is_below(type(value), base)


def is_below(cls: type, base: type) -> bool:
    """Return what issubclass() would, but for bases that say otherwise."""
    # Not `in`, for a metaclass may have an __eq__; not any(), which takes twice the time of what takes most of it.
    for ancestor in _MRO(cls):  # noqa: SIM110
        if ancestor is base:
            return True
    return False


def defined(cls: type, name: str) -> Any:
    """Return what a class or one of its bases defines under a name, as it is stored there.

    Raises:
        NotStoredError: none does.
    """
    for ancestor in mro(cls):
        if name in class_dict(ancestor):
            return class_dict(ancestor)[name]
    raise NotStoredError(name)


def instance_dict(value: object) -> "dict[str, Any]":
    """Return the attributes that an object stores in a dict of its own, the very dict; an empty one if it has none."""
    try:
        stored = defined(type(value), "__dict__")
    except NotStoredError:
        return {}
    if type(stored) not in _STORED:
        return {}  # a property of the user's
    attributes = stored.__get__(value)
    return attributes if is_a(attributes, dict) else {}


def attributes(value: Any) -> "Iterator[Tuple[str, Any]]":
    """Yield the names and values of the attributes that an object stores, less those that Python itself has named."""
    is_class = is_a(value, type)
    own: Mapping[Any, Any] = class_dict(value) if is_class else instance_dict(value)
    for name in list(own):
        if type(name) is str and not (name.startswith("_") and name.endswith("_")):
            try:
                yield name, own[name]
            except KeyError:
                pass  # a cell has just deleted it
    if not is_class:
        yield from _slots(value)


def _slots(value: object) -> "Iterator[Tuple[str, Any]]":
    for ancestor in mro(type(value)):
        if "__slots__" in class_dict(ancestor):
            for name, slot in list(class_dict(ancestor).items()):
                if type(slot) is MemberDescriptorType:
                    try:
                        yield name, slot.__get__(value)
                    except AttributeError:
                        pass  # it is empty


def fetch(value: object, name: str) -> Any:
    """Return the attribute of that name that an object stores, or what its class defines under it, as it is there.

    Raises:
        NotStoredError: there is neither.
    """
    if is_a(value, type):
        return defined(value, name)  # type: ignore[arg-type]
    own = instance_dict(value)
    if name in own:
        return dict.__getitem__(own, name)
    if is_a(value, ModuleType):
        return _submodule(own, name)
    found = defined(type(value), name)
    if type(found) in _GETTERS:
        try:
            return found.__get__(value)
        except AttributeError:
            raise NotStoredError(name) from None
    return found


def undecorated(function: FunctionType) -> FunctionType:
    """Return the function that decorators which say so (functools.wraps) have been put around."""
    for _ in range(_MOST_DECORATORS):
        wrapped = function.__dict__.get("__wrapped__")
        if type(wrapped) is not FunctionType:
            break
        function = wrapped
    return function


def _submodule(module: "Mapping[str, Any]", name: str) -> Any:
    """Return a submodule that has been imported, but that its package gives out by a function of its own only."""
    found = sys.modules.get(f"{module.get('__name__')}.{name}")
    if found is None:
        raise NotStoredError(name)
    return found


def library_class(module: str, name: str) -> "Optional[type]":
    """Return a class of a library if that library is imported."""
    loaded = sys.modules.get(module)
    found = instance_dict(loaded).get(name) if loaded is not None else None
    return found if is_a(found, type) else None
