"""The command line: options in, one call of the manager or the server, text or JSON out."""

import os
import sys


def _prefer_installed_modules() -> None:
    """Search PYTHONPATH and the working directory last: they may have a module named as one that the command needs.

    They are for the code in sessions. A module that is nowhere else is still found there.
    """
    library = os.path.dirname(os.__file__)
    if library in sys.path:
        first = sys.path.index(library)
        sys.path[:] = [*sys.path[first:], *sys.path[:first]]


_prefer_installed_modules()

import signal  # noqa: E402

# While modules are imported, Ctrl-C just ends the command, without a traceback.
if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
