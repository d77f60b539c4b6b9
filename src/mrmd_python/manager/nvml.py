"""Queries of NVIDIA's driver through its management library, NVML."""

from collections.abc import Iterable, Iterator
from typing import Any

import pynvml

from mrmd_python.manager.gpu import GpuMemory

# The second one means that the driver is older than the function.
_ERRORS = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError)


def memory_of_all_processes() -> Iterator[GpuMemory]:
    """Yield what each process has allocated on each GPU; nothing if the driver does not answer."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except _ERRORS:  # there is no library, or one that does not fit the driver
        return
    for index in range(count):
        try:
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(device)
        except _ERRORS:  # it is lost, or may not be used
            continue
        for pid, memory in _memory(device).items():
            yield GpuMemory(index, name, pid, memory)


def _memory(device: Any) -> dict[int, int | None]:
    """Return the bytes that each process has allocated on a GPU, on all its MIG devices together."""
    found: dict[int, int | None] = {}
    for part in _parts(device):
        # Two entries of a process have the same amount.
        for pid, memory in {each.pid: each.usedGpuMemory for each in _processes(part)}.items():
            before = found.get(pid)
            found[pid] = memory if before is None else before + (memory or 0)
    return found


def _parts(device: Any) -> list[Any]:
    """Return the MIG devices of a GPU that is divided into such, else the GPU.

    Only root may query a divided GPU as a whole (nvml.h, nvmlDeviceGetComputeRunningProcesses).
    """
    try:
        if pynvml.nvmlDeviceGetMigMode(device)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return [device]
        indexes = range(pynvml.nvmlDeviceGetMaxMigDeviceCount(device))
    except _ERRORS:  # it has no MIG
        return [device]
    return list(_mig_devices(device, indexes))


def _mig_devices(device: Any, indexes: Iterable[int]) -> Iterator[Any]:
    for index in indexes:
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
        except _ERRORS:  # no device has this index
            continue


def _processes(part: Any) -> Iterator[Any]:
    """Yield the entries of processes that compute and of those that draw; one that does both has two."""
    for query in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        try:
            yield from query(part)
        except _ERRORS:  # not supported, e.g. in MIG mode
            continue
