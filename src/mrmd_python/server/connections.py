"""Accepting connections, and letting go of those that hold one and send nothing."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

_log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection stays open for another request; aiohttp's own default has grown to an hour."""
_FIRST_REQUEST_SECONDS = 15.0
"""How long the line and headers of a connection's first request may take, which aiohttp before 3.14 does not limit."""
_BACKLOG = 1024
_COMPLAINT_SECONDS = 60.0


class Connections:
    """The connections that have not brought a request yet, and each one's deadline."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def spoke(self, connection: asyncio.BaseProtocol) -> None:
        """Note that a request has come; aiohttp times those that follow it."""
        deadline = self._deadlines.pop(connection, None)
        if deadline is not None:
            deadline.cancel()

    @asynccontextmanager
    async def accepted(self, server: web.Server, listeners: Iterable[socket.socket]) -> AsyncIterator[None]:
        """Accept connections on the `listeners` for `server`, for as long as the block runs."""
        loop = asyncio.get_running_loop()

        def connection() -> web.RequestHandler:
            made = server()
            self._deadlines[made] = loop.call_later(_FIRST_REQUEST_SECONDS, self._drop, made)
            return made

        loop.set_exception_handler(_Complaints().heed)
        accepting = [await loop.create_server(connection, sock=listener, backlog=_BACKLOG) for listener in listeners]
        try:
            yield
        finally:
            for listening in accepting:
                listening.close()

    def _drop(self, connection: web.RequestHandler) -> None:
        del self._deadlines[connection]
        connection.force_close()


class _Complaints:
    """What the event loop tells of when it cannot go on as it should."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def heed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it; asyncio tries to accept again each second, and would log each connection that waits each time."""
        if context.get("message") != "socket.accept() out of system resource":
            loop.default_exception_handler(context)
        elif self._told_at is None or time.monotonic() > self._told_at + _COMPLAINT_SECONDS:
            self._told_at = time.monotonic()
            _log.error("no connection can be accepted, clients wait: %s", context.get("exception"))
