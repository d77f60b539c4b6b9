"""The marker: an environment variable of every process of a runtime, by which they are found and killed.

So the processes are ended that the reaper missed, and that are not in the cgroup of a unit. On Linux, processes of
sessions have a resource limit too that has no other effect: setproctitle overwrites the environment, not the limit.
On macOS, the environment of Apple's own programs is hidden. There an agent's processes share a coalition of their own.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from mrmd_python.runtime import ServiceError, processes
from mrmd_python.runtime.processes import FileLocks, Process

VARIABLE = "MRMD_RUNTIME"
_SWEEP_SECONDS = 10.0
# The pause between two passes of `processes.end`, which reads the environment of each process.
PAUSE_SECONDS = 0.02
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


def file_locks(marker: str) -> FileLocks:
    """Return the limit of file locks that processes with this marker have too, beginning with those of a session."""
    runtime, *sessions = marker.rpartition(":")[2].split("/")
    # Larger than every soft limit, as it must be, and lower than no limit.
    return FileLocks(_number(sessions[-1]) if sessions else None, 2**62 + _number(runtime))


def _number(digits: str) -> int:
    return int(digits[:15], 16)


def carriers(marker: str, coalition: str | None = None) -> set[Process]:
    """Return every process with `marker` or a session's marker below it, or in `coalition`, and their descendants."""
    assert _MARKER.fullmatch(marker), marker
    found = processes.with_mark(VARIABLE, marker, file_locks(marker))
    return found if coalition is None else found | processes.in_coalition(coalition)


def own_coalition() -> str | None:
    """Return the coalition of this process, which has no children yet, or None if another process is in it."""
    found = processes.coalition(os.getpid())
    is_own = found is not None and {process.pid for process in processes.in_coalition(found)} == {os.getpid()}
    return found if is_own else None


def carried(markers: Iterable[str]) -> set[str]:
    """Return those of these markers of runtimes that processes carry. It looks at each process once."""
    variables = {value.partition("/")[0] for value in processes.values_of(VARIABLE)}
    limits = {limit.hard for limit in FileLocks.of_all()}
    return {marker for marker in markers if marker in variables or file_locks(marker).hard in limits}


def marked(marker: str, coalition: str | None = None) -> set[Process]:
    """Return the `carriers` of a marker, except this process."""
    return {process for process in carriers(marker, coalition) if process.pid != os.getpid()}


def end_marked(marker: str, seconds: float, coalition: str | None = None) -> Iterator[set[Process]]:
    """SIGTERM all `marked` processes, and SIGKILL them after `seconds`, until only those of other users are left.

    Yields the processes alive in each pass. The caller waits between two passes.
    """
    with closing(processes.end(lambda: marked(marker, coalition), seconds)) as passes:
        for alive, foreign in passes:
            yield alive
            if alive == foreign:
                return


def sweep(marker: str, seconds: float, coalition: str | None = None) -> int:
    """End all `marked` processes as `end_marked` does; return their number when they have ended.

    Raises:
        ServiceError: some survive SIGKILL, or run as another user.
    """
    runtime_id = marker.rpartition(":")[0]
    ended: set[Process] = set()
    deadline = time.monotonic() + seconds + _SWEEP_SECONDS
    alive: set[Process] = set()
    for alive in end_marked(marker, seconds, coalition):
        ended |= alive
        if alive and time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in alive)
            raise ServiceError(f"these processes of {runtime_id!r} do not end, not even by SIGKILL: {pids}")
        if alive:
            time.sleep(PAUSE_SECONDS)  # they are not our children, so they cannot be waited for
    raise_if_alive(alive, runtime_id)
    return len(ended - alive)


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
