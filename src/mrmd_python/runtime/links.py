"""Opens files of the home without following links."""

import errno
import os
from pathlib import Path


def open_file(path: Path, flags: int) -> int:
    """Open a file in the home, or create it with mode 0600, without following a link.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path)) from None
        raise
