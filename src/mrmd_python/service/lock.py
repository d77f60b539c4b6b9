"""File locks: one start or kill of an id at a time, and one live server of an id."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _open_locked(path: Path, *, wait: bool) -> int | None:
    """Lock the file `path` and return its descriptor, or None if another holds it and `wait` is false.

    A lock file may be removed by the one who holds it, so the lock counts only if the file still has that name.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it, and remove it afterwards."""
    descriptor = _open_locked(path, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def claim(path: Path) -> int | None:
    """Lock `path` for as long as this process lives; return the descriptor, or None if a live process has it."""
    return _open_locked(path, wait=False)


def is_claimed(path: Path) -> bool:
    """Return whether a live process holds the claim `path`; remove it if none does."""
    if not path.exists():
        return False
    descriptor = _open_locked(path, wait=False)
    if descriptor is None:
        return True
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return False
