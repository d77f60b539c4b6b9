"""Loading one module of the user's in a way of our own, the first time it is imported."""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Callable, Optional, Sequence

Execute = Callable[[Loader, ModuleType], None]
"""Executes a module by its own loader, with something done before or after."""


class _HookedLoader(Loader):
    def __init__(self, loader: Loader, execute: Execute) -> None:
        self._loader = loader
        self._execute = execute

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._execute(self._loader, module)


class ImportHook(MetaPathFinder):
    """Finds the module `name`, once, where the other finders do, and has `execute` execute it."""

    def __init__(self, name: str, execute: Execute) -> None:
        self._name = name
        self._execute = execute

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the spec that the other finders have, with a loader that calls `execute`."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _HookedLoader(spec.loader, self._execute)
        return spec


def install(name: str, execute: Execute) -> None:
    """Have `execute` execute the module `name` when it is imported."""
    sys.meta_path.insert(0, ImportHook(name, execute))
