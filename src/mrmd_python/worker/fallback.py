"""Imports IPython from the server's own copy where the user's venv has none.

Only the packages that the server names are found, modules and metadata, and only behind everything the venv has.
"""

import re
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Sequence

if TYPE_CHECKING:  # it takes long to import, and most sessions do without
    from importlib.metadata import Distribution, DistributionFinder


class FallbackFinder(MetaPathFinder):
    """Finds modules and distributions by name, behind all other finders.

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
        """Find a top-level module; its submodules are then found by its `__path__`."""
        if path is not None or fullname not in self._modules:
            return None
        return PathFinder.find_spec(fullname, [self._modules[fullname]], target)

    def find_distributions(self, context: "DistributionFinder.Context") -> "Iterator[Distribution]":
        """Find the metadata of packages, such as entry points, unless the venv has a package of the same name."""
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
    """Make the modules importable and the distributions known."""
    sys.meta_path.append(FallbackFinder(modules, distributions))
