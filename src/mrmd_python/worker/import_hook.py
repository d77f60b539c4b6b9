"""Calls a function each time a certain module has been loaded or reloaded."""

import copy
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Callable, Mapping, Optional, Sequence

AfterLoad = Callable[[ModuleType], None]


class LoadHook(MetaPathFinder):
    """Finds the modules in `callbacks` where the other finders do, and has a callback called after each load."""

    def __init__(self, callbacks: Mapping[str, AfterLoad]) -> None:
        self._callbacks = callbacks

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the other finders' spec. Code may find a module and never load it, so nothing happens here."""
        if fullname not in self._callbacks:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]  # those before this one have been asked
        specs = (finder.find_spec(fullname, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _calling(self._callbacks[fullname], spec.loader)
        return spec


def _calling(callback: AfterLoad, original: Loader) -> Loader:
    """Return a copy of a loader that calls `callback` after it has executed a module.

    It keeps its class and attributes, on which `inspect` and `importlib.resources` depend. It is a copy because all
    modules of a zip archive share one loader.
    """

    def exec_module(module: ModuleType) -> None:
        original.exec_module(module)
        try:
            callback(module)
        except Exception as error:  # our preferences for a library must not keep anybody from importing it
            warnings.warn(f"mrmd-python cannot set up {module.__name__}: {error}", RuntimeWarning, stacklevel=2)

    loader = copy.copy(original)
    loader.exec_module = exec_module  # type: ignore[method-assign]
    return loader


def install(callbacks: Mapping[str, AfterLoad]) -> None:
    """Have each callback called with the module of its name, whenever that has been loaded."""
    sys.meta_path.insert(0, LoadHook(callbacks))
