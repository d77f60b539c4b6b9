"""Shared memory that processes leave behind when they are killed: files in /dev/shm (shm_overview(7))."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress

# Only names that multiprocessing, joblib, PyTorch and NCCL make up: a user may keep other files there, such as models.
_SEGMENT = re.compile(
    r"/dev/shm/(psm_[0-9a-f]{8}|sem\.(mp|loky)-[\w-]+|torch_\d+_\d+_\d+|nccl-\w{6})"  # noqa: S108
)


def segments_of(pids: Iterable[int]) -> set[str]:
    """Return the paths of the shared memory and semaphores that these processes have mapped."""
    return {path for pid in pids for path in _mapped(pid)}


def remove_unused(segments: Iterable[str]) -> None:
    """Remove those segments of this user that no process has mapped."""
    left = {path for path in segments if _is_own(path)}
    if left:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        for path in left - segments_of(pids):
            with suppress(FileNotFoundError):  # a resource tracker has just removed it
                os.unlink(path)


def _mapped(pid: int) -> set[str]:
    try:
        with open(f"/proc/{pid}/maps", errors="replace") as maps:  # proc_pid_maps(5)
            fields = [line.split(maxsplit=5) for line in maps if " /dev/shm/" in line]
    except OSError:  # it has ended, belongs to another user, or this is not Linux
        return set()
    return {each[5].rstrip("\n") for each in fields}


def _is_own(path: str) -> bool:
    try:
        return _SEGMENT.fullmatch(path) is not None and os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False
