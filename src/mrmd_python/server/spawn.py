"""Starts a reaper and its worker. It imports little: the server does this first, and its other imports meanwhile."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import file_locks, session_marker
from mrmd_python.server.descriptors import limit_of_children
from mrmd_python.server.environment import SessionEnvironment

_SERVER = Path(__file__).resolve().parent
_WORKER = _SERVER.parent / "worker"
_REAPER = [sys.executable, "-I", "-S", str(_SERVER / "reaper.py")]  # it starts faster without site-packages (-S)
_PIPE_BYTES = 1 << 20  # the default limit for ordinary users (pipe(7), pipe-max-size)


class SpawnedWorker(NamedTuple):
    """A reaper and its worker, and the server's ends of their sockets and pipes."""

    reaper: "subprocess.Popen[bytes]"
    reaper_socket: socket.socket
    control: socket.socket
    # Carries the answers to input().
    replies: socket.socket
    # Carries queries about the session's objects, and the answers.
    queries: socket.socket
    stdout: int
    stderr: int
    # The start of each mark that the worker writes to its output.
    secret: str
    # The value of MRMD_RUNTIME in all its processes.
    marker: str
    # How many seconds its processes may take to end after SIGTERM.
    stop_timeout: int


def spawn(environment: SessionEnvironment, stop_timeout: int) -> SpawnedWorker:
    """Start a reaper that starts a worker. Its processes may take `stop_timeout` seconds to end after SIGTERM.

    Raises:
        OSError: the limit of processes or descriptors is reached.
    """
    environ = environment.process_environment()
    marker = session_marker(environ)
    # It starts with RS, the record separator: this is rare in output, so the search for the secret is fast.
    secret = "\x1e" + os.urandom(16).hex()
    with ExitStack() as theirs, ExitStack() as ours:
        reaper_socket, server_socket = _pair(ours, theirs)
        control, worker_control = _pair(ours, theirs)
        replies, worker_replies = _pair(ours, theirs)
        queries, worker_queries = _pair(ours, theirs)
        stdout, worker_stdout = _pipe(ours, theirs)
        stderr, worker_stderr = _pipe(ours, theirs)
        given = [server_socket, worker_control, worker_replies, worker_queries, worker_stdout, worker_stderr]
        numbers = [*given, limit_of_children(), stop_timeout, *file_locks(marker)]
        arguments = [*map(str, numbers), environment.cwd, environment.executable, str(_WORKER)]
        reaper = subprocess.Popen(
            [*_REAPER, *arguments],
            env={**environ, MARKER: marker, "MRMD_WORKER_SECRET": secret},
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            # So that a signal to the server's process group does not end the reaper.
            start_new_session=True,
        )
        ours.pop_all()
    return SpawnedWorker(reaper, reaper_socket, control, replies, queries, stdout, stderr, secret, marker, stop_timeout)


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, int]:
    """Return the two ends of a new socket pair. Each stack closes one."""
    here, there = socket.socketpair()
    ours.enter_context(here)
    theirs.enter_context(there)
    return here, there.fileno()


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """Return the two ends of a new pipe. Each stack closes one."""
    reader, writer = os.pipe()
    ours.callback(os.close, reader)
    theirs.callback(os.close, writer)
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except PermissionError:
            pass  # the user has reached pipe-user-pages-soft (pipe(7)): the pipe keeps its default size
    return reader, writer
