"""pdb, or a debugger that is built on it, as it asks in a cell what to do."""

import sys
from types import FrameType
from typing import Any, Optional

# These patterns match the name of every module but __main__, which is where cells run.
_ALL_BUT_CELLS = ("[!_]*", "_[!_]*")


def find(caller: FrameType) -> Any:
    """Return the debugger that asks, or None if it is other code."""
    bdb = sys.modules.get("bdb")
    itself = caller.f_locals.get("self")
    return itself if bdb is not None and isinstance(itself, bdb.Bdb) else None


class Steps:
    """Keeps a debugger out of the code of IPython and the worker.

    IPython runs each statement of a cell by itself, so that a debugger which steps from one to the next would stop at
    a dozen lines of IPython between them, and in the worker after the last one.
    """

    def __init__(self) -> None:
        self._debugger: Any = None
        self._skip: Any = None

    def next_command(self, debugger: Any) -> Optional[str]:
        """Return what to answer the debugger; None if the user is to say."""
        if self._debugger is not None:
            self._debugger.skip, self._debugger = self._skip, None
        if sys.gettrace() is None:
            return None  # it looks at an error that is over
        module = str(debugger.stack[-1][0].f_globals.get("__name__"))
        if module.partition(".")[0] not in ("IPython", __package__):
            return None
        self._debugger, self._skip = debugger, debugger.skip
        debugger.skip = _ALL_BUT_CELLS
        return "step"

    def end_cell(self) -> None:
        """Have the debugger not stop in the next cell, except at a breakpoint."""
        if self._debugger is not None:
            self._debugger.set_continue()
            self._debugger.skip, self._debugger = self._skip, None
