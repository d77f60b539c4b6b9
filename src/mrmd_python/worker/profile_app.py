"""Configures the shell from the IPython profile and runs its startup files, as ipykernel does."""

import logging
import sys
from typing import Any

from IPython.core.application import BaseIPythonApplication
from IPython.core.shellapp import InteractiveShellApp
from traitlets import default
from traitlets.config import Config


class _ConfigError(Exception):
    """The configuration is invalid; details are in the log."""


class _Warnings(logging.Handler):
    """Keeps log messages until a cell runs, then writes them to the cell's stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: "list[str]" = []
        self.is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or write a warning."""
        self._texts.append(self.format(record) + "\n")
        if self.is_open:
            self.flush_to_cell()

    def flush_to_cell(self) -> None:
        """Write the messages kept so far, and later ones at once."""
        self.is_open = True
        while self._texts:
            sys.stderr.write(self._texts.pop(0))


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):  # type: ignore[misc]
    """Reads ``ipython_config.py`` and ``ipython_kernel_config.py``, in which ipykernel's classes may have sections.

    An error in them does not end the session. It is reported in the first cell.
    """

    name = "ipython-kernel"

    @default("log")
    def _log_default(self) -> logging.Logger:
        log = logging.Logger(self.name)
        log.addHandler(_Warnings())
        return log

    def load(self, defaults: Config) -> None:
        """Find the profile and read its configuration, on top of `defaults`."""
        self.update_config(defaults)
        try:
            self.init_profile_dir()
            self.init_config_files()
            self.load_config_file(suppress_errors=True)
        except _ConfigError:
            pass
        except (Exception, SystemExit):
            self.log.warning("The IPython profile cannot be read:", exc_info=True)
        self.config.InteractiveShell.merge(self.config.ZMQInteractiveShell)

    def run_startup(self) -> None:
        """Load the extensions and run the startup files and lines, as part of the cell that is about to run."""
        self.log.handlers[0].flush_to_cell()
        try:
            self.init_gui_pylab()
            self.init_extensions()
            self.init_code()
        except SystemExit:
            self.log.warning("A startup file called sys.exit(): the rest was not run")

    def exit(self, exit_status: Any = 0) -> None:
        """Stop reading the configuration instead of ending the process."""
        raise _ConfigError
