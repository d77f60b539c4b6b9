"""Imports IPython from the server's copy if the user's venv has none.

Only the packages that the server lists can be found, modules and metadata, and only after everything in the venv.
"""

import re
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Sequence

if TYPE_CHECKING:  # slow to import, and most sessions do not need it
    from importlib.metadata import Distribution, DistributionFinder


class FallbackFinder(MetaPathFinder):
    """Finds modules and distributions by name, after all other finders.

    Args:
        modules: the directory that holds each top-level module.
        distributions: the directory that holds each distribution's metadata.
    """

    def __init__(self, modules: Mapping[str, str], distributions: Mapping[str, str]) -> None:
        self._modules = modules
        self._distributions = distributions

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Find a top-level module. Its submodules are found by its `__path__`."""
        if path is not None or fullname not in self._modules:
            return None
        return PathFinder.find_spec(fullname, [self._modules[fullname]], target)

    def find_distributions(self, context: "DistributionFinder.Context") -> "Iterator[Distribution]":
        """Find metadata, such as entry points, of packages that the venv does not have."""
        from importlib import metadata

        if context.path is not sys.path:  # only certain directories are searched
            return
        for name, directory in self._distributions.items():
            if context.name is not None and _normalized(context.name) != _normalized(name):
                continue
            if not any(metadata.distributions(name=name, path=list(sys.path))):
                yield from metadata.distributions(name=name, path=[directory])


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def use_fallback(modules: Mapping[str, str], distributions: Mapping[str, str]) -> None:
    """Make the modules importable and their metadata available."""
    sys.meta_path.append(FallbackFinder(modules, distributions))
