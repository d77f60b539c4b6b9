"""Keep files in the working directory from being imported in place of what Python's or IPython's own code means.

The empty entry that stands first on ``sys.path`` in a session is the working directory, as in any notebook. A cell that
says ``import html`` gets the file ``html.py`` there. But IPython and the standard library import many modules late: on
the first error, the first completion, the first result. In a directory that others can write to, a file of such a name
would run although no cell asks for it.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Optional, Sequence

# IPython and what it requires, on every version and platform.
_IPYTHON = frozenset(
    {"IPython", "asttokens", "backcall", "colorama", "decorator", "exceptiongroup", "executing", "jedi", "parso"}
    | {"ipython_pygments_lexers", "matplotlib_inline", "pexpect", "pickleshare", "prompt_toolkit", "psutil"}
    | {"ptyprocess", "pure_eval", "pygments", "stack_data", "traitlets", "typing_extensions", "wcwidth"}
)
# These import, by `__import__` or the import machinery itself, what their caller names: an extension of IPython, say.
_IMPORTS_BY_NAME = frozenset({"IPython.lib.deepreload", "traitlets.utils.importstring"})


class ImportGuard(MetaPathFinder):
    """Answers the imports of IPython's code, of the worker's, and of one standard module by another."""

    def __init__(self) -> None:
        self._standard = getattr(sys, "stdlib_module_names", None) or _standard_modules()
        self._libraries = self._standard | _IPYTHON | {__package__}

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Find the module anywhere but in the working directory if a library asks for it; else leave it to others.

        Raises:
            ModuleNotFoundError: it is nowhere else, as an optional module may be.
        """
        if path is not None:
            return None
        importer = _importer().partition(".")[0]
        if importer not in self._libraries or (importer in self._standard and fullname not in self._standard):
            return None
        for finder in sys.meta_path:
            if finder is PathFinder:
                spec = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry], target)
            elif finder is self or not hasattr(finder, "find_spec"):  # as before PEP 451, up to Python 3.11
                continue
            else:
                spec = finder.find_spec(fullname, None, target)
            if spec is not None:
                return spec
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _importer() -> str:
    """Return the name of the module whose code the import statement is in, "" if a module is imported by name."""
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
    """Return what ``sys.stdlib_module_names`` is from Python 3.10 on, less what other platforms have."""
    directory = os.path.dirname(os.__file__)
    files = [*os.listdir(directory), *os.listdir(os.path.join(directory, "lib-dynload"))]
    optional = {"_winapi", "_winreg", "msvcrt", "nt", "winreg"}  # which standard modules try to import everywhere
    return frozenset({name.partition(".")[0] for name in files} | set(sys.builtin_module_names) | optional)


def install() -> None:
    """Guard imports from now on."""
    sys.meta_path.insert(0, ImportGuard())
