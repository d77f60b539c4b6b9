"""How often a server has failed to start in a row, and why: for a service manager that does not count."""

import json
import os
import time
from contextlib import suppress

from mrmd_python.runtime.files import Home, read_file, write_atomically

# After this long, a failed start does not count any more: the last one may have been at the last login.
_COUNTED_SECONDS = 300.0


def begin(home: Home, runtime_id: str) -> int:
    """Count a start as failed, until `forget`; return how many have failed in a row with it."""
    count, reason = _read(home, runtime_id)
    with suppress(OSError):
        if time.time() - os.stat(home.failure(runtime_id)).st_mtime > _COUNTED_SECONDS:
            count = 0
    _write(home, runtime_id, count + 1, reason)
    return count + 1


def explain(home: Home, runtime_id: str, reason: str) -> None:
    """Store why the last start has failed."""
    _write(home, runtime_id, _read(home, runtime_id)[0], reason)


def reason(home: Home, runtime_id: str) -> str | None:
    """Return why the last start has failed; None if it has not, or left no message."""
    return _read(home, runtime_id)[1]


def forget(home: Home, runtime_id: str) -> None:
    """Forget the failed starts: one has succeeded, or the user tries again."""
    with suppress(OSError):
        home.failure(runtime_id).unlink()


def _read(home: Home, runtime_id: str) -> tuple[int, str | None]:
    try:
        found = json.loads(read_file(home.failure(runtime_id)))
        return int(found["count"]), found["reason"]
    except (OSError, ValueError, TypeError, KeyError):
        return 0, None


def _write(home: Home, runtime_id: str, count: int, reason: str | None) -> None:
    with suppress(OSError):  # the disk may be full
        write_atomically(home.failure(runtime_id), json.dumps({"count": count, "reason": reason}).encode())
