"""The server's log: stderr, which the journal or a terminal shows, or a file of a bounded size."""

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FILE_BYTES = 10 * 1024 * 1024


class _DaemonLog(RotatingFileHandler):
    """A log file that descriptors 1 and 2 follow when it is rotated: a crash is told there."""

    def _open(self) -> TextIOWrapper:
        # Each file that it begins is for its owner alone, whatever the umask is.
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def doRollover(self) -> None:  # noqa: N802 - the name in logging
        super().doRollover()
        self.stream = self.stream or self._open()
        for descriptor in (1, 2):
            os.dup2(self.stream.fileno(), descriptor)


def keep_log(file: Path | None) -> None:
    """Log to a file, or to stderr if there is none."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    form = "%(levelname)s: %(message)s"
    if file is not None:
        handler = _DaemonLog(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8", errors="replace")
        form = f"%(asctime)s {form}"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[handler])
