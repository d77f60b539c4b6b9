"""GPU memory of processes, as NVIDIA's driver reports it."""

import os
import threading
from collections.abc import Collection
from typing import NamedTuple

# A driver that waits for a broken GPU does not answer.
_ANSWER_SECONDS = 5.0


class GpuMemory(NamedTuple):
    """What a process has allocated on a GPU."""

    # The index and the name, as nvidia-smi(1) shows them.
    gpu: int
    name: str
    pid: int
    # Bytes, or None if the driver does not know.
    memory: int | None


def has_driver() -> bool:
    """Return whether NVIDIA's driver is loaded, and can be reached from here."""
    return os.path.exists("/dev/nvidiactl")


def held_by(pids: Collection[int]) -> list[GpuMemory]:
    """Return what these processes have allocated, by GPU and process; empty if none has a GPU open, or if unknown.

    In a container, the driver may report pids of the host. Such a pid may be that of another process here, but hardly
    of one that has a GPU open.
    """
    users = set(filter(_has_gpu_open, pids)) if has_driver() else set()
    if not users:
        return []
    answer: list[GpuMemory] = []
    thread = threading.Thread(target=_ask_driver, args=(answer,), daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return sorted((held for held in answer if held.pid in users), key=lambda held: (held.gpu, held.pid))


def total(found: Collection[GpuMemory]) -> int | None:
    """Return the bytes of all these together, or None if none is known."""
    known = [held.memory for held in found if held.memory is not None]
    return sum(known) if known else None


def _has_gpu_open(pid: int) -> bool:
    try:
        descriptors = list(os.scandir(f"/proc/{pid}/fd"))
        return any(os.readlink(entry.path).startswith("/dev/nvidia") for entry in descriptors)
    except OSError:
        return False


def _ask_driver(answer: list[GpuMemory]) -> None:
    # To import NVML's bindings and to start it takes a tenth of a second, or several where no process has a GPU open.
    from mrmd_python.manager import nvml

    answer.extend(nvml.memory_of_all_processes())
