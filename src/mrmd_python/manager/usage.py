"""The processes of a runtime on this machine, and their use of memory and GPU memory."""

from collections.abc import Collection
from typing import NamedTuple

from mrmd_python.manager import gpu
from mrmd_python.runtime import processes
from mrmd_python.runtime.marker import carriers


class Usage(NamedTuple):
    """The resource use of a set of processes."""

    processes: int
    # Bytes: private memory, and a proportional share of shared memory.
    memory: int
    # Bytes, or None if unknown, or if no process uses a GPU.
    gpu_memory: int | None


def processes_of(server_pid: int | None, marker: str | None, coalition: str | None = None) -> set[int]:
    """Return the pids of a runtime: the live server, the processes with its marker or in its coalition, and theirs."""
    roots = {server_pid} if server_pid is not None else set()
    marked = carriers(marker, coalition) if marker is not None else set()
    return roots | {process.pid for process in marked | processes.descendants(roots)}


def usage_of(pids: Collection[int]) -> Usage:
    """Return the resource use of these processes."""
    return Usage(len(pids), sum(map(processes.memory, pids)), gpu.total(gpu.held_by(pids)))
