"""Finds modules and the names in them by listing directories and reading source, without importing anything."""

import importlib.machinery
import importlib.util
import os
import re
import symtable
import sys
from types import ModuleType
from typing import Iterator, Optional

from .objects import instance_dict, is_instance

_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_MAX_DIRECTORIES = 1000
_MAX_SOURCE_LENGTH = 1_000_000
_MAX_DEPTH = 5  # of star imports in modules that are star-imported
_STAR_IMPORT = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+\*", re.MULTILINE)
# For each listed directory: its modification time, and its modules.
_modules: "dict[str, tuple[int, frozenset[str]]]" = {}


def top_level() -> "set[str]":
    """Return the names of all top-level modules that ``import`` finds."""
    found = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ()))  # from Python 3.10 on
    found.update(name for name in list(sys.modules) if "." not in name)
    for directory in list(sys.path):
        if type(directory) is str:
            found |= _in_directory(directory or os.curdir)
    found.discard("_mrmd_worker")
    return {name for name in found if name.isidentifier()}


def submodules(package: str) -> "set[str]":
    """Return the names of the modules in a package, imported or not."""
    found: "set[str]" = set()
    for directory in _package_directories(package):
        found |= _in_directory(directory)
    return found


def submodules_of(value: object) -> "set[str]":
    """Return the names of the modules in an imported package; none if `value` is not a package."""
    name = instance_dict(value).get("__name__") if is_instance(value, ModuleType) else None
    return submodules(name) if type(name) is str else set()


def loaded(name: str) -> Optional[ModuleType]:
    """Return a module if it is imported already, else None."""
    found = sys.modules.get(name)
    return found if is_instance(found, ModuleType) else None


def names_in_source(module: str, depth: int = 0) -> "dict[str, str]":
    """Return the global names that a module's source binds, with MRP's kinds; none if it has no source."""
    file = _source_file(module)
    if file is None or depth > _MAX_DEPTH:
        return {}
    try:
        with open(file, "rb") as stream:
            source = importlib.util.decode_source(stream.read(_MAX_SOURCE_LENGTH))
        table = symtable.symtable(source, file, "exec")
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    found: "dict[str, str]" = {}
    for name in _STAR_IMPORT.findall(source):
        try:
            found.update(names_in_source(importlib.util.resolve_name(name, package), depth + 1))
        except ImportError:  # the relative import leaves the package
            continue
    modules = submodules(module)
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            name = symbol.get_name()
            kind = "module" if name in modules else "variable"
            found[name] = str(symbol.get_namespaces()[0].get_type()) if symbol.is_namespace() else kind
    return found


def _source_file(module: str) -> Optional[str]:
    name = module.rpartition(".")[2]
    for directory in _search_path(module):
        for file in (os.path.join(directory, name, "__init__.py"), os.path.join(directory, f"{name}.py")):
            if os.path.isfile(file):
                return file
    return None


def _package_directories(package: str) -> "list[str]":
    module = loaded(package)
    if module is not None:
        directories = instance_dict(module).get("__path__", ())
        try:
            return [directory for directory in directories if type(directory) is str]
        except Exception:  # `__path__` may be any object
            return []
    name = package.rpartition(".")[2]
    candidates = (os.path.join(directory, name) for directory in _search_path(package))
    return [directory for directory in candidates if os.path.isdir(directory)]


def _search_path(module: str) -> "Iterator[str]":
    """Yield the directories in which a module is searched."""
    parent = module.rpartition(".")[0]
    for directory in _package_directories(parent) if parent else list(sys.path):
        if type(directory) is str:
            yield directory or os.curdir


def _in_directory(directory: str) -> "frozenset[str]":
    try:
        changed = os.stat(directory).st_mtime_ns
        known = _modules.get(directory)
        if known is not None and known[0] == changed:
            return known[1]
        found = frozenset(filter(None, map(_module_name, os.scandir(directory))))
    except OSError:  # a zip file, or not readable
        return frozenset()
    if len(_modules) < _MAX_DIRECTORIES:
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
