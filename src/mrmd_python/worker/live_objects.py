"""What an object has, found without running any code of the user's: no property, no `__getattr__`.

`own_dir` and `own_keys` return calls that do run it, for the main thread to make.
"""

import functools
import sys
import weakref
from dataclasses import dataclass
from itertools import islice
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
from typing import Any, Callable, Iterable, Optional

from .static import NotStoredError, class_dict, class_name, defined, instance_dict, is_a, mro

FUNCTIONS = (
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    WrapperDescriptorType,
    MethodWrapperType,
)
_Slot = (GetSetDescriptorType, MemberDescriptorType)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, Include/object.h: made by a class statement or its like
_HARMLESS = frozenset({"_io", "builtins", "collections", "datetime", "decimal", "functools", "numpy", "re"})
"""Packages whose attributes written in C compute nothing worth mentioning."""
_MOST_LABELS = 1000
_MOST_NAMES = 100_000
_BUILT_IN_DIRS = tuple(vars(cls)["__dir__"] for cls in (object, type, ModuleType))

_module_dict: "Callable[[Any], dict[str, Any]]" = ModuleType.__dict__["__dict__"].__get__  # type: ignore[index]


@dataclass(frozen=True)
class Instance:
    """Stands for a value of which only the class is known."""

    cls: type


class UnknownValueError(Exception):
    """A value that cannot be had without running code."""


UNKNOWN = object()
"""Stands for the value of an attribute that is known by its name alone."""


def type_name(value: object) -> str:
    """Return the name of a value's type."""
    return class_name(type(value))


def attributes(value: Any) -> "dict[str, object]":
    """Return what can be said by ``.name`` of a value: names, and what stands behind them, descriptors as such."""
    if is_a(value, ModuleType):
        found = _items(_module_dict(value))
        exported: Any = found.get("__all__")
        if type(exported) in (list, tuple):
            for name in list(exported):
                if type(name) is str:
                    found.setdefault(name, UNKNOWN)  # of a module that is imported when it is asked for
        return found
    if type(value) is Instance:
        return _of_class(value.cls)
    found = _of_class(value if is_a(value, type) else type(value))
    if not is_a(value, type):
        found.update(_items(instance_dict(value)))
        found.update(_held(value))
    return found


def attribute(value: Any, name: str) -> object:
    """Return ``value.name``; for a method, its function.

    Raises:
        UnknownValueError: there is no such attribute, or code would have to run for it.
    """
    if is_a(value, ModuleType):
        if name not in _module_dict(value):
            raise UnknownValueError
        return _module_dict(value)[name]
    if is_a(value, type) or type(value) is Instance:
        return _bare(attributes(value).get(name, UNKNOWN), None)
    found = in_class(value, name)
    in_instance = _items(instance_dict(value)).get(name, UNKNOWN)
    if in_instance is not UNKNOWN and (found is UNKNOWN or in_class(found, "__set__") is UNKNOWN):
        return in_instance
    if found is not UNKNOWN:
        return _bare(found, value)
    held = _held(value).get(name, UNKNOWN)
    if held is UNKNOWN and is_of(value, "pandas", "DataFrame"):
        return item(value, name)
    return _bare(held, None)


def item(value: Any, key: Any) -> object:
    """Return ``value[key]`` of Python's own containers and of data frames.

    Raises:
        UnknownValueError: there is none, or code of another kind would have to run for it.
    """
    try:
        if is_a(value, dict):
            return dict.__getitem__(value, key)
        if is_a(value, list):
            return list.__getitem__(value, key)
        if is_a(value, tuple):
            return tuple.__getitem__(value, key)
        if is_of(value, "pandas", "DataFrame") and type(key) is str:
            return sys.modules["pandas"].DataFrame.__getitem__(value, key)
    except Exception:  # no such key, or keys with an __eq__ of their own
        raise UnknownValueError from None
    raise UnknownValueError


def labels(value: Any) -> "list[object]":
    """Return the keys, columns or fields that can stand in ``value[...]``."""
    if is_a(value, dict):
        return list(dict.keys(value))[:_MOST_LABELS]
    if is_of(value, "os", "_Environ"):
        return list(value)[:_MOST_LABELS]
    for name, index in (("DataFrame", "columns"), ("Series", "index")):
        if is_of(value, "pandas", name):
            return list(getattr(sys.modules["pandas"], name).__dict__[index].__get__(value)[:_MOST_LABELS])
    if is_of(value, "numpy", "ndarray"):
        names = sys.modules["numpy"].ndarray.dtype.__get__(value).names
        return list(names or ())[:_MOST_LABELS]
    if is_of(value, "polars", "DataFrame"):
        return list(sys.modules["polars"].DataFrame.columns.fget(value)[:_MOST_LABELS])
    return []


def own_dir(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call that asks a value's own `__dir__` for names; None if it has only Python's."""
    if type(value) is Instance:
        return None
    method = in_class(value, "__dir__")
    is_module_with_dir = is_a(value, ModuleType) and "__dir__" in _module_dict(value)  # PEP 562
    if any(method is built_in for built_in in _BUILT_IN_DIRS) and not is_module_with_dir and not _is_proxy(value):
        return None
    return _call_of(method, value, _MOST_NAMES)


def own_keys(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call that asks a value for its keys by IPython's protocol, as h5py and xarray have it; None if not."""
    method = in_class(value, "_ipython_key_completions_")
    return None if method is UNKNOWN else _call_of(method, value, _MOST_LABELS)


def _is_proxy(value: Any) -> bool:
    """Return whether a value hands on to another object also what Python's own `__dir__` looks at."""
    return any(type(value) is cls for cls in weakref.ProxyTypes)


def _call_of(method: Any, value: Any, most: int) -> "Callable[[], list[object]]":
    """Return a call of a special method, bound as Python binds those, for its first results."""

    def call() -> "list[object]":
        bind = getattr(type(method), "__get__", None)
        bound = method if bind is None else bind(method, value, type(value))
        results: Iterable[object] = bound()
        return list(islice(results, most))

    return call


def is_of(value: object, module: str, name: str) -> bool:
    """Return whether a value's class is, or is derived from, the one of that name in a module, if that is imported."""
    found = sys.modules.get(module)
    cls = vars(found).get(name) if found is not None else None
    return cls is not None and is_a(value, cls)


def in_class(value: Any, name: str) -> Any:
    """Return what a value's class has under a name, or UNKNOWN."""
    try:
        return defined(type(value), name)
    except NotStoredError:
        return UNKNOWN


def is_callable_in_c(value: Any) -> bool:
    """Return whether a value is a function of a kind that an extension module defines, as numpy's ufuncs."""
    written_in_c = not type(value).__flags__ & _HEAP_TYPE or type_name(value) == "cython_function_or_method"
    return written_in_c and in_class(value, "__call__") is not UNKNOWN


def _of_class(cls: type) -> "dict[str, object]":
    found: "dict[str, object]" = {}
    for base in reversed(mro(cls)):
        found.update(_items(class_dict(base)))
    members: Any = found.get("_member_map_")  # of an Enum
    return {**found, **_items(members)} if type(members) is dict else found


def _held(value: Any) -> "dict[str, object]":
    """Return what well-known classes offer as attributes by a `__getattr__` of theirs."""
    if is_of(value, "pandas", "DataFrame"):
        return {name: UNKNOWN for name in labels(value) if type(name) is str and name.isidentifier()}
    if is_of(value, "torch.nn", "Module"):
        own = _items(instance_dict(value))
        parts = (own.get(name) for name in ("_parameters", "_buffers", "_modules"))
        return {name: found for part in parts if is_a(part, dict) for name, found in _items(part).items()}
    return {}


def _items(mapping: Any) -> "dict[str, object]":
    # Copied in one step: another thread may be adding to it.
    pairs = list(dict.items(mapping) if is_a(mapping, dict) else mapping.items())
    return {key: value for key, value in pairs if type(key) is str}


def _bare(found: Any, instance: Any) -> object:
    """Return the value behind what stands in a class or module.

    Raises:
        UnknownValueError: it is known only to code, such as a property's.
    """
    if found is UNKNOWN:
        raise UnknownValueError
    if type(found) in (staticmethod, classmethod):
        return found.__func__
    if type(found) in _Slot:
        owner = found.__objclass__
        plain = type(found) is MemberDescriptorType or (
            not owner.__flags__ & _HEAP_TYPE and owner.__module__.partition(".")[0] in _HARMLESS
        )
        if instance is None or not plain:
            raise UnknownValueError
        try:
            return found.__get__(instance)
        except AttributeError:  # a slot that is empty
            raise UnknownValueError from None
    if is_of(found, "pandas.core.accessor", "Accessor") or is_of(found, "pandas.core.accessor", "CachedAccessor"):
        return found._accessor
    if in_class(found, "__get__") is not UNKNOWN and type(found) not in FUNCTIONS and not is_callable_in_c(found):
        raise UnknownValueError
    return found


def is_property(value: Any) -> bool:
    """Return whether what stands in a class computes an attribute of its instances."""
    computed = (property, functools.cached_property, DynamicClassAttribute, GetSetDescriptorType)
    return any(is_a(value, cls) for cls in computed)
