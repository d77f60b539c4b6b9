"""The marker in the environment of every process of a runtime, and the sweep that ends all that carry it.

The sweep finds what the reaper missed, where no cgroup holds the processes of a runtime or one has left it.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mrmd_python.runtime import ServiceError, procfs

if TYPE_CHECKING:
    from psutil import Process

VARIABLE = "MRMD_RUNTIME"
_SWEEP_SECONDS = 10.0
_MOST_SCANS = 100
_MARKER = re.compile(r"(?P<runtime>[^/]+):[0-9a-f]{32}(?:/[0-9a-f]{16})*")


def new_marker(runtime_id: str) -> str:
    """Return a marker that no other runtime has: ``<id>:<random>``."""
    return f"{runtime_id}:{os.urandom(16).hex()}"


def marker_of(runtime_id: str, environ: Mapping[str, str]) -> str | None:
    """Return the marker of a runtime from an environment, or None if there is no well-formed one of this id.

    Environment files can be edited. A marker decides which processes are killed, so another runtime's, or text that is
    no marker, must never be used.
    """
    match = _MARKER.fullmatch(environ.get(VARIABLE, ""))
    return match[0] if match is not None and match["runtime"] == runtime_id else None


def session_marker(environ: Mapping[str, str]) -> str:
    """Return a new marker for a session: the runtime's plus a random suffix, so a sweep of the runtime finds it too."""
    match = _MARKER.fullmatch(environ.get(VARIABLE, ""))
    return f"{match[0] if match is not None else new_marker('app')}/{os.urandom(8).hex()}"


def sweep(marker: str) -> int:
    """SIGKILL every process that carries `marker` or one below it, and their children, until none is left.

    Returns how many there were. The calling process is left alone.

    Raises:
        ServiceError: some do not end within ten seconds, or run as another user by now.
    """
    assert _MARKER.fullmatch(marker), marker
    if procfs.IS_HERE and not set(procfs.carriers(VARIABLE, marker)) - {os.getpid()}:
        return 0  # as nearly always

    import psutil

    ended: set[Process] = set()
    deadline = time.monotonic() + _SWEEP_SECONDS
    while True:
        found = _frozen(marker)
        foreign = set()
        for process in found:
            try:
                process.kill()  # psutil checks the start time first
            except psutil.AccessDenied:
                foreign.add(process)
            except psutil.NoSuchProcess:
                pass
        if found == foreign or time.monotonic() > deadline:
            break
        psutil.wait_procs(found - foreign, timeout=1)
        ended |= found - foreign
    runtime_id = marker.rpartition(":")[0]
    raise_if_alive(foreign, runtime_id)
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        raise ServiceError(f"these processes of {runtime_id!r} do not end, not even by SIGKILL: {pids}")
    return len(ended)


def _frozen(marker: str) -> "set[Process]":
    """SIGSTOP all that carry `marker` until no new ones appear: they may fork faster than they are killed."""
    import psutil

    stopped: set[Process] = set()
    for _ in range(_MOST_SCANS):
        found = {process for process in marked(marker) if process.pid != os.getpid() and _lives(process)}
        if found <= stopped:
            break
        for process in found - stopped:
            try:
                process.suspend()
            except psutil.Error:
                pass  # it is gone, or another user's, as the attempt to kill it will show
        stopped |= found
    return found


def foreign_descendants(pid: int) -> "set[Process]":
    """Return the descendants of `pid` that run as another user, by a set-user-id program such as sudo.

    They can neither be ended nor, once their parent is gone, be told from other processes.
    """
    if procfs.IS_HERE and all(map(procfs.is_own, procfs.below([pid]))):
        return set()  # as nearly always

    import psutil

    mine = (os.getuid(), os.geteuid())
    try:
        return {child for child in psutil.Process(pid).children(recursive=True) if child.uids()[:2] != mine}
    except psutil.Error:
        return set()


def raise_if_alive(processes: "Iterable[Process]", runtime_id: str) -> None:
    """Raise ServiceError if some of `processes`, which run as another user, are alive."""
    left = ", ".join(str(process.pid) for process in processes if _lives(process))
    if left:
        raise ServiceError(f"these processes of {runtime_id!r} run as another user and cannot be ended: {left}")


def marked(marker: str) -> "Iterator[Process]":
    """Yield every process that carries `marker` or one below it, and the children of each."""
    import psutil

    for process in psutil.process_iter():
        try:
            if any(_carries(environ, marker) for environ in _environments(process)):
                yield process
                # A child may have overwritten its environment, as setproctitle does.
                yield from process.children(recursive=True)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's


def _carries(environ: Mapping[str, str], marker: str) -> bool:
    value = environ.get(VARIABLE)
    return value is not None and (value == marker or value.startswith(f"{marker}/"))


def _environments(process: "Process") -> list[dict[str, str]]:
    """Return the environment of a process or, where its main thread has ended, those that its other threads show."""
    environ = process.environ()
    tasks = Path(f"/proc/{process.pid}/task")
    if environ or not tasks.exists():
        return [environ]
    texts = [(task / "environ").read_bytes().decode(errors="surrogateescape") for task in tasks.iterdir()]
    return [dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry) for text in texts]


def _lives(process: "Process") -> bool:
    import psutil

    try:
        # The main thread of a zombie has ended; others may run on.
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.Error:
        return False
