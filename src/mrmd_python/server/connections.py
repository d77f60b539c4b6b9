"""Accepts connections, refuses those of other users, and drops those that send no request."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.log import server_logger

from mrmd_python.server import peer
from mrmd_python.server.access import Access
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.peer import Connection

_log = logging.getLogger(__name__)

# How long a connection stays open between two requests. The default of newer aiohttp is an hour.
KEEP_ALIVE_SECONDS = 75.0
# How long the first request may take to send its headers. aiohttp before 3.14 has no such limit.
_FIRST_REQUEST_SECONDS = 15.0
# A deadline that is later than this was missed by this process, not by the client.
_LATE_SECONDS = 1.0
_BACKLOG = 1024
_LOG_SECONDS = 60.0
_LOGGED_CHARACTERS = 200


class _Listener(socket.socket):
    """A listening socket that checks who opened a connection as it accepts it: others get no descriptor to keep."""

    def __init__(self, listener: socket.socket, access: Access) -> None:
        super().__init__(fileno=listener.detach())
        self._access = access

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            ConnectionAbortedError: it was refused and is closed; asyncio then accepts the next one.
        """
        connection, address = super().accept()
        try:
            self._access.check_peer(Connection.from_addresses(address, connection.getsockname()))
        except RefusedError as error:
            _refuse(connection, error)
            raise ConnectionAbortedError from None
        return connection, address


def _refuse(connection: socket.socket, refusal: RefusedError) -> None:
    """Answer before anything is read, as far as that can be done at once, and close the connection."""
    body = f"{json.dumps(refusal.as_json())}\n"
    headers = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "Content-Type: application/json; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    with connection:
        connection.setblocking(False)
        try:
            connection.recv(65536)  # closing with unread data would discard the answer (RFC 1122, section 4.2.2.13)
        except OSError:
            pass
        try:
            connection.send("\r\n".join((*headers, "", body)).encode("ascii"))
        except OSError:
            pass


class Connections:
    """The connections that have not sent a request yet, and their deadlines."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._deadlines: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def request_received(self, connection: asyncio.BaseProtocol) -> None:
        """Remove the deadline of a connection. aiohttp itself limits the time to the next request."""
        deadline = self._deadlines.pop(connection, None)
        if deadline is not None:
            deadline.cancel()

    @asynccontextmanager
    async def accepted(self, server: web.Server, listeners: Iterable[socket.socket]) -> AsyncIterator[None]:
        """Accept connections for `server` while the block runs."""
        loop = asyncio.get_running_loop()

        def new_connection() -> web.RequestHandler:
            connection = server()
            self._limit(connection)
            return connection

        loop.set_exception_handler(_LoopErrors().handle)
        server_logger.addFilter(_MalformedRequests())
        peer.prepare()
        acceptors = [
            await loop.create_server(new_connection, sock=_Listener(listener, self._access), backlog=_BACKLOG)
            for listener in listeners
        ]
        try:
            yield
        finally:
            for acceptor in acceptors:
                acceptor.close()

    def _limit(self, connection: web.RequestHandler) -> None:
        loop = asyncio.get_running_loop()
        self._deadlines[connection] = loop.call_later(_FIRST_REQUEST_SECONDS, self._drop, connection)

    def _drop(self, connection: web.RequestHandler) -> None:
        deadline = self._deadlines.pop(connection)
        if asyncio.get_running_loop().time() > deadline.when() + _LATE_SECONDS:
            self._limit(connection)  # this process was stopped or had no CPU; the request may be there by now
        else:
            connection.force_close()


class _LogLimit:
    """Allows one line in the log each minute."""

    def __init__(self) -> None:
        self._logged_at: float | None = None

    def allows(self) -> bool:
        """Return whether a line may be logged now."""
        now = time.monotonic()
        if self._logged_at is not None and now < self._logged_at + _LOG_SECONDS:
            return False
        self._logged_at = now
        return True


class _MalformedRequests(logging.Filter):
    """Logs a malformed request as one short line; aiohttp logs a traceback with all that the client has sent."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = _LogLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        """Change such a record; return whether to log it."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.msg = f"refused a malformed request: {ascii(error.message)[:_LOGGED_CHARACTERS]}"
        record.args, record.exc_info = (), None
        return self._limit.allows()


class _LoopErrors:
    """Logs the errors of the event loop."""

    def __init__(self) -> None:
        self._limit = _LogLimit()

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error; once a minute, if no connection can be accepted, which asyncio tries again every second."""
        if context.get("message") != "socket.accept() out of system resource":
            loop.default_exception_handler(context)
        elif self._limit.allows():
            _log.error("cannot accept connections: %s", context.get("exception"))
