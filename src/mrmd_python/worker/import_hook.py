"""Calls a function whenever a given module is loaded or reloaded."""

import copy
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Callable, Mapping, Optional, Sequence

LoadCallback = Callable[[ModuleType], None]


class LoadHook(MetaPathFinder):
    """Finds the modules in `callbacks` with the other finders, and makes their loaders call the callback."""

    def __init__(self, callbacks: Mapping[str, LoadCallback]) -> None:
        self._callbacks = callbacks

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the other finders' spec. The callback runs on load: code may find a module and never load it."""
        if fullname not in self._callbacks:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]  # those before this one found nothing
        spec = None
        for finder in others:  # a loop, not a generator, whose frame the import guard would take for the importer
            spec = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                break
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _with_callback(self._callbacks[fullname], spec.loader)
        return spec


def _with_callback(callback: LoadCallback, original: Loader) -> Loader:
    """Return a copy of a loader that calls `callback` after it executes a module.

    The copy has the loader's class and attributes, which `inspect` and `importlib.resources` need. It is a copy because
    all modules of a zip archive share one loader.
    """

    def exec_module(module: ModuleType) -> None:
        original.exec_module(module)
        try:
            callback(module)
        except Exception as error:  # the library must stay importable
            warnings.warn(f"mrmd-python cannot set up {module.__name__}: {error}", RuntimeWarning, stacklevel=2)

    loader = copy.copy(original)
    loader.exec_module = exec_module  # type: ignore[method-assign]
    return loader


def install(callbacks: Mapping[str, LoadCallback]) -> None:
    """Call each callback with its module, now if it is loaded, and whenever it is loaded."""
    for name in callbacks.keys() & sys.modules.keys():
        callbacks[name](sys.modules[name])
    sys.meta_path.insert(0, LoadHook(callbacks))
