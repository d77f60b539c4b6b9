"""Reads about processes in proc(5): which exist, their memory, how often they wake up."""

import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def end_tree(pids: Iterable[int]) -> None:
    """SIGKILL these processes, which were started here, and their descendants."""
    for pid in pids:
        for each in tree(pid):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue


def proportional_bytes(pids: Sequence[int]) -> int:
    """Return the memory of processes; shared pages are divided among the processes that share them (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has used since `reset_peak`."""
    return _status_number(Path(f"/proc/{pid}/status"), "VmHWM:") * 1024


def resident_bytes(pid: int) -> int:
    """Return the memory that a process uses."""
    return _status_number(Path(f"/proc/{pid}/status"), "VmRSS:") * 1024


def reset_peak(pid: int) -> None:
    """Reset `peak_bytes`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def wake_ups(pids: Sequence[int]) -> int:
    """Return how often the threads of processes have gone to sleep and were woken."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(_status_number(task / "status", "voluntary_ctxt_switches:") for task in tasks)


def with_argument(argument: str) -> list[int]:
    """Return the processes that have `argument` on their command line."""
    found = []
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdigit() and argument.encode() in (directory / "cmdline").read_bytes().split(b"\0"):
                found.append(int(directory.name))
        except OSError:
            continue
    return found


def _status_number(status: Path, name: str) -> int:
    for line in status.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"{status} has no {name}")
