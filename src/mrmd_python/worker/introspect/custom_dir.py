"""Calls of an object's own `__dir__` or `_ipython_key_completions_`, for the main thread to make while idle."""

import weakref
from itertools import islice
from types import ModuleType
from typing import Any, Callable, Iterable, Optional

from .objects import UNKNOWN, Instance, class_attribute, instance_dict, is_instance, type_ids, type_in

_BUILT_IN_DIRS = tuple(vars(cls)["__dir__"] for cls in (object, type, ModuleType))
_WEAK_PROXIES = type_ids(*weakref.ProxyTypes)
_MAX_NAMES = 100_000
_MAX_KEYS = 1000


def dir_call(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call of the value's own `__dir__`, or None if it only has Python's."""
    if type(value) is Instance:
        return None
    method = class_attribute(type(value), "__dir__")
    is_module_with_dir = is_instance(value, ModuleType) and "__dir__" in instance_dict(value)  # PEP 562
    # A weak proxy forwards Python's own `__dir__` to its object.
    is_proxy = type_in(value, _WEAK_PROXIES)
    if any(method is built_in for built_in in _BUILT_IN_DIRS) and not is_module_with_dir and not is_proxy:
        return None
    return _bound_call(method, value, _MAX_NAMES)


def keys_call(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call that returns a value's keys by IPython's protocol, as in h5py and xarray, or None."""
    method = class_attribute(type(value), "_ipython_key_completions_")
    return None if method is UNKNOWN else _bound_call(method, value, _MAX_KEYS)


def _bound_call(method: Any, value: Any, limit: int) -> "Callable[[], list[object]]":
    """Return a call of a special method, bound as Python binds it, that returns its first results."""

    def call() -> "list[object]":
        bind = getattr(type(method), "__get__", None)
        bound = method if bind is None else bind(method, value, type(value))
        results: Iterable[object] = bound()
        return list(islice(results, limit))

    return call
