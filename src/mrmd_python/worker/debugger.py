"""Supports pdb, and debuggers built on it, in a cell."""

import sys
from types import FrameType
from typing import Any, Optional

# Together these patterns match every module name except __main__, where cells run.
_ALL_MODULES_BUT_MAIN = ("[!_]*", "_[!_]*")


def find(caller: FrameType) -> Any:
    """Return the debugger that is asking for input, or None if `caller` is other code."""
    bdb = sys.modules.get("bdb")
    instance = caller.f_locals.get("self")
    return instance if bdb is not None and isinstance(instance, bdb.Bdb) else None


class Steps:
    """Steps a debugger through the code of IPython and of the worker.

    IPython runs each statement of a cell separately. A debugger that steps from one to the next would stop at a dozen
    lines of IPython between them, and in the worker after the last one.
    """

    def __init__(self) -> None:
        self._debugger: Any = None
        self._skip: Any = None

    def next_command(self, debugger: Any) -> Optional[str]:
        """Return the command to give the debugger, or None to ask the user."""
        if self._debugger is not None:
            self._debugger.skip, self._debugger = self._skip, None
        if sys.gettrace() is None:
            return None  # post-mortem debugging
        module = str(debugger.stack[-1][0].f_globals.get("__name__"))
        if module.partition(".")[0] not in ("IPython", __package__):
            return None
        self._debugger, self._skip = debugger, debugger.skip
        debugger.skip = _ALL_MODULES_BUT_MAIN
        return "step"

    def end_cell(self) -> None:
        """Let the debugger stop in the next cell only at breakpoints."""
        if self._debugger is not None:
            self._debugger.set_continue()
            self._debugger.skip, self._debugger = self._skip, None
