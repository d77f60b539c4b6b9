"""The marker: an environment variable of every process of a runtime, by which they are found and killed.

So the processes are ended that the reaper missed, and that are not in the cgroup of a unit.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping

from mrmd_python.runtime import ServiceError, processes
from mrmd_python.runtime.processes import Process

VARIABLE = "MRMD_RUNTIME"
_SWEEP_SECONDS = 10.0
# The pause between two passes of `kill_marked`.
PAUSE_SECONDS = 0.005
_MARKER = re.compile(r"(?P<runtime>[^/]+):[0-9a-f]{32}(?:/[0-9a-f]{16})*")


def new_marker(runtime_id: str) -> str:
    """Return a marker that no other runtime has: ``<id>:<random>``."""
    return f"{runtime_id}:{os.urandom(16).hex()}"


def marker_of(runtime_id: str, environ: Mapping[str, str]) -> str | None:
    """Return the marker of a runtime from an environment, or None if there is no valid one with this id.

    Users can edit environment files. The marker decides which processes are killed, so a marker of another runtime, or
    other text, must never be used.
    """
    match = _MARKER.fullmatch(environ.get(VARIABLE, ""))
    return match[0] if match is not None and match["runtime"] == runtime_id else None


def session_marker(environ: Mapping[str, str]) -> str:
    """Return a new marker for a session: the runtime's plus a random suffix, so a sweep of the runtime finds it too."""
    match = _MARKER.fullmatch(environ.get(VARIABLE, ""))
    return f"{match[0] if match is not None else new_marker('app')}/{os.urandom(8).hex()}"


def marked(marker: str) -> set[Process]:
    """Return every process with `marker` or a session's marker below it, and their descendants, except this process."""
    assert _MARKER.fullmatch(marker), marker
    return {process for process in processes.with_variable(VARIABLE, marker) if process.pid != os.getpid()}


def kill_marked(marker: str) -> Iterator[tuple[set[Process], set[Process]]]:
    """SIGKILL all `marked` processes, again and again until none is left.

    Yields, after each pass, the processes that were killed in it, and those of other users, which cannot be killed. The
    last pass killed none.
    """
    while True:
        found, foreign = processes.kill(lambda: marked(marker))
        yield found - foreign, foreign
        if found == foreign:
            return


def sweep(marker: str) -> int:
    """SIGKILL all `marked` processes; return their number when they have ended.

    Raises:
        ServiceError: some do not end within ten seconds, or run as another user.
    """
    runtime_id = marker.rpartition(":")[0]
    ended: set[Process] = set()
    deadline = time.monotonic() + _SWEEP_SECONDS
    for killed, foreign in kill_marked(marker):
        ended |= killed
        if not killed:
            raise_if_alive(foreign, runtime_id)
        elif time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in killed)
            raise ServiceError(f"these processes of {runtime_id!r} do not end, not even by SIGKILL: {pids}")
        else:
            time.sleep(PAUSE_SECONDS)  # they are not our children, so they cannot be waited for
    return len(ended)


def foreign_descendants(pid: int) -> set[Process]:
    """Return the descendants of `pid` that run as another user, by a set-user-id program such as sudo.

    They cannot be ended and, once their parent has ended, not be distinguished from other processes.
    """
    return {process for process in processes.descendants([pid]) if not processes.is_own(process.pid)}


def raise_if_alive(foreign: Iterable[Process], runtime_id: str) -> None:
    """Raise ServiceError if some of these processes, which run as another user, are alive."""
    left = ", ".join(str(process.pid) for process in foreign if process.is_alive())
    if left:
        raise ServiceError(f"these processes of {runtime_id!r} run as another user and cannot be ended: {left}")
