"""Imports of IPython from the server's own copy, where the user's venv has none.

Only the modules named are lent, and only behind everything the venv has.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Mapping, Optional, Sequence


class Lender(MetaPathFinder):
    """Finds the modules of `folders`, top-level names and the folders that hold them, behind all other finders."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Find a lent top-level module; its submodules are then found by its `__path__`."""
        if path is not None or fullname not in self._folders:
            return None
        return PathFinder.find_spec(fullname, [self._folders[fullname]], target)


def borrow(folders: Mapping[str, str]) -> None:
    """Make the modules of `folders` importable."""
    sys.meta_path.append(Lender(folders))
