"""Magics that in IPython need a terminal, an editor or Jupyter: they work as in ipykernel, or say what to use."""

import os
import shlex
import sys

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.utils import openpy

_RUN_PIP = os.path.join(os.path.dirname(__file__), "run_pip.py")
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


@magics_class
class SessionMagics(Magics):  # type: ignore[misc]
    """Magics of a session."""

    @line_magic
    def clear(self, line: str) -> None:
        """Clear the output, in clients that handle terminal escape sequences."""
        self.shell.write_output(_CLEAR_SCREEN)

    cls = line_magic("cls")(clear)

    @line_magic
    def less(self, line: str) -> None:
        """Print a file, with Python code in color."""
        if not line:
            raise UsageError("Missing filename.")
        try:
            text = openpy.read_py_file(line, skip_encoding_cookie=False)
        except OSError as error:
            raise UsageError(f"{line}: {error.strerror}") from None
        page.page(self.shell.pycolorize(text) if line.endswith(".py") else text)

    more = line_magic("more")(less)

    @line_magic
    def man(self, line: str) -> None:
        """Print a manual page."""
        page.page(self.shell.getoutput(f"man {line} | col -b", split=False))

    @line_magic
    def pip(self, line: str) -> None:
        """Run pip for the session's Python."""
        self.shell.system(f"{shlex.quote(sys.executable)} {shlex.quote(_RUN_PIP)} {line}")
        print("Modules that are already imported keep their old version until the session is deleted.")

    @line_magic
    def edit(self, line: str) -> None:
        """Say that there is no editor."""
        raise UsageError("%edit is not available: a session has no editor. Use %load to put code into a cell")

    @line_magic
    def autosave(self, line: str) -> None:
        """Say that the client's editor saves the notebook."""
        print("%autosave does nothing here: the editor saves the notebook")

    @line_magic
    def connect_info(self, line: str) -> None:
        """Say how to connect."""
        print("This is not a Jupyter kernel. `mrmd-python --list` shows the URL of each runtime")

    @line_magic
    def qtconsole(self, line: str) -> None:
        """Say that there is no console."""
        raise UsageError("%qtconsole is not available: this is not a Jupyter kernel")
