"""Locks: files that one process at a time holds, until it releases them or ends (flock(2))."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mrmd_python.runtime.links import open_file

# The errors of a file system without locks: NFS without lockd(8), Lustre without its mount option flock, some of FUSE.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for its current holder, and remove it afterwards."""
    descriptor = _open_locked(path, wait=True)
    assert descriptor is not None
    try:
        if is_end_requested(path):
            os.truncate(path, 0)  # of the last holder
        yield
    finally:
        release(path, descriptor)


def claim(path: Path) -> int | None:
    """Lock `path` until it is released or this process ends; return the descriptor, or None if it is held."""
    return _open_locked(path, wait=False)


def release(path: Path, descriptor: int) -> None:
    """Remove a lock file that this process holds, and release it."""
    with suppress(OSError):  # the disk may have become read-only
        path.unlink()
    with suppress(OSError):
        _local(path).unlink()
    os.close(descriptor)


def request_end(path: Path) -> None:
    """Ask the process that holds a lock file to give up what it does, by writing to the file."""
    with suppress(OSError), open(open_file(path, os.O_WRONLY), "wb") as file:
        file.write(b"end\n")


def is_end_requested(path: Path) -> bool:
    """Return whether the holder of a lock file, this process, is asked to give up."""
    return path.exists() and path.stat().st_size > 0


def is_claimed(path: Path) -> bool:
    """Return whether a live process holds the claim `path`; remove the file if none does."""
    if not path.exists():
        return False
    descriptor = _open_locked(path, wait=False)
    if descriptor is None:
        return True
    release(path, descriptor)
    return False


def _open_locked(path: Path, *, wait: bool) -> int | None:
    """Lock `path` and return the descriptor, or None if another process holds it and `wait` is false.

    Where the file system has no locks, lock a file in a local directory instead. That excludes the processes of this
    machine only.
    """
    try:
        return _flock(path, wait=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    local = _local(path)
    _make_local_directory(local.parent)
    descriptor = _flock(local, wait=wait)
    if descriptor is not None:
        os.close(_open(path))  # the last holder may have removed it
    return descriptor


def _flock(path: Path, *, wait: bool) -> int | None:
    """Lock the file `path` and return its descriptor, or None if another process holds it and `wait` is false.

    The holder may remove the file, so a lock counts only if the locked file still has that name.
    """
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
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


def _open(path: Path) -> int:
    """Open a lock file, and create it if there is none; on a read-only disk, open one that exists."""
    try:
        return open_file(path, os.O_RDWR | os.O_CREAT)
    except OSError:
        with suppress(OSError):
            return open_file(path, os.O_RDONLY)
        raise


def _local(path: Path) -> Path:
    """Return the file that is locked instead of `path`, named by the directory of `path`."""
    directory = path.parent.stat()
    private = Path(f"/tmp/mrmd-python-{os.geteuid()}")  # noqa: S108 - `_make_local_directory` checks its owner
    return private / f"{directory.st_dev:x}-{directory.st_ino:x}-{path.name}"


def _make_local_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a directory of this user alone; remove it", str(directory))
