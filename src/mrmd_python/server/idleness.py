"""How long a runtime has been idle: without clients and executions."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mrmd_python.server.sessions import Sessions

_log = logging.getLogger(__name__)


class IdleTimer:
    """Counts the open requests, including streams, and watches the sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._requests = 0
        self._last_request = time.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while the block runs."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._last_request = time.monotonic()

    async def expired(self, seconds: float) -> None:
        """Return once the runtime has been idle for `seconds`."""
        rest = seconds
        while rest > 0:
            await asyncio.sleep(rest)
            busy = self._requests > 0 or any(session.state in ("starting", "busy") for session in self._sessions)
            since = time.monotonic() if busy else max(self._last_request, self._sessions.changed_at)
            rest = since + seconds - time.monotonic()
        _log.info("no execution and no client for %g s: stopping", seconds)
