"""Reads Linux's /proc directly: a command that needs little of it should not wait for psutil's import."""

import os
import sys
from collections.abc import Iterable, Iterator

IS_HERE = sys.platform == "linux"


def carriers(variable: str, value: str) -> Iterator[int]:
    """Yield the processes whose environment has `variable` set to `value`, or to `value`, a slash and anything.

    Other users' environments cannot be read. See proc_pid_environ(5).
    """
    entry = f"\0{variable}={value}".encode()
    for pid in _pids():
        try:
            environ = _read(f"/proc/{pid}/environ")
            # A main thread that has ended shows none; other threads may still run.
            tasks = [] if environ else os.listdir(f"/proc/{pid}/task")
            others = [_read(f"/proc/{pid}/task/{task}/environ") for task in tasks if task != str(pid)]
        except OSError:
            continue  # gone meanwhile, or another user's
        entries = b"\0".join((b"", environ, *others, b""))
        if entry + b"\0" in entries or entry + b"/" in entries:
            yield pid


def below(pids: Iterable[int]) -> set[int]:
    """Return all descendants of these processes (proc_pid_stat(5), field 4)."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        try:
            parent = int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
        except OSError:
            continue  # gone meanwhile
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    pending = list(pids)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return found


def is_own(pid: int) -> bool:
    """Return whether a process has this user's real and effective uid, or is gone (proc_pid_status(5))."""
    try:
        return f"\nUid:\t{os.getuid()}\t{os.geteuid()}\t".encode() in _read(f"/proc/{pid}/status")
    except OSError:
        return True


def proportional_bytes(pid: int) -> int:
    """Return a process's private memory plus its share of shared memory; 0 if it is gone or another user's.

    This is Pss in proc_pid_smaps(5), summed up in smaps_rollup.
    """
    try:
        text = _read(f"/proc/{pid}/smaps_rollup")
    except OSError:
        return 0
    _, _, rest = text.partition(b"\nPss:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
