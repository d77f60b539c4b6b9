"""Sessions in a program that is not ours: their workers are children of that program, among others."""

from collections.abc import Sequence
from pathlib import Path

from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.mrp import PREFIX
from mrmd_python.server.provider import Route, session_routes
from mrmd_python.server.session import SessionStartError
from mrmd_python.server.sessions import Sessions
from mrmd_python.server.spawn import spawn


class EmbeddedSessions:
    """Implements `provider.Provider`."""

    def __init__(self, environment: SessionEnvironment, assets: Path) -> None:
        self._sessions = Sessions(environment, AssetFolders(f"{PREFIX}/assets", assets))
        self.routes: Sequence[Route] = session_routes(self._sessions)

    async def start(self) -> None:
        """Start the default session.

        Raises:
            SessionStartError: it cannot be started; nothing is left of it.
        """
        try:
            spawned = spawn(self._sessions.environment)
        except OSError as error:
            raise SessionStartError(f"the session's process could not be started: {error.strerror}") from None
        try:
            await self._sessions.start_default(spawned, None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all sessions and every process they started."""
        await self._sessions.close()
