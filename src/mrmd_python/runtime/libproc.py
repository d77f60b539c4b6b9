"""What macOS knows of processes, from libproc and sysctl(3). `procfs` has the same functions for Linux.

No function here needs a privilege. The layouts are from XNU (https://github.com/apple-oss-distributions/xnu):
bsd/sys/proc_info.h, bsd/sys/proc_info_private.h and bsd/sys/resource.h.
"""

import ctypes
import os
import struct
import time
from collections.abc import Iterator
from itertools import takewhile

# Flavors of proc_pidinfo(): the number, and the size in bytes of the struct that it fills. macOS gives the last three
# for processes of all users, the first for our own.
_BSD_INFO = (3, 136)  # PROC_PIDTBSDINFO, struct proc_bsdinfo
_SHORT_BSD_INFO = (13, 64)  # PROC_PIDT_SHORTBSDINFO, struct proc_bsdshortinfo
_UNIQUE_IDS = (17, 56)  # PROC_PIDUNIQIDENTIFIERINFO, struct proc_uniqidentifierinfo
_COALITION_INFO = (20, 40)  # PROC_PIDCOALITIONINFO, struct proc_pidcoalitioninfo

_RUSAGE_INFO_V0, _RUSAGE_INFO_V0_SIZE = 0, 96  # struct rusage_info_v0
_CTL_KERN, _KERN_PROCARGS2 = 1, 49  # <sys/sysctl.h>
_ARG_MAX = 1 << 20  # <sys/syslimits.h>
_SZOMB = 5  # <sys/proc.h>

# libproc is a part of libSystem, which every program has loaded.
_libc = ctypes.CDLL(None, use_errno=True)
_arguments_buffer: ctypes.Array[ctypes.c_char] | None = None
_boot_id: str | None = None


def boot_id() -> str:
    """Return the id of this boot."""
    global _boot_id
    if _boot_id is None:
        value, size = ctypes.create_string_buffer(37), ctypes.c_size_t(37)
        failed = _libc.sysctlbyname(b"kern.bootsessionuuid", value, ctypes.byref(size), None, ctypes.c_size_t(0))
        _boot_id = "" if failed else value.value.decode()
    return _boot_id


def pid_namespace() -> str:
    """Return an empty string: there are none."""
    return ""


def pids() -> Iterator[int]:
    """Return the pids of all processes."""
    room = 1024
    while True:
        found = (ctypes.c_int * room)()
        count = _libc.proc_listallpids(found, ctypes.sizeof(found))
        if count < room:
            return (pid for pid in found[: max(count, 0)] if pid > 0)
        room *= 2


def read(pid: int) -> tuple[str, int] | None:
    """Return what identifies a live process, and the pid of its parent; None if it has ended.

    The kernel counts processes from 1 at each boot. Unlike a start time, this number does not change with the clock,
    which psutil adds to it (https://github.com/giampaolo/psutil/pull/2582).
    """
    ids, info = _pid_info(pid, _UNIQUE_IDS), _pid_info(pid, _SHORT_BSD_INFO)
    if ids is None or info is None:
        return None
    parent, status, _ = decode_short_bsd_info(info)
    return None if status == _SZOMB else (f"{boot_id()}:{decode_unique_ids(ids)[0]}", parent)


def origin(pid: int) -> tuple[str, int] | None:
    """Return what identifies the process that forked this one, alive or not, and the POSIX session; None if it ended.

    These stay when an orphan becomes a child of launchd, PID 1. No other process gets the pid of a session's leader
    while the session has processes.
    """
    ids = _pid_info(pid, _UNIQUE_IDS)
    try:
        return None if ids is None else (f"{boot_id()}:{decode_unique_ids(ids)[1]}", os.getsid(pid))
    except OSError:
        return None


def age(pid: int, started: str) -> float:
    """Return how many seconds ago, by the clock, a process of ours started."""
    info = _pid_info(pid, _BSD_INFO)
    return 0.0 if info is None else max(0.0, time.time() - decode_start(info))


def is_own(pid: int) -> bool:
    """Return whether a process has this user's real and effective uid, or has ended."""
    info = _pid_info(pid, _SHORT_BSD_INFO)
    return info is None or decode_short_bsd_info(info)[2] == (os.getuid(), os.geteuid())


def memory(pid: int) -> int:
    """Return the physical footprint of a process in bytes, as Activity Monitor shows it; 0 if it is not ours.

    This needs no privilege, unlike what psutil calls uss (task_for_pid()).
    """
    usage = ctypes.create_string_buffer(_RUSAGE_INFO_V0_SIZE)
    return 0 if _libc.proc_pid_rusage(pid, _RUSAGE_INFO_V0, usage) else decode_footprint(usage.raw)


def environ(pid: int) -> bytes:
    """Return the environment of a process, a zero byte before and after each variable; empty if it cannot be read.

    The kernel hides those of programs of Apple, such as /bin/sleep, sh, bash and zsh (XNU, bsd/kern/kern_sysctl.c,
    omit_env_vars; https://github.com/giampaolo/psutil/issues/2084).
    """
    return b"".join(b"\0%b\0" % variable for variable in decode_arguments(_arguments(pid))[1])


def command_line(pid: int) -> bytes:
    """Return the arguments of a process, separated by zero bytes; empty if they cannot be read."""
    return b"\0".join(decode_arguments(_arguments(pid))[0])


def coalition(pid: int) -> str | None:
    """Return the coalition of a process, or None if it has ended.

    launchd makes one for each of its jobs. A child inherits it, and no process can leave it. Its number is not used
    again before the next boot (XNU, osfmk/kern/coalition.c).
    """
    info = _pid_info(pid, _COALITION_INFO)
    return None if info is None else f"{boot_id()}:{decode_coalition(info)}"


def file_locks(pid: int) -> tuple[int, int] | None:
    """Return None: there is no such limit."""
    return None


def pidfd(pid: int) -> int | None:
    """Return None: there are none."""
    return None


def send_by_pidfd(descriptor: int, number: int) -> bool:
    """Return False: there are no pidfds."""
    return False


def decode_unique_ids(data: bytes) -> tuple[int, int]:
    """Return p_uniqueid and p_puniqueid of struct proc_uniqidentifierinfo: after a UUID of 16 bytes."""
    unique, parents = struct.unpack_from("=QQ", data, 16)
    return unique, parents


def decode_short_bsd_info(data: bytes) -> tuple[int, int, tuple[int, int]]:
    """Return the parent, the status, and the real and effective uid of struct proc_bsdshortinfo."""
    parent, _, status, _, _, uid, _, ruid = struct.unpack_from("=3I16s4I", data, 4)
    return parent, status, (ruid, uid)


def decode_start(data: bytes) -> float:
    """Return the start of struct proc_bsdinfo, in seconds since the epoch: pbi_start_tvsec and pbi_start_tvusec."""
    seconds, microseconds = struct.unpack_from("=QQ", data, 120)
    return float(seconds + microseconds / 1e6)


def decode_footprint(data: bytes) -> int:
    """Return ri_phys_footprint of struct rusage_info_v0: after a UUID and seven numbers of 8 bytes."""
    (footprint,) = struct.unpack_from("=Q", data, 72)
    return int(footprint)


def decode_coalition(data: bytes) -> int:
    """Return the resource coalition of struct proc_pidcoalitioninfo: the first number (COALITION_TYPE_RESOURCE)."""
    (found,) = struct.unpack_from("=Q", data)
    return int(found)


def decode_arguments(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the arguments and the environment in what KERN_PROCARGS2 returns.

    It is the number of arguments, the path of the program, padding, the arguments, the environment, an empty string,
    and strings for the dynamic linker, each with a zero byte at its end. A hidden environment is left out.
    """
    if len(data) < 4:
        return [], []
    (count,) = struct.unpack_from("=i", data)
    words = data[4:].partition(b"\0")[2].lstrip(b"\0").split(b"\0")
    return words[:count], list(takewhile(bool, words[count:]))


def _pid_info(pid: int, flavor: tuple[int, int]) -> bytes | None:
    """Return the struct that proc_pidinfo() fills, or None if the process has ended or is not ours."""
    number, size = flavor
    data = ctypes.create_string_buffer(size)
    return data.raw if _libc.proc_pidinfo(pid, number, ctypes.c_uint64(0), data, size) == size else None


def _arguments(pid: int) -> bytes:
    """Return the memory of a process with its arguments and environment, or nothing if it is not ours."""
    global _arguments_buffer
    if _arguments_buffer is None:
        _arguments_buffer = ctypes.create_string_buffer(_ARG_MAX)
    name, size = (ctypes.c_int * 3)(_CTL_KERN, _KERN_PROCARGS2, pid), ctypes.c_size_t(_ARG_MAX)
    failed = _libc.sysctl(name, 3, _arguments_buffer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return b"" if failed else ctypes.string_at(_arguments_buffer, size.value)
