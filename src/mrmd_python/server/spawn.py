"""Starting a worker below its reaper. Light: the server does this first of all, and imports the rest meanwhile."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.service.marker import VARIABLE as MARKER

_WORKER = Path(__file__).resolve().parent.parent / "worker"
_PIPE_BYTES = 1 << 20  # what pipe(7) lets an ordinary user have, by default
_F_SETPIPE_SZ = 1031  # linux/fcntl.h; the fcntl module has it from Python 3.10 on, on Linux


@dataclass(frozen=True)
class SpawnedWorker:
    """The server's ends of what it shares with a reaper and its worker."""

    reaper: "subprocess.Popen[bytes]"
    leash: socket.socket
    control: socket.socket
    replies: socket.socket
    """Carries the answers to input()."""
    stdout: int
    stderr: int
    secret: bytes
    """What the worker's marks in its output begin with."""
    marker: str | None = None
    """Of a worker in a program that is not a runtime's server: what all its processes carry in MRMD_RUNTIME."""


Spawn = Callable[[SessionEnvironment], SpawnedWorker]
"""How the worker of a session is started."""


def spawn(environment: SessionEnvironment, marker: str | None = None) -> SpawnedWorker:
    """Start a reaper that starts a worker.

    Args:
        environment: what it is to run in.
        marker: what its processes are to carry in MRMD_RUNTIME, if it is not what this process carries.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    # RS, the record separator, is rare in output, and so the search for the secret fast.
    secret = b"\x1e\x02" + secrets.token_hex(15).encode()
    leash, reaper_leash = socket.socketpair()
    control, worker_control = socket.socketpair()
    replies, worker_replies = socket.socketpair()
    stdout, worker_stdout = _pipe()
    stderr, worker_stderr = _pipe()
    given = [reaper_leash.fileno(), worker_control.fileno(), worker_replies.fileno(), worker_stdout, worker_stderr]
    command = [sys.executable, "-I", "-S", str(_WORKER / "reaper.py"), *map(str, given)]
    command += [environment.cwd, environment.executable, str(_WORKER)]
    try:
        reaper = subprocess.Popen(
            command,
            env=environment.process_environment() | ({} if marker is None else {MARKER: marker}),
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            # A signal to the server's process group must leave the reaper to do its work.
            start_new_session=True,
        )
    except BaseException:
        for descriptor in (leash, control, replies):
            descriptor.close()
        os.close(stdout)
        os.close(stderr)
        raise
    finally:
        reaper_leash.close()
        worker_control.close()
        worker_replies.close()
        os.close(worker_stdout)
        os.close(worker_stderr)
    control.sendall(secret)
    return SpawnedWorker(reaper, leash, control, replies, stdout, stderr, secret, marker)


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        except PermissionError:
            pass  # this user's pipes hold too much already (pipe(7), pipe-user-pages-soft): the default size then
    return reader, writer
