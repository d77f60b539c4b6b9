"""Processes: finds them by their parent or a mark that they have inherited, and ends them.

The standard library must be enough: the reaper runs without site-packages, and short commands should start fast.
"""

import os
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from mrmd_python.runtime import ServiceError, shared_memory

if sys.platform == "linux":
    from mrmd_python.runtime import procfs as kernel
else:
    from mrmd_python.runtime import libproc as kernel

boot_id, pid_namespace, coalition = kernel.boot_id, kernel.pid_namespace, kernel.coalition
is_own, memory = kernel.is_own, kernel.memory

_KILL_SECONDS = 5.0
# How long multiprocessing's resource trackers may outlive their clients. They ignore SIGTERM, exit after their last
# client, and remove the shared memory and semaphores that it has left.
_TRACKER_SECONDS = 1.0
_MOST_SCANS = 100


class Process(NamedTuple):
    """A process: its pid, which the kernel reuses, and its start time, opaque, which identifies it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the live process with this pid, or None if there is none or only a zombie."""
        found = kernel.read(pid)
        return None if found is None else cls(pid, found[0])

    def boot(self) -> str:
        """Return the id of the boot that this process belongs to."""
        return self.started.rpartition(":")[0]

    def is_alive(self) -> bool:
        """Return whether this process is alive."""
        return Process.of(self.pid) == self

    def age(self) -> float:
        """Return how many seconds ago this process started."""
        return kernel.age(self.pid, self.started)

    def signal(self, number: int) -> bool:
        """Send a signal to this process; return whether it was alive.

        Raises:
            PermissionError: it belongs to another user.
        """
        pidfd = None
        try:
            pidfd = kernel.pidfd(self.pid)
            if not self.is_alive():
                return False
            if pidfd is None or not kernel.send_by_pidfd(pidfd, number):
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        finally:
            if pidfd is not None:
                os.close(pidfd)
        return True

    def terminate(self, seconds: float) -> None:
        """Send SIGTERM and, if it is alive after `seconds`, SIGKILL; return when the process has ended.

        Raises:
            ServiceError: it survives SIGKILL, or belongs to another user.
        """
        if not self.is_alive():
            return
        try:
            for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
                if not self.signal(number) or self._is_gone_within(limit):
                    return
        except PermissionError:
            raise ServiceError(f"process {self.pid} belongs to another user and cannot be ended") from None
        raise ServiceError(
            f"process {self.pid} does not end, not even by SIGKILL: the kernel blocks it, see `ps -lp {self.pid}`"
        )

    def _is_gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            # It is not our child, so it cannot be waited for; a pidfd could be polled, but not on macOS.
            time.sleep(0.005)
        return True


def signal_all(processes: Iterable[Process], number: int) -> set[Process]:
    """Send a signal to each process; return those of other users, which did not get it."""
    foreign = set()
    for process in processes:
        try:
            process.signal(number)
        except PermissionError:
            foreign.add(process)
    return foreign


def end(find: Callable[[], set[Process]], seconds: float) -> Generator[tuple[set[Process], set[Process]], None, None]:
    """SIGTERM all processes that `find` returns, and SIGKILL those that are left after `seconds`.

    A process that is started meanwhile gets no SIGTERM: a handler may have started it to save something.

    Yields, after each pass, the processes that were alive, and those of them that belong to other users and cannot be
    ended. The caller waits between two passes, and closes the generator when none is left.
    """
    foreign: set[Process] = set()
    segments: set[str] = set()
    deadline: float | None = None
    try:
        while True:
            found = find()
            late = None if deadline is None else time.monotonic() - deadline
            if late is None:
                segments = shared_memory.segments_of(process.pid for process in found)
                foreign = signal_all(found, signal.SIGTERM)
                signal_all(found, signal.SIGCONT)  # a stopped process handles SIGTERM only after SIGCONT
                deadline = time.monotonic() + seconds
            elif late >= 0:
                foreign |= _kill(partial(_without_trackers, find) if late < _TRACKER_SECONDS else find)
            yield found, found & foreign
    finally:
        shared_memory.remove_unused(segments)


def _kill(find: Callable[[], set[Process]]) -> set[Process]:
    """SIGKILL all processes that `find` returns; return those of other users, which survive.

    All are stopped first, until `find` returns no new ones: they could fork faster than they are killed. This would not
    do before SIGTERM: when one process of an orphaned group ends, the kernel sends SIGHUP to the stopped ones.
    """
    stopped: set[Process] = set()
    for _ in range(_MOST_SCANS):
        found = find()
        if found <= stopped:
            break
        signal_all(found - stopped, signal.SIGSTOP)
        stopped |= found
    return signal_all(found, signal.SIGKILL)


def _without_trackers(find: Callable[[], set[Process]]) -> set[Process]:
    """Return what `find` returns, without the resource trackers of multiprocessing and joblib."""
    return {process for process in find() if b"resource_tracker" not in kernel.command_line(process.pid)}


class Family:
    """The descendants of some processes, found again and again while they end.

    On Linux they are found by their parents: a subreaper adopts orphans. On macOS, orphans become children of launchd.
    There a process also belongs to the family if a member has forked it, or leads its POSIX session. A member that was
    seen and has ended since counts too.
    """

    def __init__(self, ancestors: Iterable[int]) -> None:
        self._ancestors = set(ancestors)
        # What identifies each ancestor and member, by its pid.
        self._known: dict[int, str] = {}

    def add(self, members: Iterable[Process]) -> None:
        """Add members that `find` might not find."""
        self._known.update(members)

    def find(self) -> set[Process]:
        """Return all live members."""
        alive: dict[int, str] = {}
        children: dict[int, list[Process]] = defaultdict(list)
        forked_by: dict[str, list[Process]] = defaultdict(list)
        in_session_of: dict[int, list[Process]] = defaultdict(list)
        for process, parent in _all():
            alive[process.pid] = process.started
            children[parent].append(process)
            origin = kernel.origin(process.pid)
            if origin is not None:
                forked_by[origin[0]].append(process)
                in_session_of[origin[1]].append(process)
        self._known.update((pid, alive[pid]) for pid in self._ancestors & alive.keys())
        found: set[Process] = set()
        pending = [Process(pid, started) for pid, started in self._known.items()]
        while pending:
            member = pending.pop()
            related = forked_by[member.started]
            if alive.get(member.pid, member.started) == member.started:  # else another process has got its pid
                itself = [member] if member.pid in alive else []
                related = [*related, *children[member.pid], *in_session_of[member.pid], *itself]
            new = {process for process in related if process.pid not in self._ancestors} - found
            found |= new
            pending.extend(new)
        self._known.update(found)
        return found


def descendants(pids: Iterable[int]) -> set[Process]:
    """Return all live descendants of the processes with these pids."""
    return Family(pids).find()


def in_coalition(name: str) -> set[Process]:
    """Return the processes in a coalition of launchd."""
    return {process for process, _ in _all() if coalition(process.pid) == name}


def values_of(variable: str) -> set[str]:
    """Return the values that an environment variable has in all processes."""
    pattern = re.compile(rb"\0%b=([^\0]*)\0" % variable.encode())
    return {os.fsdecode(value) for pid in kernel.pids() for value in pattern.findall(kernel.environ(pid))}


class FileLocks(NamedTuple):
    """A limit of file locks, RLIMIT_LOCKS (getrlimit(2)): the kernel has ignored it since 2.4.25, but passes it on.

    So it can be a mark. A process inherits it, also with an empty environment, and keeps it when it overwrites its
    environment, as setproctitle does.
    """

    # None stands for any.
    soft: int | None
    hard: int

    @classmethod
    def of(cls, pid: int) -> "FileLocks | None":
        """Return the limit of a process, or None if it has ended or is not ours."""
        found = kernel.file_locks(pid)
        return None if found is None else cls(*found)

    @classmethod
    def of_all(cls) -> "set[FileLocks]":
        """Return the limits of all processes."""
        return {limit for limit in map(cls.of, kernel.pids()) if limit is not None}

    def is_of(self, pid: int) -> bool:
        """Return whether a process has this limit."""
        found = FileLocks.of(pid)
        return found is not None and found.hard == self.hard and self.soft in (None, found.soft)


def with_mark(variable: str, value: str, limit: FileLocks) -> set[Process]:
    """Return the processes with an environment variable set to `value` or `value/...` or with a limit of file locks.

    Their descendants are included: on macOS, there is no such limit. The environments of other users' processes cannot
    be read.
    """
    entry = f"\0{variable}={value}".encode()
    found: set[Process] = set()
    for pid in kernel.pids():
        environ = kernel.environ(pid)
        if entry + b"\0" in environ or entry + b"/" in environ or limit.is_of(pid):
            process = Process.of(pid)
            if process is not None:
                found.add(process)
    return found | descendants(process.pid for process in found) if found else found


def _all() -> Iterator[tuple[Process, int]]:
    """Yield every live process and the pid of its parent."""
    for pid in kernel.pids():
        found = kernel.read(pid)
        if found is not None:
            yield Process(pid, found[0]), found[1]
