"""Starting a worker below its reaper. Light: the server does this first of all, and imports the rest meanwhile."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import session_marker
from mrmd_python.server.descriptors import limit_of_children
from mrmd_python.server.environment import SessionEnvironment

_SERVER = Path(__file__).resolve().parent
_WORKER = _SERVER.parent / "worker"
# Without site-packages it starts faster. Elsewhere than on Linux it needs psutil.
_REAPER = [sys.executable, "-I", *(["-S"] if sys.platform == "linux" else []), str(_SERVER / "reaper.py")]
_PIPE_BYTES = 1 << 20  # what pipe(7) lets an ordinary user have, by default
_F_SETPIPE_SZ = 1031  # linux/fcntl.h; the fcntl module has it from Python 3.10 on, on Linux


@dataclass(frozen=True)
class SpawnedWorker:
    """The server's ends of what it shares with a reaper and its worker."""

    reaper: "subprocess.Popen[bytes]"
    leash: socket.socket
    control: socket.socket
    # Carries the answers to input().
    replies: socket.socket
    # Carries questions about the session, and their answers.
    queries: socket.socket
    stdout: int
    stderr: int
    # What the worker's marks in its output begin with.
    secret: str
    # What all its processes carry in MRMD_RUNTIME.
    marker: str


def spawn(environment: SessionEnvironment) -> SpawnedWorker:
    """Start a reaper that starts a worker.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    environ = environment.process_environment()
    marker = session_marker(environ)
    # RS, the record separator, is rare in output, and so the search for the secret fast.
    secret = "\x1e" + os.urandom(16).hex()
    with ExitStack() as theirs, ExitStack() as ours:
        leash, reaper_leash = _pair(ours, theirs)
        control, worker_control = _pair(ours, theirs)
        replies, worker_replies = _pair(ours, theirs)
        queries, worker_queries = _pair(ours, theirs)
        stdout, worker_stdout = _pipe(ours, theirs)
        stderr, worker_stderr = _pipe(ours, theirs)
        given = [reaper_leash, worker_control, worker_replies, worker_queries, worker_stdout, worker_stderr]
        arguments = [*map(str, [*given, limit_of_children()]), environment.cwd, environment.executable, str(_WORKER)]
        reaper = subprocess.Popen(
            [*_REAPER, *arguments],
            env={**environ, MARKER: marker, "MRMD_WORKER_SECRET": secret},
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            # A signal to the server's process group must leave the reaper to do its work.
            start_new_session=True,
        )
        ours.pop_all()
    return SpawnedWorker(reaper, leash, control, replies, queries, stdout, stderr, secret, marker)


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, int]:
    """Return the two ends of a new socket, each to be closed by one of the stacks."""
    here, there = socket.socketpair()
    ours.enter_context(here)
    theirs.enter_context(there)
    return here, there.fileno()


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """Return the two ends of a new pipe, each to be closed by one of the stacks."""
    reader, writer = os.pipe()
    ours.callback(os.close, reader)
    theirs.callback(os.close, writer)
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        except PermissionError:
            pass  # this user's pipes hold too much already (pipe(7), pipe-user-pages-soft): the default size then
    return reader, writer
