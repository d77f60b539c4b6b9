"""How often the kernel has ended processes of this cgroup because memory ran out."""

import os
from functools import cache
from pathlib import Path

_LONGEST = 1 << 16
"""Bytes, which none of these files has."""


def oom_kills() -> int:
    """Return the kernel's count for this process's cgroup or, where it cannot be read, for the whole system.

    cgroup v2 counts ``oom_kill`` in memory.events, v1 in memory.oom_control, of the cgroup that the victim was in,
    whichever limit it was that ran out (Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst).
    Systems without any of these files have no count: 0.
    """
    for path in [*_of_own_cgroup(), "/proc/vmstat"]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a third of what open() costs, for each execution
        except OSError:
            continue
        try:
            counts = os.read(descriptor, _LONGEST)
        finally:
            os.close(descriptor)
        for line in counts.splitlines():
            name, _, count = line.partition(b" ")
            if name == b"oom_kill":
                return int(count)
    return 0


@cache
def _of_own_cgroup() -> list[str]:
    """Return the files that may hold the count, by cgroups(7): a line is ``HIERARCHY:CONTROLLERS:PATH``."""
    found = []
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        if controllers == "":
            found.append(f"/sys/fs/cgroup/{path}/memory.events")
        elif "memory" in controllers.split(","):
            found.append(f"/sys/fs/cgroup/memory/{path}/memory.oom_control")
    return found
