"""Names and keys that only an object's own code can tell: calls of it, for the main thread to make while idle."""

import weakref
from itertools import islice
from types import ModuleType
from typing import Any, Callable, Iterable, Optional

from .objects import UNKNOWN, Instance, class_attribute, instance_dict, is_a, is_exactly, types

_BUILT_IN_DIRS = tuple(vars(cls)["__dir__"] for cls in (object, type, ModuleType))
_WEAK_PROXIES = types(*weakref.ProxyTypes)
_MOST_NAMES = 100_000
_MOST_KEYS = 1000


def own_dir(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call that asks a value's own `__dir__` for names; None if it has only Python's."""
    if type(value) is Instance:
        return None
    method = class_attribute(type(value), "__dir__")
    is_module_with_dir = is_a(value, ModuleType) and "__dir__" in instance_dict(value)  # PEP 562
    # A weak proxy hands on to its object what Python's own `__dir__` looks at.
    is_proxy = is_exactly(value, _WEAK_PROXIES)
    if any(method is built_in for built_in in _BUILT_IN_DIRS) and not is_module_with_dir and not is_proxy:
        return None
    return _call_of(method, value, _MOST_NAMES)


def own_keys(value: Any) -> "Optional[Callable[[], list[object]]]":
    """Return a call that asks a value for its keys by IPython's protocol, as h5py and xarray have it; None if not."""
    method = class_attribute(type(value), "_ipython_key_completions_")
    return None if method is UNKNOWN else _call_of(method, value, _MOST_KEYS)


def _call_of(method: Any, value: Any, most: int) -> "Callable[[], list[object]]":
    """Return a call of a special method, bound as Python binds those, for its first results."""

    def call() -> "list[object]":
        bind = getattr(type(method), "__get__", None)
        bound = method if bind is None else bind(method, value, type(value))
        results: Iterable[object] = bound()
        return list(islice(results, most))

    return call
