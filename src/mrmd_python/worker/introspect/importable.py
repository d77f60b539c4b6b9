"""What can be imported, found by listing directories: nothing is imported for it."""

import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Iterable, Optional

from .objects import instance_dict, is_a

_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_MOST_DIRECTORIES = 1000
# Of each directory that was listed: when it had been changed last, and the modules in it.
_modules: "dict[str, tuple[int, frozenset[str]]]" = {}


def top_level() -> "set[str]":
    """Return the names of all modules that ``import`` finds."""
    found = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ()))  # from Python 3.10 on
    found.update(name for name in list(sys.modules) if "." not in name)
    for directory in list(sys.path):
        if type(directory) is str:
            found |= _in_directory(directory or os.curdir)
    found.discard("_mrmd_worker")
    return {name for name in found if name.isidentifier()}


def submodules(package: str) -> "set[str]":
    """Return the names of the modules in a package, whether it is imported or not."""
    found: "set[str]" = set()
    for directory in _package_directories(package):
        found |= _in_directory(directory)
    return found


def submodules_of(value: object) -> "set[str]":
    """Return the names of the modules in a package that is imported; none if `value` is no package."""
    name = instance_dict(value).get("__name__") if is_a(value, ModuleType) else None
    return submodules(name) if type(name) is str else set()


def loaded(name: str) -> Optional[ModuleType]:
    """Return a module that is imported already, or None."""
    found = sys.modules.get(name)
    return found if is_a(found, ModuleType) else None


def _package_directories(package: str) -> "list[str]":
    module = loaded(package)
    if module is not None:
        directories = instance_dict(module).get("__path__", ())
        try:
            return [directory for directory in directories if type(directory) is str]
        except Exception:  # it may be anything
            return []
    parent, _, name = package.rpartition(".")
    parents: Iterable[str] = (
        _package_directories(parent) if parent else [entry or os.curdir for entry in list(sys.path)]
    )
    candidates = (os.path.join(directory, name) for directory in parents if type(directory) is str)
    return [directory for directory in candidates if os.path.isdir(directory)]


def _in_directory(directory: str) -> "frozenset[str]":
    try:
        changed = os.stat(directory).st_mtime_ns
        known = _modules.get(directory)
        if known is not None and known[0] == changed:
            return known[1]
        found = frozenset(filter(None, map(_module_name, os.scandir(directory))))
    except OSError:  # it is a zip file perhaps, or cannot be read
        return frozenset()
    if len(_modules) < _MOST_DIRECTORIES:
        _modules[directory] = changed, found
    return found


def _module_name(entry: "os.DirEntry[str]") -> Optional[str]:
    name = entry.name.partition(".")[0]
    if not name.isidentifier() or name == "__pycache__":
        return None
    if entry.name == name:
        is_package = entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py"))
        return name if is_package else None
    return name if entry.name[len(name) :] in _SUFFIXES and name != "__init__" else None
