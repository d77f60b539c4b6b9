"""All sessions of a runtime: finds, creates and deletes them."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

from mrmd_python.server.analysis import AnalysisProcess
from mrmd_python.server.asset_directories import AssetDirectories
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.execution import Execution
from mrmd_python.server.session import Session
from mrmd_python.server.spare import Spares
from mrmd_python.server.spawn import SpawnedWorker

_log = logging.getLogger(__name__)

DEFAULT = "default"
MAX_SESSIONS = 100


class TooManySessionsError(Exception):
    """The runtime has the maximum number of sessions."""


class EnvironmentConflictError(Exception):
    """The session runs with another environment than the requested one."""


class Sessions:
    """The sessions by id; `default` always exists."""

    def __init__(self, environment: SessionEnvironment, assets: AssetDirectories, stop_timeout: int) -> None:
        self.assets = assets
        self._stop_timeout = stop_timeout
        self._spares = Spares(stop_timeout)
        # The default for new sessions.
        self.environment = environment
        self.inference = AnalysisProcess(environment)
        self.syntax = AnalysisProcess(environment)
        # Set when the state of a session changes.
        self.changed = asyncio.Event()
        # When a state changed last, by the monotonic clock.
        self.changed_at = time.monotonic()
        self._sessions: dict[str, Session] = {}

    async def start_default(self, spawned: SpawnedWorker, lost_state: str | None) -> None:
        """Create `default` with a worker that was spawned before.

        Args:
            spawned: the worker.
            lost_state: why the variables of an earlier default session are gone, if there was one.

        Raises:
            SessionStartError: the worker cannot run code.
        """
        session = self._sessions[DEFAULT] = self._new(DEFAULT)
        if lost_state is not None:
            session.note_lost_state(lost_state)
        await session.start(spawned)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, session_id: str) -> Session | None:
        """Return the session with this id, or None."""
        return self._sessions.get(session_id)

    def get_or_create(self, session_id: str, environment: SessionEnvironment | None = None) -> Session:
        """Return the session with this id, created if it does not exist. Its worker starts with its first execution.

        Raises:
            EnvironmentConflictError: it exists with another environment than `environment`.
            TooManySessionsError: it does not exist, and there cannot be more sessions.
        """
        session = self._sessions.get(session_id)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                raise TooManySessionsError(f"there are {MAX_SESSIONS} sessions already: delete one first")
            session = self._sessions[session_id] = self._new(session_id, environment)
        elif environment is not None and environment != session.environment:
            raise EnvironmentConflictError(f"session {session_id!r} runs with another environment: delete it first")
        return session

    async def query(self, session_id: str, op: str, **fields: Any) -> bytes | None:
        """Send a session's worker a query; return its JSON, or None if there is no such session or it is late."""
        session = self._sessions.get(session_id)
        return await session.query(op, **fields) if session is not None else None

    def execution(self, exec_id: str) -> tuple[Session, Execution] | None:
        """Return the execution with this id, and its session. Ids are unique in a runtime."""
        for session in self._sessions.values():
            execution = session.executions.get(exec_id)
            if execution is not None:
                return session, execution
        return None

    def warn(self, text: str) -> None:
        """Print a warning in the log and in the output of what runs."""
        _log.warning("%s", text)
        for session in self:
            if session.running is not None:
                session.running.text("stderr", f"mrmd-python: {text}\n")

    async def delete(self, session_id: str) -> bool:
        """End a session and all its processes; return whether it existed. `default` is replaced by a new session.

        Raises:
            SessionStartError: the new `default` cannot be started.
        """
        session = self._sessions.pop(session_id, None)
        if session is None:
            return False
        if session_id == DEFAULT:
            self._sessions[DEFAULT] = self._new(DEFAULT)
        await session.close()
        if session_id == DEFAULT:
            await self._sessions[DEFAULT].start()
        return True

    def _new(self, session_id: str, environment: SessionEnvironment | None = None) -> Session:
        self._note_change()
        environment = environment or self.environment
        return Session(session_id, environment, self.assets, self._stop_timeout, self._spares, self._note_change)

    def _note_change(self) -> None:
        self.changed_at = time.monotonic()
        self.changed.set()

    async def close(self) -> None:
        """End all sessions, the spare worker and the analysis processes, concurrently."""
        await asyncio.gather(
            *(session.close() for session in self._sessions.values()),
            self._spares.close(),
            self.inference.close(),
            self.syntax.close(),
        )
