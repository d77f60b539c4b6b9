"""The marker in the environment of every process of a runtime, and the sweep that ends all that carry it.

The sweep finds what the reaper missed, where no cgroup holds the processes of a runtime or one has left it.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping

from mrmd_python.runtime import ServiceError, processes
from mrmd_python.runtime.processes import Process

VARIABLE = "MRMD_RUNTIME"
_SWEEP_SECONDS = 10.0
_PAUSE_SECONDS = 0.005
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


def marked(marker: str) -> set[Process]:
    """Return every process that carries `marker` or one below it, and their descendants, but not this process."""
    assert _MARKER.fullmatch(marker), marker
    return {process for process in processes.carriers(VARIABLE, marker) if process.pid != os.getpid()}


def sweep(marker: str) -> int:
    """SIGKILL every process that carries `marker` or one below it, and their descendants, until none is left.

    Returns how many there were. The calling process is left alone.

    Raises:
        ServiceError: some do not end within ten seconds, or run as another user by now.
    """
    ended: set[Process] = set()
    deadline = time.monotonic() + _SWEEP_SECONDS
    while True:
        found, foreign = processes.kill(lambda: marked(marker))
        if found == foreign or time.monotonic() > deadline:
            break
        ended |= found - foreign
        time.sleep(_PAUSE_SECONDS)  # they are not our children, so they cannot be waited for
    runtime_id = marker.rpartition(":")[0]
    raise_if_alive(foreign, runtime_id)
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        raise ServiceError(f"these processes of {runtime_id!r} do not end, not even by SIGKILL: {pids}")
    return len(ended)


def foreign_descendants(pid: int) -> set[Process]:
    """Return the descendants of `pid` that run as another user, by a set-user-id program such as sudo.

    They can neither be ended nor, once their parent is gone, be told from other processes.
    """
    return {process for process in processes.below([pid]) if not processes.is_own(process.pid)}


def raise_if_alive(foreign: Iterable[Process], runtime_id: str) -> None:
    """Raise ServiceError if some of these processes, which run as another user, are alive."""
    left = ", ".join(str(process.pid) for process in foreign if process.is_alive())
    if left:
        raise ServiceError(f"these processes of {runtime_id!r} run as another user and cannot be ended: {left}")
