"""Reading objects without running their code: no property, no `__getattr__`, no `__class__` that lies.

Every access goes through a slot of `type`, or of the built-in type that stores what is read.
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

_MRO = type.__dict__["__mro__"].__get__
_DICT = type.__dict__["__dict__"].__get__
_NAME = type.__dict__["__name__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__


class _Pair(NamedTuple):
    field: int


def types(*classes: type) -> "frozenset[int]":
    """Return classes as `is_exactly` takes them: by id, for a metaclass may have an __eq__ or __hash__ of its own."""
    return frozenset(map(id, classes))


_METHODS_IN_C = types(MethodDescriptorType, ClassMethodDescriptorType, WrapperDescriptorType)
FUNCTIONS_IN_C = _METHODS_IN_C | types(BuiltinFunctionType, MethodWrapperType)
FUNCTIONS = FUNCTIONS_IN_C | types(FunctionType, MethodType)
PROPERTIES = (property, functools.cached_property, DynamicClassAttribute, GetSetDescriptorType)
_FIELDS = types(MemberDescriptorType, type(_Pair.field))  # of a slot, and of a named tuple
_STORED_IN_C = types(GetSetDescriptorType, MemberDescriptorType)
WRAPPERS = types(staticmethod, classmethod)
_SEQUENCES = types(list, tuple)
_CACHED = type(functools.lru_cache(maxsize=None)(len))

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, Include/object.h: made by a class statement or its like
# Packages whose attributes written in C compute nothing worth mentioning.
_CHEAP_PACKAGES = frozenset({"_io", "builtins", "collections", "datetime", "decimal", "functools", "numpy", "re"})
_MOST_KEYS = 1000

# Stands for what only code could tell, or for what is not there.
UNKNOWN: Any = object()


class UnknownError(LookupError):
    """There is no such attribute or item, or only code could tell."""


@dataclass(frozen=True)
class Instance:
    """Stands for a value of which only the class is known."""

    cls: type


@dataclass(frozen=True)
class Attribute:
    """An attribute of an object."""

    # As the object or its class stores it: a function, a property, or the value itself.
    definition: Any
    # What ``object.name`` would be; UNKNOWN if only code could tell.
    value: Any

    @property
    def shown(self) -> Any:
        """What there is to describe."""
        return shown(self.definition, self.value)


def shown(definition: Any, value: Any) -> Any:
    """Return what there is to describe: the value or, where that is not known, the definition."""
    return definition if value is UNKNOWN or type(value) is Instance else value


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
    """Return what isinstance() would, but for classes that lie about themselves."""
    return is_below(type(value), base)


def is_below(cls: type, base: type) -> bool:
    """Return what issubclass() would, but for bases that lie."""
    # Not `in`, for a metaclass may have an __eq__; not any(), which takes twice as long, and this is called most.
    for ancestor in _MRO(cls):  # noqa: SIM110
        if ancestor is base:
            return True
    return False


def is_exactly(value: object, classes: "frozenset[int]") -> bool:
    """Return whether the type of a value is one of these, and not derived from one."""
    return id(type(value)) in classes


def loaded_class(module: str, name: str) -> "Optional[type]":
    """Return a class of a module if that is imported."""
    loaded = sys.modules.get(module)
    found = instance_dict(loaded).get(name) if loaded is not None else None
    return found if is_a(found, type) else None


def is_of(value: object, module: str, name: str) -> bool:
    """Return whether a value is an instance of the class of that name in a module."""
    cls = loaded_class(module, name)
    return cls is not None and is_a(value, cls)


def class_attribute(cls: type, name: str) -> Any:
    """Return what a class or one of its bases defines under a name, as it is stored there, or UNKNOWN."""
    for ancestor in _MRO(cls):
        if name in _DICT(ancestor):
            return _DICT(ancestor)[name]
    return UNKNOWN


def instance_dict(value: object) -> "dict[str, Any]":
    """Return the dict in which an object stores attributes, to be read only; an empty one if it has none."""
    stored = class_attribute(type(value), "__dict__")
    if not is_exactly(stored, _STORED_IN_C):
        return {}  # there is none, or a property of the user's
    attributes = stored.__get__(value)
    if type(attributes) is dict:
        return attributes
    return dict(dict.items(attributes)) if is_a(attributes, dict) else {}


def stored_attributes(value: Any) -> "Iterator[Tuple[str, Any]]":
    """Yield the names and values of the attributes that an object stores, less those that Python itself has named."""
    is_class = is_a(value, type)
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
                        pass  # it is empty


def attributes(value: Any) -> "dict[str, Any]":
    """Return the names that can stand behind ``value.``, each with its definition, or UNKNOWN."""
    if is_a(value, ModuleType):
        found = _items(instance_dict(value))
        exported: Any = found.get("__all__")
        if is_exactly(exported, _SEQUENCES):
            # A name that is not there yet is one of a module that is imported when it is asked for.
            found = {**{name: UNKNOWN for name in list(exported) if type(name) is str}, **found}
        return found
    if type(value) is Instance:
        return _class_attributes(value.cls)
    if is_a(value, type):
        return _class_attributes(value)
    held = _held(value)
    held.update(dict.fromkeys(_columns(value), UNKNOWN))
    return {**_class_attributes(type(value)), **_items(instance_dict(value)), **held}


def attribute(owner: Any, name: str) -> Attribute:
    """Return the attribute of that name.

    Raises:
        UnknownError: there is none, or only code could tell.
    """
    definition = _definition(owner, name)
    if definition is UNKNOWN:
        raise UnknownError
    return Attribute(definition, binder(owner)(name, definition))


def _definition(owner: Any, name: str) -> Any:
    own = instance_dict(owner)
    if is_a(owner, ModuleType):
        # A submodule may be imported and yet given out only by a `__getattr__` of its package.
        return own[name] if name in own else sys.modules.get(f"{own.get('__name__')}.{name}", UNKNOWN)
    if is_a(owner, type):
        members = class_attribute(owner, "_member_map_")  # of an Enum
        return members[name] if type(members) is dict and name in members else class_attribute(owner, name)
    in_class = class_attribute(owner.cls if type(owner) is Instance else type(owner), name)
    is_data_descriptor = class_attribute(type(in_class), "__set__") is not UNKNOWN
    if name in own and not is_data_descriptor:
        return own[name]
    return in_class if in_class is not UNKNOWN else _held(owner).get(name, UNKNOWN)


def _items(mapping: Any) -> "dict[str, Any]":
    # Copied in one step: another thread may be adding to it.
    pairs = list(dict.items(mapping) if is_a(mapping, dict) else mapping.items())
    return {key: value for key, value in pairs if type(key) is str}


def _class_attributes(cls: type) -> "dict[str, Any]":
    found: "dict[str, Any]" = {}
    for base in reversed(mro(cls)):
        found.update(_items(class_dict(base)))
    members = found.get("_member_map_")  # of an Enum
    return {**found, **_items(members)} if type(members) is dict else found


def _held(value: Any) -> "dict[str, Any]":
    """Return what torch's modules offer as attributes by a `__getattr__` of theirs."""
    if not is_of(value, "torch.nn", "Module"):
        return {}
    own = _items(instance_dict(value))
    parts = (own.get(name) for name in ("_parameters", "_buffers", "_modules"))
    return {name: found for part in parts if is_a(part, dict) for name, found in _items(part).items()}


def _columns(value: Any) -> "list[str]":
    """Return the columns of a data frame that it offers as attributes."""
    if not is_of(value, "pandas", "DataFrame"):
        return []
    try:
        columns = vars(sys.modules["pandas"].DataFrame)["columns"].__get__(value)
    except Exception:  # it is only half made
        return []
    return [name for name in columns[:_MOST_KEYS] if type(name) is str and name.isidentifier()]


def binder(owner: Any) -> "Callable[[str, Any], Any]":
    """Return what gives the value of an attribute of `owner` from its name and definition, or UNKNOWN."""
    if is_a(owner, ModuleType):
        return lambda name, definition: definition
    if is_a(owner, type):
        return lambda name, definition: _of_class(definition, owner)
    cls = owner.cls if type(owner) is Instance else type(owner)
    own = instance_dict(owner)
    return lambda name, definition: definition if own.get(name) is definition else _bound(definition, owner, cls)


def _of_class(found: Any, cls: type) -> Any:
    """Return what ``cls.name`` is where `found` is stored."""
    if is_exactly(found, FUNCTIONS):
        return found.__get__(None, cls) if type(found) is ClassMethodDescriptorType else found
    if is_exactly(found, WRAPPERS):
        return found.__func__ if type(found) is staticmethod else _method(found.__func__, cls)
    return found if is_exactly(found, _FIELDS) or is_property(found) else _without_descriptor(found)


def _bound(found: Any, instance: Any, cls: type) -> Any:
    """Return what ``instance.name`` is where its class, `cls`, stores `found`."""
    if type(found) is FunctionType:
        return MethodType(found, instance)
    if is_exactly(found, WRAPPERS) or type(found) is ClassMethodDescriptorType:
        return _of_class(found, cls)
    is_in_c = is_exactly(found, FUNCTIONS) or is_callable_in_c(found)
    if is_in_c or is_exactly(found, _FIELDS) or (type(found) is GetSetDescriptorType and _is_cheap(found)):
        if type(instance) is Instance or not _is_descriptor(found):
            return found if is_in_c else UNKNOWN
        try:
            return found.__get__(instance, cls)
        except Exception:  # a slot that is empty, or a method of another class
            return found if is_in_c else UNKNOWN
    return _without_descriptor(found)


def _without_descriptor(found: Any) -> Any:
    """Return what has no `__get__` as it is, and UNKNOWN for what has: that would have to run."""
    for name in ("Accessor", "CachedAccessor"):
        if is_of(found, "pandas.core.accessor", name):
            return Instance(found._accessor)
    return UNKNOWN if _is_descriptor(found) and not is_callable_in_c(found) else found


def _is_descriptor(found: Any) -> bool:
    return class_attribute(type(found), "__get__") is not UNKNOWN


def _method(function: Any, owner: Any) -> Any:
    try:
        return MethodType(function, owner)
    except TypeError:  # it is not callable
        return UNKNOWN


def _is_cheap(descriptor: Any) -> bool:
    owner = descriptor.__objclass__
    if descriptor.__name__ == "imag":  # numpy's makes an array of zeros
        return False
    return not owner.__flags__ & _HEAP_TYPE and owner.__module__.partition(".")[0] in _CHEAP_PACKAGES


def is_callable_in_c(value: Any) -> bool:
    """Return whether a value is a function of a kind that an extension module defines, as numpy's ufuncs."""
    cls = type(value)
    written_in_c = not cls.__flags__ & _HEAP_TYPE or cls is _CACHED or class_name(cls) == "cython_function_or_method"
    return written_in_c and class_attribute(cls, "__call__") is not UNKNOWN


def is_property(value: Any) -> bool:
    """Return whether what a class stores computes an attribute of its instances."""
    return any(is_a(value, cls) for cls in PROPERTIES)
