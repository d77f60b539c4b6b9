"""The token that clients of a runtime must show, and the file that it is kept in.

It is in no argument, unit, log or error, and not in the environment of sessions: whoever sees those may be another.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import write_atomically

VARIABLE = "MRMD_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what may follow "Bearer " (RFC 6750, section 2.1)
_SHORTEST = 16


def chosen(environ: Mapping[str, str]) -> str | None:
    """Return the token that an environment names, or None.

    Raises:
        ServiceError: it is too short, or cannot stand in a header.
    """
    token = environ.get(VARIABLE)
    if not token:
        return None
    if len(token) < _SHORTEST or not _TOKEN.fullmatch(token):
        raise ServiceError(
            f"{VARIABLE} must be {_SHORTEST} or more letters, digits and . _ ~ + / -; unset it to have one made"
        )
    return token


def write(path: Path, environ: Mapping[str, str]) -> None:
    """Write the token that an environment names, or else a new one, for its owner alone.

    Raises:
        ServiceError: it is none, or the file cannot be written.
    """
    import secrets  # which the server, who only reads, need not wait for

    token = chosen(environ) or secrets.token_urlsafe(32)
    try:
        write_atomically(path, f"{token}\n".encode())
    except OSError as error:
        raise ServiceError(f"cannot write {path}: {error.strerror}") from None


def read(path: Path) -> str:
    """Return the token in a file.

    Raises:
        ServiceError: it is not there, or not readable, or empty.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"the token cannot be read from {path}: {getattr(error, 'strerror', error)}") from None
    if not token:
        raise ServiceError(f"the token cannot be read from {path}: it is empty")
    return token
