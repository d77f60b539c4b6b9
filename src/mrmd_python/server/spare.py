"""A worker that loads before a session needs it, so that the session starts at once.

It runs no user code meanwhile. It takes memory, so there is one only once it is likely to be used: after a second
session has started, or a worker has crashed.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import SpawnedWorker, spawn
from mrmd_python.server.worker_link import reaper_ended

# How long a spare waits for a session.
_SECONDS = 600.0
# A spare must leave this much memory to others, in bytes. It takes about 30 MB itself.
_FREE_BYTES = 1 << 30

# What identifies the state of a file or directory, or None if there is none.
_State = tuple[int, ...] | None


class _Spare(NamedTuple):
    worker: SpawnedWorker
    environment: SessionEnvironment
    # The files and directories that it loads files from.
    sources: Sequence[str]
    # Their states before it started.
    states: list[_State]
    expiry: asyncio.TimerHandle

    def is_usable(self, environment: SessionEnvironment) -> bool:
        """Return whether it is a worker for this environment that runs and would load the same files now."""
        is_running = self.environment == environment and self.worker.reaper.poll() is None
        return is_running and self.states == _states(environment.cwd, self.sources)


class Spares:
    """At most one spare worker."""

    def __init__(self, stop_timeout: int) -> None:
        self._stop_timeout = stop_timeout
        self._spare: _Spare | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def prepare(self, environment: SessionEnvironment, sources: Sequence[str]) -> None:
        """Start a spare for an environment, if there is memory for one.

        Args:
            environment: the environment of the sessions that may use it.
            sources: the files and directories that a worker loads files from before it runs user code.
        """
        is_ready = self._spare is not None and self._spare.is_usable(environment)
        if self._is_closed or is_ready or not _has_memory():
            return
        self._discard()
        states = _states(environment.cwd, sources)
        try:
            worker = spawn(environment, self._stop_timeout)
        except OSError:
            return  # the limit of processes or descriptors is reached
        expiry = asyncio.get_running_loop().call_later(_SECONDS, self._discard)
        self._spare = _Spare(worker, environment, sources, states, expiry)

    def take(self, environment: SessionEnvironment) -> SpawnedWorker | None:
        """Return the spare, if there is a usable one for this environment."""
        spare = self._spare
        if spare is None or not spare.is_usable(environment):
            return None
        self._spare = None
        spare.expiry.cancel()
        return spare.worker

    async def close(self) -> None:
        """End the spare; return when its processes have ended, or could have."""
        self._is_closed = True
        self._discard()
        if self._ending:
            await asyncio.wait(self._ending, timeout=self._stop_timeout)

    def _discard(self) -> None:
        if self._spare is not None:
            self._spare.expiry.cancel()
            task = asyncio.create_task(_end(self._spare.worker))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._spare = None


async def _end(worker: SpawnedWorker) -> None:
    """End a worker that has not been connected: its reaper sees that the sockets are closed."""
    for each in (worker.reaper_socket, worker.control, worker.replies, worker.queries):
        each.close()
    for descriptor in (worker.stdout, worker.stderr):
        os.close(descriptor)
    await reaper_ended(worker)


def _states(cwd: str, sources: Sequence[str]) -> list[_State]:
    """Return which directory `cwd` is, and the states of the sources; a package manager changes its directory."""
    directory = _state(cwd)
    return [directory and directory[:2], *map(_state, sources)]


def _state(path: str) -> _State:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _has_memory() -> bool:
    """Return whether there is enough memory for a spare, where that is known (proc_meminfo(5))."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return True
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), _FREE_BYTES)
    return available >= _FREE_BYTES
