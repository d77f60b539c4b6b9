"""Keeps IPython and the standard library from importing files of the working directory.

In a session ``sys.path`` begins with an empty entry, the working directory, as in any notebook: ``import html`` in a
cell gets ``./html.py``. But IPython and the standard library import many modules late: on the first error, the first
completion, the first result. In a directory that others can write to, a file with such a name would run although no
cell imports it.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Optional, Sequence

from .import_hook import LoadHook

# IPython and its dependencies, on all versions and platforms.
_IPYTHON = frozenset(
    {"IPython", "asttokens", "backcall", "colorama", "decorator", "exceptiongroup", "executing", "jedi", "parso"}
    | {"ipython_pygments_lexers", "matplotlib_inline", "pexpect", "pickleshare", "prompt_toolkit", "psutil"}
    | {"ptyprocess", "pure_eval", "pygments", "stack_data", "traitlets", "typing_extensions", "wcwidth"}
)
# These import what their caller names, an extension of IPython for example.
_IMPORTS_BY_NAME = frozenset({"IPython.lib.deepreload", "traitlets.utils.importstring"})


class ImportGuard(MetaPathFinder):
    """Resolves the imports of IPython, of the worker, and of standard modules by one another."""

    def __init__(self) -> None:
        self._standard = getattr(sys, "stdlib_module_names", None) or _standard_modules()
        self._libraries = self._standard | _IPYTHON | {__package__}

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Find the module outside the working directory if a library imports it; else leave it to the other finders.

        Raises:
            ModuleNotFoundError: it is not found elsewhere, as an optional module may not be.
        """
        if path is not None:
            return None
        importer = _importer().partition(".")[0]
        if importer not in self._libraries or (importer in self._standard and fullname not in self._standard):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if finder is PathFinder:
                spec = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry], target)
            elif not hasattr(finder, "find_spec"):  # a finder of before PEP 451, up to Python 3.11
                continue
            else:
                spec = finder.find_spec(fullname, None, target)
            if spec is not None:
                return spec
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _importer() -> str:
    """Return the name of the importing module, or "" if a module is imported by name."""
    frame = sys._getframe(1)
    while True:
        name = frame.f_globals.get("__name__", "")
        if name in _IMPORTS_BY_NAME or name in ("importlib", "importlib.util"):
            return ""
        if frame.f_code.co_name != "find_spec" and not name.startswith("importlib."):
            return str(name)
        if frame.f_back is None:
            return ""
        frame = frame.f_back


def _standard_modules() -> "frozenset[str]":
    """Return ``sys.stdlib_module_names`` for Python 3.9, without the modules of other platforms."""
    directory = os.path.dirname(os.__file__)
    files = [*os.listdir(directory), *os.listdir(os.path.join(directory, "lib-dynload"))]
    # Standard modules try to import these on every platform.
    optional = {"_winapi", "_winreg", "msvcrt", "nt", "winreg"}
    return frozenset({name.partition(".")[0] for name in files} | set(sys.builtin_module_names) | optional)


def install() -> None:
    """Guard imports from now on, also those that `import_hook` has to find: it asks the finders that follow it."""
    position = 1 if isinstance(sys.meta_path[0], LoadHook) else 0
    sys.meta_path.insert(position, ImportGuard())
