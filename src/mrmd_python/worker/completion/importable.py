"""What can be imported, found by looking into folders: nothing is imported for it."""

import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Iterable, Optional

from ..live_objects import attributes
from ..static import is_a

_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_modules: "dict[str, tuple[int, frozenset[str]]]" = {}
"""Of each folder that was looked into: when it had been changed last, and the modules in it."""
_MOST_FOLDERS = 1000


def top_level() -> "set[str]":
    """Return the names of all modules that ``import`` finds."""
    found = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ()))  # from Python 3.10 on
    found.update(name for name in list(sys.modules) if "." not in name)
    for folder in list(sys.path):
        if type(folder) is str:
            found |= _in_folder(folder or os.curdir)
    found.discard("_mrmd_worker")
    return {name for name in found if name.isidentifier()}


def submodules(package: str) -> "set[str]":
    """Return the names of the modules in a package, whether it is imported or not."""
    found: "set[str]" = set()
    for folder in _package_folders(package):
        found |= _in_folder(folder)
    return found


def submodules_of(value: object) -> "set[str]":
    """Return the names of the modules in a package that is imported; none if `value` is no package."""
    name = attributes(value).get("__name__") if is_a(value, ModuleType) else None
    return submodules(name) if type(name) is str else set()


def loaded(name: str) -> Optional[ModuleType]:
    """Return a module that is imported already, or None."""
    found = sys.modules.get(name)
    return found if is_a(found, ModuleType) else None


def _package_folders(package: str) -> "list[str]":
    module = loaded(package)
    if module is not None:
        folders = attributes(module).get("__path__", ())
        try:
            return [folder for folder in folders if type(folder) is str]  # type: ignore[attr-defined]
        except Exception:  # it may be anything
            return []
    parent, _, name = package.rpartition(".")
    parents: Iterable[str] = _package_folders(parent) if parent else [entry or os.curdir for entry in list(sys.path)]
    candidates = (os.path.join(folder, name) for folder in parents if type(folder) is str)
    return [folder for folder in candidates if os.path.isdir(folder)]


def _in_folder(folder: str) -> "frozenset[str]":
    try:
        changed = os.stat(folder).st_mtime_ns
        known = _modules.get(folder)
        if known is not None and known[0] == changed:
            return known[1]
        found = frozenset(filter(None, map(_module_name, os.scandir(folder))))
    except OSError:  # it is no folder, but a zip file perhaps, or cannot be read
        return frozenset()
    if len(_modules) < _MOST_FOLDERS:
        _modules[folder] = changed, found
    return found


def _module_name(entry: "os.DirEntry[str]") -> Optional[str]:
    name = entry.name.partition(".")[0]
    if not name.isidentifier() or name == "__pycache__":
        return None
    if entry.name == name:
        is_package = entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py"))
        return name if is_package else None
    return name if entry.name[len(name) :] in _SUFFIXES and name != "__init__" else None
