"""Which processes a runtime has, and what they hold: memory and, where there is one, that of the GPU."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrmd_python.service.marker import marked
from mrmd_python.service.registry import Record

if TYPE_CHECKING:
    from psutil import Process

_NVIDIA_SMI_SECONDS = 5.0


@dataclass(frozen=True)
class Usage:
    """What a set of processes holds."""

    processes: int
    memory: int
    """Bytes: private memory, and of what is shared their share."""
    gpu_memory: int | None
    """Bytes, or None if it cannot be told or none of them has a GPU open."""


def processes_of(record: Record | None, marker: str | None) -> "set[Process]":
    """Return the processes of a runtime: the server, all below it, and what carries its marker."""
    import psutil

    found = set(marked(marker)) if marker is not None else set()
    if record is not None and record.is_alive():
        try:
            server = psutil.Process(record.pid)
            found |= {server, *server.children(recursive=True)}
        except psutil.Error:
            pass
    return found


def usage_of(processes: "Iterable[Process]") -> Usage:
    """Return what these processes hold."""
    found = list(processes)
    return Usage(len(found), sum(map(memory_of, found)), _gpu_memory({process.pid for process in found}))


def memory_of(process: "Process") -> int:
    """Return the bytes of a process's own, or 0 if it is gone or another user's."""
    import psutil

    try:
        full = process.memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(getattr(full, "pss", 0) or full.uss)  # Linux tells the first, macOS the second


def _gpu_memory(pids: set[int]) -> int | None:
    """Return the bytes that NVIDIA's driver holds for these pids (nvidia-smi(1), --query-compute-apps)."""
    program = shutil.which("nvidia-smi")
    if program is None or not any(map(_has_gpu_open, pids)):
        return None
    try:
        answer = subprocess.run(
            [program, "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_NVIDIA_SMI_SECONDS,
            check=False,
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
