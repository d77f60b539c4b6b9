"""Starting a worker below its reaper. Light: the server does this first of all, and imports the rest meanwhile."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import session_marker
from mrmd_python.server.descriptors import limit_of_children
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.subreaper import is_subreaper

_WORKER = Path(__file__).resolve().parent.parent / "worker"
_REAPER = [sys.executable, "-I", "-S", str(_WORKER / "reaper.py")]
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
    queries: socket.socket
    """Carries questions about the session, and their answers."""
    stdout: int
    stderr: int
    secret: bytes
    """What the worker's marks in its output begin with."""
    marker: str | None = None
    """What all its processes carry in MRMD_RUNTIME, if that is its own: where orphans do not come to this process."""


_leashes: "WeakSet[socket.socket]" = WeakSet()


def _let_go() -> None:
    """Close a forked child's copies of the leashes: with them open, the end of its parent would end no session."""
    for leash in list(_leashes):
        if leash.fileno() >= 0:
            os.close(leash.detach())  # close() would wait for the transport that has it


os.register_at_fork(after_in_child=_let_go)


def spawn(environment: SessionEnvironment) -> SpawnedWorker:
    """Start a reaper that starts a worker.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    return spawn_program([environment.executable, str(_WORKER)], environment.process_environment(), environment.cwd)


def spawn_program(program: Sequence[str], environ: Mapping[str, str], cwd: str) -> SpawnedWorker:
    """Start a reaper that starts a program which speaks as a worker does.

    Raises:
        OSError: there are no more processes or descriptors to be had.
    """
    marker = None if is_subreaper() else session_marker(environ)
    # RS, the record separator, is rare in output, and so the search for the secret fast.
    secret = b"\x1e\x02" + os.urandom(15).hex().encode()
    with ExitStack() as theirs, ExitStack() as ours:
        leash, reaper_leash = _pair(ours, theirs)
        control, worker_control = _pair(ours, theirs)
        replies, worker_replies = _pair(ours, theirs)
        queries, worker_queries = _pair(ours, theirs)
        stdout, worker_stdout = _pipe(ours, theirs)
        stderr, worker_stderr = _pipe(ours, theirs)
        control.sendall(secret)  # before there is anyone to read it, who might be gone again already
        given = [reaper_leash, worker_control, worker_replies, worker_queries, worker_stdout, worker_stderr]
        reaper = subprocess.Popen(
            [*_REAPER, *map(str, [*given, limit_of_children()]), cwd, *program],
            env={**environ, **({} if marker is None else {MARKER: marker})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            # A signal to the server's process group must leave the reaper to do its work.
            start_new_session=True,
        )
        ours.pop_all()
    _leashes.add(leash)
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
