"""Reads objects without running their code: no property, no `__getattr__`, no `__class__` that lies.

Every access is through `type`, or the built-in type that stores the data.
"""

import functools
import sys
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    DynamicClassAttribute,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Tuple

from ..lazy_modules import LazyModule, load

_MRO = type.__dict__["__mro__"].__get__
_DICT = type.__dict__["__dict__"].__get__
_NAME = type.__dict__["__name__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__


class _Pair(NamedTuple):
    field: int


def type_ids(*classes: type) -> "frozenset[int]":
    """Return the ids of classes, for `type_in`. A class itself may have a metaclass with its own __eq__ or __hash__."""
    return frozenset(map(id, classes))


_METHODS_IN_C = type_ids(MethodDescriptorType, ClassMethodDescriptorType, WrapperDescriptorType)
FUNCTIONS_IN_C = _METHODS_IN_C | type_ids(BuiltinFunctionType, MethodWrapperType)
FUNCTIONS = FUNCTIONS_IN_C | type_ids(FunctionType, MethodType)
PROPERTIES = (property, functools.cached_property, DynamicClassAttribute, GetSetDescriptorType)
_FIELD_DESCRIPTORS = type_ids(MemberDescriptorType, type(_Pair.field))  # of slots and of named tuples
_STORED_IN_C = type_ids(GetSetDescriptorType, MemberDescriptorType)
WRAPPERS = type_ids(staticmethod, classmethod)
_SEQUENCES = type_ids(list, tuple)
_LRU_CACHE = type(functools.lru_cache(maxsize=None)(len))

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, Include/object.h: created at run time, for example by a class statement
# Packages whose attributes written in C are cheap to read.
_CHEAP_PACKAGES = frozenset({"_io", "builtins", "collections", "datetime", "decimal", "functools", "numpy", "re"})
_MAX_KEYS = 1000

# A missing value, or one that only running code could give.
UNKNOWN: Any = object()


class UnknownError(LookupError):
    """There is no such attribute or item, or finding out would require running code."""


@dataclass(frozen=True)
class Instance:
    """A stand-in for an instance of which only the class is known."""

    cls: type


@dataclass(frozen=True)
class Attribute:
    """An attribute of an object."""

    # As the object or its class stores it: a function, a property, or the value itself.
    definition: Any
    # The value of ``object.name``; UNKNOWN if only running code could tell.
    value: Any

    @property
    def subject(self) -> Any:
        """The object to describe: the value, or the definition if the value is unknown."""
        return subject(self.definition, self.value)


def subject(definition: Any, value: Any) -> Any:
    """Return the object to describe: the value, or the definition if the value is unknown."""
    return definition if value is UNKNOWN or type(value) is Instance else value


def mro(cls: type) -> "Tuple[type, ...]":
    """Return a class and its bases, most derived first."""
    return _MRO(cls)  # type: ignore[no-any-return]


def class_dict(cls: type) -> "Mapping[str, Any]":
    """Return the attributes that the class itself defines."""
    return _DICT(cls)  # type: ignore[no-any-return]


def class_name(cls: type) -> str:
    """Return the name of a class."""
    return _NAME(cls)  # type: ignore[no-any-return]


def full_name(cls: type) -> str:
    """Return the name of a class, qualified by its module and enclosing classes."""
    module = class_dict(cls).get("__module__")
    name: str = _QUALNAME(cls)
    return f"{module}.{name}" if type(module) is str and module not in ("builtins", "__main__") else name


def is_instance(value: object, base: type) -> bool:
    """Like isinstance(), but ignores a false `__class__`."""
    return is_subclass(type(value), base)


def is_subclass(cls: type, base: type) -> bool:
    """Like issubclass(), but without `__subclasscheck__`."""
    # Not `in`: a metaclass may define __eq__. Not any(): it takes twice as long, and this is called most often.
    for ancestor in _MRO(cls):  # noqa: SIM110
        if ancestor is base:
            return True
    return False


def type_in(value: object, classes: "frozenset[int]") -> bool:
    """Return whether the exact type of a value is one of `classes`, made by `type_ids`."""
    return id(type(value)) in classes


def loaded_class(module: str, name: str) -> "Optional[type]":
    """Return a class of a module, or None if the module is not imported."""
    loaded = sys.modules.get(module)
    found = instance_dict(loaded).get(name) if loaded is not None else None
    return found if is_instance(found, type) else None


def is_library_instance(value: object, module: str, name: str) -> bool:
    """Return whether a value is an instance of the class with this name in a module."""
    cls = loaded_class(module, name)
    return cls is not None and is_instance(value, cls)


def class_attribute(cls: type, name: str) -> Any:
    """Return the attribute that a class or its bases define, as it is stored, or UNKNOWN."""
    for ancestor in _MRO(cls):
        if name in _DICT(ancestor):
            return _DICT(ancestor)[name]
    return UNKNOWN


def instance_dict(value: object) -> "dict[str, Any]":
    """Return the dict in which an object stores its attributes, for reading only; an empty one if it has none."""
    if type(value) is LazyModule:
        load(value)
    stored = class_attribute(type(value), "__dict__")
    if not type_in(stored, _STORED_IN_C):
        return {}  # no `__dict__`, or a property of the user's
    attributes = stored.__get__(value)
    if type(attributes) is dict:
        return attributes
    return dict(dict.items(attributes)) if is_instance(attributes, dict) else {}


def stored_attributes(value: Any) -> "Iterator[Tuple[str, Any]]":
    """Yield the names and values of the attributes that an object stores, except names like `__this__` or `_this_`."""
    is_class = is_instance(value, type)
    own: Mapping[Any, Any] = class_dict(value) if is_class else instance_dict(value)
    for name, item in _items(own).items():
        if not (name.startswith("_") and name.endswith("_")):
            yield name, item
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
                        pass  # the slot is empty


def attributes(value: Any) -> "dict[str, Any]":
    """Return the names possible after ``value.``, each with its definition, or UNKNOWN."""
    if is_instance(value, ModuleType):
        found = _items(instance_dict(value))
        exported: Any = found.get("__all__")
        if type_in(exported, _SEQUENCES):
            # A name in `__all__` that is missing is a module that is imported on first access.
            found = {**{name: UNKNOWN for name in list(exported) if type(name) is str}, **found}
        return found
    if type(value) is Instance:
        return _class_attributes(value.cls)
    if is_instance(value, type):
        return _class_attributes(value)
    held = _torch_members(value)
    held.update(dict.fromkeys(_columns(value), UNKNOWN))
    return {**_class_attributes(type(value)), **_items(instance_dict(value)), **held}


def attribute(owner: Any, name: str) -> Attribute:
    """Return the attribute with this name.

    Raises:
        UnknownError: it does not exist, or only running code could tell.
    """
    definition = _definition(owner, name)
    if definition is UNKNOWN:
        raise UnknownError
    return Attribute(definition, binder(owner)(name, definition))


def _definition(owner: Any, name: str) -> Any:
    own = instance_dict(owner)
    if is_instance(owner, ModuleType):
        # The attribute for an imported submodule may come only from its package's `__getattr__`.
        return own[name] if name in own else sys.modules.get(f"{own.get('__name__')}.{name}", UNKNOWN)
    if is_instance(owner, type):
        members = class_attribute(owner, "_member_map_")  # of an Enum
        return members[name] if type(members) is dict and name in members else class_attribute(owner, name)
    in_class = class_attribute(owner.cls if type(owner) is Instance else type(owner), name)
    is_data_descriptor = class_attribute(type(in_class), "__set__") is not UNKNOWN
    if name in own and not is_data_descriptor:
        return own[name]
    return in_class if in_class is not UNKNOWN else _torch_members(owner).get(name, UNKNOWN)


def _items(mapping: Any) -> "dict[str, Any]":
    # Copied in one step, because another thread may be adding to it.
    pairs = list(dict.items(mapping) if is_instance(mapping, dict) else mapping.items())
    return {key: value for key, value in pairs if type(key) is str}


def _class_attributes(cls: type) -> "dict[str, Any]":
    found: "dict[str, Any]" = {}
    for base in reversed(mro(cls)):
        found.update(_items(class_dict(base)))
    members = found.get("_member_map_")  # of an Enum
    return {**found, **_items(members)} if type(members) is dict else found


def _torch_members(value: Any) -> "dict[str, Any]":
    """Return the attributes that a torch module offers by `__getattr__`."""
    if not is_library_instance(value, "torch.nn", "Module"):
        return {}
    own = _items(instance_dict(value))
    parts = (own.get(name) for name in ("_parameters", "_buffers", "_modules"))
    return {name: found for part in parts if is_instance(part, dict) for name, found in _items(part).items()}


def _columns(value: Any) -> "list[str]":
    """Return the columns of a pandas data frame that are also its attributes."""
    if not is_library_instance(value, "pandas", "DataFrame"):
        return []
    try:
        columns = vars(sys.modules["pandas"].DataFrame)["columns"].__get__(value)
    except Exception:  # it is not fully initialized
        return []
    return [name for name in columns[:_MAX_KEYS] if type(name) is str and name.isidentifier()]


def binder(owner: Any) -> "Callable[[str, Any], Any]":
    """Return a function that maps an attribute's name and definition to its value in `owner`, or UNKNOWN."""
    if is_instance(owner, ModuleType):
        return lambda name, definition: definition
    if is_instance(owner, type):
        return lambda name, definition: _bind_to_class(definition, owner)
    cls = owner.cls if type(owner) is Instance else type(owner)
    own = instance_dict(owner)
    return lambda name, definition: (
        definition if own.get(name) is definition else _bind_to_instance(definition, owner, cls)
    )


def _bind_to_class(found: Any, cls: type) -> Any:
    """Return the value of ``cls.name`` if `found` is stored under that name."""
    if type_in(found, FUNCTIONS):
        return found.__get__(None, cls) if type(found) is ClassMethodDescriptorType else found
    if type_in(found, WRAPPERS):
        return found.__func__ if type(found) is staticmethod else _bound_method(found.__func__, cls)
    return found if type_in(found, _FIELD_DESCRIPTORS) or is_property(found) else _unless_descriptor(found)


def _bind_to_instance(found: Any, instance: Any, cls: type) -> Any:
    """Return the value of ``instance.name`` if its class, `cls`, stores `found` under that name."""
    if type(found) is FunctionType:
        return MethodType(found, instance)
    if type_in(found, WRAPPERS) or type(found) is ClassMethodDescriptorType:
        return _bind_to_class(found, cls)
    is_in_c = type_in(found, FUNCTIONS) or is_callable_in_c(found)
    if is_in_c or type_in(found, _FIELD_DESCRIPTORS) or (type(found) is GetSetDescriptorType and _is_cheap(found)):
        if type(instance) is Instance or not _is_descriptor(found):
            return found if is_in_c else UNKNOWN
        try:
            return found.__get__(instance, cls)
        except Exception:  # an empty slot, or a method of another class
            return found if is_in_c else UNKNOWN
    return _unless_descriptor(found)


def _unless_descriptor(found: Any) -> Any:
    """Return `found`, or UNKNOWN if it is a descriptor, whose `__get__` would have to run."""
    for name in ("Accessor", "CachedAccessor"):
        if is_library_instance(found, "pandas.core.accessor", name):
            return Instance(found._accessor)
    return UNKNOWN if _is_descriptor(found) and not is_callable_in_c(found) else found


def _is_descriptor(found: Any) -> bool:
    return class_attribute(type(found), "__get__") is not UNKNOWN


def _bound_method(function: Any, owner: Any) -> Any:
    try:
        return MethodType(function, owner)
    except TypeError:  # `function` is not callable
        return UNKNOWN


def _is_cheap(descriptor: Any) -> bool:
    owner = descriptor.__objclass__
    if descriptor.__name__ == "imag":  # numpy allocates an array of zeros for it
        return False
    return not owner.__flags__ & _HEAP_TYPE and owner.__module__.partition(".")[0] in _CHEAP_PACKAGES


def is_callable_in_c(value: Any) -> bool:
    """Return whether a value is a callable that an extension module defines, such as a numpy ufunc."""
    cls = type(value)
    written_in_c = not cls.__flags__ & _HEAP_TYPE or cls is _LRU_CACHE or class_name(cls) == "cython_function_or_method"
    return written_in_c and class_attribute(cls, "__call__") is not UNKNOWN


def is_property(value: Any) -> bool:
    """Return whether a class attribute is a property: it computes an attribute of the instances."""
    return any(is_instance(value, cls) for cls in PROPERTIES)
