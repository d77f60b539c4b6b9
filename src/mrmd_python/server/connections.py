"""Accepting connections, and dropping those on which no request comes."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

_log = logging.getLogger(__name__)

# How long a connection stays open for another request; aiohttp's own default has grown to an hour.
KEEP_ALIVE_SECONDS = 75.0
# How long the headers of a connection's first request may take; aiohttp before 3.14 does not limit that.
_FIRST_REQUEST_SECONDS = 15.0
_BACKLOG = 1024
_ACCEPT_LOG_SECONDS = 60.0


class Connections:
    """The connections on which no request has come yet, and the deadline of each."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def request_received(self, connection: asyncio.BaseProtocol) -> None:
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

        loop.set_exception_handler(_LoopErrors().handle)
        accepting = [await loop.create_server(connection, sock=listener, backlog=_BACKLOG) for listener in listeners]
        try:
            yield
        finally:
            for listening in accepting:
                listening.close()

    def _drop(self, connection: web.RequestHandler) -> None:
        del self._deadlines[connection]
        connection.force_close()


class _LoopErrors:
    """Logs the errors of the event loop."""

    def __init__(self) -> None:
        self._logged_at: float | None = None

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error; asyncio tries to accept again each second, and would log each waiting connection each time."""
        if context.get("message") != "socket.accept() out of system resource":
            loop.default_exception_handler(context)
        elif self._logged_at is None or time.monotonic() > self._logged_at + _ACCEPT_LOG_SECONDS:
            self._logged_at = time.monotonic()
            _log.error("no connection can be accepted, clients wait: %s", context.get("exception"))
