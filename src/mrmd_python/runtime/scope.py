"""Where a pid means something: on one host, in one boot of it, in one PID namespace.

Hosts and containers can share a home, and with it the records of runtimes.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from mrmd_python.runtime import processes

# Values of f_type (statfs(2)): ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, overlayfs, ramfs. No two hosts use such a file
# system at a time, so the locks on it are all there are.
_LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0x2FC12FC1, 0xF2F52010, 0x01021994, 0x794C7630, 0x858458F6}


class Scope(NamedTuple):
    """A host, a boot and a PID namespace."""

    hostname: str
    boot: str
    # Empty on macOS, which has none.
    pid_namespace: str

    @classmethod
    def here(cls) -> "Scope":
        """Return the scope of this process."""
        return cls(os.uname().nodename, processes.boot_id(), processes.pid_namespace())

    def is_here(self) -> bool:
        """Return whether pids of this scope mean the same here. The hostname can change while a host runs."""
        here = Scope.here()
        return (self.boot, self.pid_namespace) == (here.boot, here.pid_namespace)

    def is_on_other_host(self) -> bool:
        """Return whether this is another host, and not this one or a container of it before it was rebooted."""
        here = Scope.here()
        return self.boot != here.boot and self.hostname != here.hostname


def has_locks_of_all_hosts(directory: Path) -> bool:
    """Return whether a lock in `directory` that is free here is free on all hosts. Some network file systems differ."""
    if sys.platform != "linux":
        return True
    import ctypes

    found = ctypes.create_string_buffer(1024)  # struct statfs begins with f_type, a long
    status = ctypes.CDLL(None).statfs(os.fsencode(directory), found)
    return status == 0 and ctypes.c_long.from_buffer(found).value in _LOCAL
