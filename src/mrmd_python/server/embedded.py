"""Sessions in a program that is not ours: their workers are children of that program, among others."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakSet

from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.mrp import PREFIX
from mrmd_python.server.provider import Route, session_routes
from mrmd_python.server.session import SessionStartError
from mrmd_python.server.sessions import Sessions
from mrmd_python.server.spawn import SpawnedWorker, spawn
from mrmd_python.service.marker import new_marker


class EmbeddedSessions:
    """Implements `provider.Provider`."""

    def __init__(self, environment: SessionEnvironment, assets: Path) -> None:
        self._sessions = Sessions(environment, AssetFolders(f"{PREFIX}/assets", assets), _spawn)
        self.routes: Sequence[Route] = session_routes(self._sessions)

    async def start(self) -> None:
        """Start the default session.

        Raises:
            SessionStartError: it cannot be started; nothing is left of it.
        """
        try:
            await self._sessions.start_default(_spawn(self._sessions.environment), None)
        except OSError as error:
            raise SessionStartError(f"the session's process could not be started: {error.strerror}") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all sessions and every process they started."""
        await self._sessions.close()


_leashes: "WeakSet[socket.socket]" = WeakSet()


def _spawn(environment: SessionEnvironment) -> SpawnedWorker:
    spawned = spawn(environment, new_marker("app"))
    _leashes.add(spawned.leash)
    return spawned


def _let_go() -> None:
    """Close a forked child's copies of the leashes: with them open, the end of its parent would end no session."""
    for leash in list(_leashes):
        if leash.fileno() >= 0:
            os.close(leash.detach())  # close() would wait for the transport that has it


os.register_at_fork(after_in_child=_let_go)
