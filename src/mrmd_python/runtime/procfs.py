"""What Linux knows of processes, from /proc (proc(5)). `libproc` has the same functions for macOS."""

import errno
import os
import resource
import signal
import time
from collections.abc import Iterator

_RLIMIT_LOCKS = 10  # asm-generic/resource.h
_boot_id: str | None = None


def boot_id() -> str:
    """Return the id of this boot."""
    global _boot_id
    if _boot_id is None:
        try:
            _boot_id = _content("/proc/sys/kernel/random/boot_id").decode().strip()
        except OSError:  # sandboxes hide it; a pid with the same start in ticks after another boot is then mistaken
            _boot_id = ""
    return _boot_id


def pid_namespace() -> str:
    """Return the PID namespace of this process."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # gVisor has none
        return ""


def pids() -> Iterator[int]:
    """Return the pids of all processes."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def read(pid: int) -> tuple[str, int] | None:
    """Return what identifies a live process, and the pid of its parent; None if it has ended."""
    try:
        # proc_pid_stat(5): field 2 is the command name, which may contain spaces and parentheses. Field 3 is the
        # state: Z means that the main thread has ended, but field 20 may count other threads. Field 4 is the
        # parent, and 22 the start in ticks since boot, which does not depend on the clock.
        fields = _content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return None if ended else (f"{boot_id()}:{fields[19].decode()}", int(fields[1]))


def origin(pid: int) -> tuple[str, int] | None:
    """Return None: orphans become children of a subreaper, so they need no other way to be found."""
    return None


def age(pid: int, started: str) -> float:
    """Return how many seconds ago a process started, independent of changes of the clock."""
    ticks = int(started.rpartition(":")[2])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def is_own(pid: int) -> bool:
    """Return whether a process has this user's real and effective uid, or has ended."""
    try:  # proc_pid_status(5)
        return f"\nUid:\t{os.getuid()}\t{os.geteuid()}\t".encode() in _content(f"/proc/{pid}/status")
    except OSError:
        return True


def memory(pid: int) -> int:
    """Return a process's private memory plus its share of shared memory, in bytes; 0 if it has ended or is not ours."""
    try:  # Pss in proc_pid_smaps(5), summed up in smaps_rollup
        _, _, rest = _content(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def environ(pid: int) -> bytes:
    """Return the environment of a process, a zero byte before and after each variable; empty if it cannot be read."""
    try:
        found = _content(f"/proc/{pid}/environ")
        # It is empty if the main thread has ended; other threads may still run.
        tasks = [] if found else os.listdir(f"/proc/{pid}/task")
        others = [_content(f"/proc/{pid}/task/{task}/environ") for task in tasks if task != str(pid)]
    except OSError:
        return b""
    return b"\0".join((b"", found, *others, b""))


def command_line(pid: int) -> bytes:
    """Return the arguments of a process, separated by zero bytes; empty if they cannot be read."""
    try:
        return _content(f"/proc/{pid}/cmdline")
    except OSError:
        return b""


def coalition(pid: int) -> str | None:
    """Return None: Linux has cgroups instead, and systemd and Slurm end what is in them."""
    return None


def file_locks(pid: int) -> tuple[int, int] | None:
    """Return the soft and hard limit of file locks of a process, or None if it has ended or is not ours."""
    try:
        return resource.prlimit(pid, _RLIMIT_LOCKS)
    except OSError:
        return None


def pidfd(pid: int) -> int | None:
    """Return a pidfd, which never refers to another process, or None where there are none.

    Linux before 5.3 has none. Sandboxes refuse them, by EPERM (seccomp(2)): pidfd_open(2) itself never does.

    Raises:
        ProcessLookupError: the process has ended.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise


def send_by_pidfd(descriptor: int, number: int) -> bool:
    """Send a signal; return False if that was refused: by a sandbox, or because the process is another user's."""
    try:
        signal.pidfd_send_signal(descriptor, number)
    except PermissionError:
        return False
    return True


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
