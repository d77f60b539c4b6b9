"""Configure the shell by IPython's profile, and run what that wants to be run at the start, as ipykernel does."""

import logging
import sys
from typing import Any

from IPython.core.application import BaseIPythonApplication
from IPython.core.shellapp import InteractiveShellApp
from traitlets import default
from traitlets.config import Config


class _ConfigError(Exception):
    """The configuration is invalid; the log says how."""


class _Warnings(logging.Handler):
    """Keeps what is logged until a cell runs, then writes it to the cell's stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: "list[str]" = []
        self.is_shown = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or write a warning."""
        self._texts.append(self.format(record) + "\n")
        if self.is_shown:
            self.show()

    def show(self) -> None:
        """Write what there is, and from now on write at once."""
        self.is_shown = True
        while self._texts:
            sys.stderr.write(self._texts.pop(0))


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):  # type: ignore[misc]
    """Reads ``ipython_config.py`` and ``ipython_kernel_config.py``, in which ipykernel's classes may have sections.

    A mistake in them must not be the end of the session. It is reported in the first cell.
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
        """Load the extensions and run the startup files and lines, as a part of the cell that is about to run."""
        self.log.handlers[0].show()
        try:
            self.init_gui_pylab()
            self.init_extensions()
            self.init_code()
        except SystemExit:
            self.log.warning("The startup files called sys.exit(): the rest of them was not run")

    def exit(self, exit_status: Any = 0) -> None:
        """Give up the configuration rather than the process."""
        raise _ConfigError
