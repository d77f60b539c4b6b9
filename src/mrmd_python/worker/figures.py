"""Matplotlib draws into the session unless the person chose otherwise."""

import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Optional, Sequence

_VARIABLE = "MPLBACKEND"
_INLINE = "module://matplotlib_inline.backend_inline"


class _InlineLoader(Loader):
    """Loads matplotlib by its own loader, with the inline backend as the default that it reads at its import."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Only for that moment: a child process could not draw inline.
        os.environ[_VARIABLE] = _INLINE
        try:
            self._loader.exec_module(module)
        finally:
            os.environ.pop(_VARIABLE, None)


class InlineFigures(MetaPathFinder):
    """Finds matplotlib, once, and only if ``MPLBACKEND`` names no backend."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the spec that the other finders have for matplotlib, with a loader that makes it draw inline."""
        if fullname != "matplotlib":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None and not os.environ.get(_VARIABLE):
            spec.loader = _InlineLoader(spec.loader)
        return spec


def install() -> None:
    """Have figures drawn into the session once matplotlib is imported."""
    sys.meta_path.insert(0, InlineFigures())


def close_all() -> None:
    """Close all figures, if matplotlib is in use."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
