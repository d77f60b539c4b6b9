"""The token that clients of a runtime must send, and the file that holds it.

It is never in an argument, a unit, a log, an error or the environment of a session, where others could see it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import read_file, write_atomically

VARIABLE = "MRMD_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what may follow "Bearer " (RFC 6750, section 2.1)
_SHORTEST = 16


def from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the token in MRMD_TOKEN, or None.

    Raises:
        ServiceError: it is too short, or has characters that a header cannot have.
    """
    token = environ.get(VARIABLE)
    if not token:
        return None
    if len(token) < _SHORTEST or not _TOKEN.fullmatch(token):
        raise ServiceError(
            f"{VARIABLE} must be {_SHORTEST} or more letters, digits and . _ ~ + / -; unset it to get a generated one"
        )
    return token


def write(path: Path, environ: Mapping[str, str]) -> None:
    """Write the token in MRMD_TOKEN, or a new one, with mode 0600.

    Raises:
        ServiceError: it is invalid, or the file cannot be written.
    """
    import secrets  # slow to import, and the server only reads

    token = from_environment(environ) or secrets.token_urlsafe(32)
    try:
        write_atomically(path, f"{token}\n".encode())
    except OSError as error:
        raise ServiceError(f"cannot write {path}: {error.strerror}") from None


def read(path: Path) -> str:
    """Return the token in a file.

    Raises:
        ServiceError: the file is missing, unreadable or empty.
    """
    try:
        token = read_file(path).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"cannot read the token from {path}: {getattr(error, 'strerror', error)}") from None
    if not token:
        raise ServiceError(f"cannot read the token from {path}: it is empty")
    return token
