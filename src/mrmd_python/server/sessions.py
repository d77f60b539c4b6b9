"""All sessions of a runtime, and the rule for when one comes into being."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from mrmd_python.server.analysis import Analysis
from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.execution import Execution
from mrmd_python.server.session import Session
from mrmd_python.server.spawn import SpawnedWorker

DEFAULT = "default"
MAX_SESSIONS = 100


class TooManySessionsError(Exception):
    """The runtime has as many sessions as it takes."""


class EnvironmentConflictError(Exception):
    """The session runs with another environment than the one that was asked for."""


class Sessions:
    """The sessions by id; `default` always exists."""

    def __init__(self, environment: SessionEnvironment, assets: AssetFolders) -> None:
        self.assets = assets
        # The default for new sessions.
        self.environment = environment
        self.inference = Analysis(environment)
        self.syntax = Analysis(environment)
        # Set whenever the state of a session changes, and when that was last, by the monotonic clock.
        self.changed = asyncio.Event()
        self.changed_at = time.monotonic()
        self._sessions: dict[str, Session] = {}

    async def start_default(self, spawned: SpawnedWorker, loss: str | None) -> None:
        """Make `default` of the worker that was spawned first of all; `loss` says what became of one before, if any.

        Raises:
            SessionStartError: the worker cannot run code.
        """
        session = self._sessions[DEFAULT] = self._new(DEFAULT)
        if loss is not None:
            session.note_lost_state(loss)
        await session.start(spawned)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, session_id: str) -> Session | None:
        """Return a session that exists."""
        return self._sessions.get(session_id)

    def obtain(self, session_id: str, environment: SessionEnvironment | None = None) -> Session:
        """Return the session of that id, new if there was none; its process starts with its first execution.

        Raises:
            EnvironmentConflictError: it exists with an environment other than `environment`.
            TooManySessionsError: there was none, and there cannot be more.
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
        """Return a worker's answer about its session in JSON; None if there is no such session or no answer in time."""
        session = self._sessions.get(session_id)
        return await session.query(op, **fields) if session is not None else None

    def execution(self, exec_id: str) -> tuple[Session, Execution] | None:
        """Return the execution of that id, which is unique in a runtime, and its session."""
        for session in self._sessions.values():
            execution = session.executions.get(exec_id)
            if execution is not None:
                return session, execution
        return None

    async def delete(self, session_id: str) -> bool:
        """End a session and every process of it; return whether there was one. `default` is replaced by a fresh one.

        Raises:
            SessionStartError: the fresh `default` cannot be started.
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
        return Session(session_id, environment or self.environment, self.assets, self._note_change)

    def _note_change(self) -> None:
        self.changed_at = time.monotonic()
        self.changed.set()

    async def close(self) -> None:
        """End all sessions and what else was started, at the same time."""
        await asyncio.gather(
            *(session.close() for session in self._sessions.values()), self.inference.close(), self.syntax.close()
        )
