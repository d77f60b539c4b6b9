"""Containers: system calls that they refuse, PID 1, and a home that several of them share."""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.machine import MRMD, Machine, wait_until

# Refuses system calls by EPERM (seccomp(2)): SYSCALLS PROGRAM [ARG...]
_REFUSE = """
import ctypes, os, struct, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
ALLOW, EPERM = 0x7FFF0000, 0x00050001
# linux/filter.h: load the number of the call; for each of ours, skip the rest if it is not this one.
lines = [(0x20, 0, 0, 0)]
for number in numbers:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, EPERM)]
lines.append((0x06, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Filter(len(lines), ctypes.addressof(code)))) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434  # asm-generic/unistd.h: the same on every architecture
_START_DETACHED = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True).pid"


@pytest.mark.parametrize("refused", [(_PIDFD_OPEN,), (_PIDFD_SEND_SIGNAL,), (_PIDFD_OPEN, _PIDFD_SEND_SIGNAL)])
def test_processes_end_where_pidfds_are_refused(here: Machine, refused: tuple[int, ...]) -> None:
    numbers = ",".join(map(str, refused))
    sandboxed = dataclasses.replace(here, prefix=[sys.executable, "-c", _REFUSE, numbers])
    client = sandboxed.start("a")
    assert sandboxed.run(sys.executable, "-c", "import os; os.pidfd_open(1)").returncode == (_PIDFD_OPEN in refused)
    deleted = int(client.value(_START_DETACHED))
    assert client.request("DELETE", "/sessions/default") == (200, {"success": True})
    assert here.alive([deleted]) == []
    killed = int(client.value(_START_DETACHED))
    done = sandboxed.mrmd("--kill", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert here.alive([killed, client.pid]) == []
