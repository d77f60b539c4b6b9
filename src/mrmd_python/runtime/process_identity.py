"""Identifies a process by pid and start time, since the kernel reuses pids."""

import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mrmd_python.runtime import ServiceError

_TERM_SECONDS = 8.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: its pid, and an opaque start time that no other process with that pid has."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Return the identity of the live process `pid`, or None if there is none or only a zombie."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    def is_alive(self) -> bool:
        """Return whether this process is alive."""
        return _started(self.pid) == self.started

    def age(self) -> float:
        """Return how many seconds ago this process started, independent of changes of the clock."""
        if sys.platform == "linux":
            ticks = int(self.started.rpartition(":")[2])
            return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - float(self.started)

    def signal(self, number: int) -> bool:
        """Send a signal to this process; return whether it was alive to get it.

        Raises:
            PermissionError: it belongs to another user.
        """
        pidfd = None
        try:
            pidfd = _pidfd(self.pid)
            if not self.is_alive():
                return False
            if pidfd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        finally:
            if pidfd is not None:
                os.close(pidfd)
        return True

    def terminate(self) -> None:
        """Send SIGTERM, then SIGKILL if that does not end it; return once the process is gone.

        Raises:
            ServiceError: it survives SIGKILL, or belongs to another user.
        """
        if not self.is_alive():
            return
        try:
            for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
                if not self.signal(number) or self._is_gone_within(seconds):
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


def _pidfd(pid: int) -> int | None:
    """Return a pidfd, which never refers to another process, or None where there are none: macOS, Linux before 5.3."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return None
        raise


def _started(pid: int) -> str | None:
    if sys.platform != "linux":
        return _started_by_psutil(pid)
    try:
        # proc_pid_stat(5): field 22 is the start in ticks since boot, which no change of the clock affects. State Z,
        # field 3, means only that the main thread has ended if field 20 counts other threads. The command name, field
        # 2, may contain spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return None if ended else f"{boot}:{fields[19].decode()}"


def _started_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.6f}"
    except psutil.Error:
        return None
