"""Processes: finds them by their parent or a mark that they have inherited, and ends them.

On Linux it reads /proc, elsewhere it uses psutil. On Linux the standard library must be enough: the reaper runs without
site-packages, and the import of psutil would slow down short commands.
"""

import errno
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from mrmd_python.runtime import ServiceError, shared_memory

_KILL_SECONDS = 5.0
# How long multiprocessing's resource trackers may outlive their clients. They ignore SIGTERM, exit after their last
# client, and remove the shared memory and semaphores that it has left.
_TRACKER_SECONDS = 1.0
_MOST_SCANS = 100
_RLIMIT_LOCKS = 10  # asm-generic/resource.h
_LINUX = sys.platform == "linux"
_boot_id: str | None = None


class Process(NamedTuple):
    """A process: its pid, which the kernel reuses, and its start time, opaque, which identifies it."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the live process with this pid, or None if there is none or only a zombie."""
        found = _read(pid)
        return None if found is None else found[0]

    def boot(self) -> str:
        """Return the id of the boot that this process belongs to; empty on macOS."""
        return self.started.rpartition(":")[0]

    def is_alive(self) -> bool:
        """Return whether this process is alive."""
        return Process.of(self.pid) == self

    def age(self) -> float:
        """Return how many seconds ago this process started, independent of changes of the clock."""
        if _LINUX:
            ticks = int(self.started.rpartition(":")[2])
            return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - float(self.started)

    def signal(self, number: int) -> bool:
        """Send a signal to this process; return whether it was alive.

        Raises:
            PermissionError: it belongs to another user.
        """
        pidfd = None
        try:
            pidfd = _pidfd(self.pid)
            if not self.is_alive():
                return False
            if pidfd is None or not _send_by_pidfd(pidfd, number):
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
    return {process for process in find() if b"resource_tracker" not in _command_line(process.pid)}


def descendants(pids: Iterable[int]) -> set[Process]:
    """Return all live descendants of the processes with these pids."""
    children: dict[int, list[Process]] = {}
    for process, parent in _all():
        children.setdefault(parent, []).append(process)
    found: set[Process] = set()
    pending = list(pids)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found.add(child)
                pending.append(child.pid)
    return found


def values_of(variable: str) -> set[str]:
    """Return the values that an environment variable has in all processes."""
    pattern = re.compile(rb"\0%b=([^\0]*)\0" % variable.encode())
    return {os.fsdecode(value) for pid in _pids() for value in pattern.findall(_environ(pid))}


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
        if sys.platform != "linux":
            return None
        try:
            return cls(*resource.prlimit(pid, _RLIMIT_LOCKS))
        except OSError:
            return None

    @classmethod
    def of_all(cls) -> "set[FileLocks]":
        """Return the limits of all processes."""
        return {limit for limit in map(cls.of, _pids()) if limit is not None}

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
    for pid in _pids():
        environ = _environ(pid)
        if entry + b"\0" in environ or entry + b"/" in environ or limit.is_of(pid):
            process = Process.of(pid)
            if process is not None:
                found.add(process)
    return found | descendants(process.pid for process in found) if found else found


def is_own(pid: int) -> bool:
    """Return whether a process has this user's real and effective uid, or has ended."""
    if _LINUX:
        try:  # proc_pid_status(5)
            return f"\nUid:\t{os.getuid()}\t{os.geteuid()}\t".encode() in _content(f"/proc/{pid}/status")
        except OSError:
            return True
    import psutil

    try:
        return psutil.Process(pid).uids()[:2] == (os.getuid(), os.geteuid())
    except psutil.Error:
        return True


def memory(pid: int) -> int:
    """Return a process's private memory plus its share of shared memory, in bytes; 0 if it has ended or is not ours."""
    if _LINUX:
        try:  # Pss in proc_pid_smaps(5), summed up in smaps_rollup
            _, _, rest = _content(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")
        except OSError:
            return 0
        return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, OSError):
        return 0


def _pids() -> Iterator[int]:
    if _LINUX:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())
    import psutil

    return iter(psutil.pids())


def _all() -> Iterator[tuple[Process, int]]:
    """Yield every live process and the pid of its parent."""
    for pid in _pids():
        found = _read(pid)
        if found is not None:
            yield found


def _read(pid: int) -> tuple[Process, int] | None:
    """Return a live process and the pid of its parent, or None if it has ended."""
    if _LINUX:
        try:
            # proc_pid_stat(5): field 2 is the command name, which may contain spaces and parentheses. Field 3 is the
            # state: Z means that the main thread has ended, but field 20 may count other threads. Field 4 is the
            # parent, and 22 the start in ticks since boot, which does not depend on the clock.
            fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        except OSError:
            return None
        ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
        return None if ended else (Process(pid, f"{boot_id()}:{fields[19].decode()}"), int(fields[1]))
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Process(pid, f"{process.create_time():.6f}"), process.ppid()
    except psutil.Error:
        return None


def _environ(pid: int) -> bytes:
    """Return the environment of a process, a zero byte before and after each variable; empty if it cannot be read."""
    if _LINUX:
        try:
            environ = _content(f"/proc/{pid}/environ")
            # It is empty if the main thread has ended; other threads may still run.
            tasks = [] if environ else os.listdir(f"/proc/{pid}/task")
            others = [_content(f"/proc/{pid}/task/{task}/environ") for task in tasks if task != str(pid)]
        except OSError:
            return b""
        return b"\0".join((b"", environ, *others, b""))
    import psutil

    try:
        variables = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return b""
    return b"".join(f"\0{name}={value}\0".encode(errors="surrogateescape") for name, value in variables.items())


def _command_line(pid: int) -> bytes:
    """Return the arguments of a process, separated by zero bytes; empty if they cannot be read."""
    if _LINUX:
        try:
            return _content(f"/proc/{pid}/cmdline")
        except OSError:
            return b""
    import psutil

    try:
        return b"\0".join(argument.encode(errors="surrogateescape") for argument in psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return b""


def boot_id() -> str:
    """Return the id of this boot, on Linux."""
    global _boot_id
    if _boot_id is None:
        try:
            _boot_id = _content("/proc/sys/kernel/random/boot_id").decode().strip()
        except OSError:  # sandboxes hide it; a pid with the same start in ticks after another boot is then mistaken
            _boot_id = ""
    return _boot_id


def _pidfd(pid: int) -> int | None:
    """Return a pidfd, which never refers to another process, or None where there are none.

    macOS and Linux before 5.3 have none. Sandboxes refuse them, by EPERM (seccomp(2)): pidfd_open(2) itself never does.
    """
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise


def _send_by_pidfd(pidfd: int, number: int) -> bool:
    """Send a signal; return False if that was refused: by a sandbox, or because the process is another user's."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except PermissionError:
        return False
    return True


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
