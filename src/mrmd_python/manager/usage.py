"""The processes of a runtime on this machine, and their use of memory and GPU memory."""

import os
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

from mrmd_python.runtime import processes
from mrmd_python.runtime.marker import VARIABLE

_NVIDIA_SMI_SECONDS = 5.0


@dataclass(frozen=True)
class Usage:
    """The resource use of a set of processes."""

    processes: int
    # Bytes: private memory, and a proportional share of shared memory.
    memory: int
    # Bytes, or None if unknown, or if no process has a GPU open.
    gpu_memory: int | None


def processes_of(server_pid: int | None, marker: str | None) -> set[int]:
    """Return the pids of a runtime: the live server, the processes with its marker, and the descendants of both."""
    roots = {server_pid} if server_pid is not None else set()
    marked = processes.with_variable(VARIABLE, marker) if marker is not None else set()
    return roots | {process.pid for process in marked | processes.descendants(roots)}


def usage_of(pids: Collection[int]) -> Usage:
    """Return the resource use of these processes."""
    return Usage(len(pids), sum(map(processes.memory, pids)), _gpu_memory(pids))


def _gpu_memory(pids: Collection[int]) -> int | None:
    """Return the bytes that NVIDIA's driver has allocated for these pids (nvidia-smi(1), --query-compute-apps)."""
    if not any(map(_has_gpu_open, pids)):
        return None
    try:
        command = ["nvidia-smi", "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"]
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = [line.split(",") for line in answer.stdout.splitlines()]
    held = [int(row[1]) for row in rows if len(row) == 2 and row[1].strip().isdecimal() and int(row[0]) in pids]
    return sum(held) * 1024 * 1024 if held else None


def _has_gpu_open(pid: int) -> bool:
    try:
        descriptors = list(os.scandir(f"/proc/{pid}/fd"))
        return any(os.readlink(entry.path).startswith("/dev/nvidia") for entry in descriptors)
    except OSError:
        return False
