"""Loads ssl, and OpenSSL with it, when it is first used: asyncio imports it, but few sessions ever need it.

It would make every session some megabytes larger, and slower to start.
"""

import sys
import threading
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Optional, Sequence

# Reentrant, because the code of a module reads its own attributes.
_lock = threading.RLock()


class LazyModule(ModuleType):
    """A module that is executed when one of its attributes is first used.

    `importlib.util.LazyLoader` executes a module when it is imported for the second time, because `import` reads its
    `__spec__`.
    """

    # Not super(): once it is loaded, its class is ModuleType.

    def __getattr__(self, name: str) -> Any:
        load(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        load(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        load(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> "list[str]":
        load(self)
        return list(ModuleType.__dir__(self))


def load(module: LazyModule) -> None:
    """Execute the module, unless that has been done or is being done by this thread."""
    with _lock:
        spec, loading = module.__spec__, "_is_loading" in vars(module)
        if type(module) is not LazyModule or loading:
            return
        assert spec is not None
        assert spec.loader is not None
        vars(module)["_is_loading"] = True
        try:
            spec.loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            del vars(module)["_is_loading"]


def install() -> None:
    """Make ssl lazy, and the part of asyncio that uses it at once."""
    package = PathFinder.find_spec("asyncio")
    if package is None or PathFinder.find_spec("_ssl") is None or sys.modules.keys() & {"asyncio", "ssl"}:
        return
    _make_lazy("ssl")
    part = _make_lazy("asyncio.sslproto", package.submodule_search_locations)
    import asyncio

    vars(asyncio)["sslproto"] = part  # a loaded module is not bound to its package


def _make_lazy(name: str, path: Optional[Sequence[str]] = None) -> LazyModule:
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec(name, path)
    assert spec is not None
    module = module_from_spec(spec)
    module.__class__ = LazyModule
    assert isinstance(module, LazyModule)
    sys.modules[name] = module
    return module
