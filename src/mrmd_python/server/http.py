"""The aiohttp application: its routes, and the checks of every request."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiohttp import web

from mrmd_python.server.access import Access
from mrmd_python.server.api.error import Handler, RefusedError, json_errors
from mrmd_python.server.api.route import ACCESS, SESSIONS
from mrmd_python.server.api.routes import PREFIX, ROUTES
from mrmd_python.server.connections import KEEP_ALIVE_SECONDS, Connections
from mrmd_python.server.idleness import IdleTimer
from mrmd_python.server.page import page_response
from mrmd_python.server.peer import Connection
from mrmd_python.server.sessions import Sessions

if TYPE_CHECKING:  # not in every supported aiohttp
    from aiohttp.typedefs import Middleware

# How long clients have to read the end of their streams after all sessions have ended.
_CLOSE_SECONDS = 1.0
# The name of the only route that needs no token.
_PAGE = "page"


@asynccontextmanager
async def serving(
    runtime: str, sessions: Sessions, listeners: Iterable[socket.socket], access: Access, idle_timer: IdleTimer
) -> AsyncIterator[None]:
    """Answer requests to a runtime while the block runs."""
    connections = Connections()
    # The access checks come first: a refused client must not keep an idle runtime alive.
    middlewares = [json_errors, _check_access(access), _count_requests(connections, idle_timer)]
    app = web.Application(middlewares=middlewares)
    app[SESSIONS] = sessions
    app[ACCESS] = access

    async def add_access_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(access.response_headers(request.headers))

    async def show_page(request: web.Request) -> web.StreamResponse:
        return page_response(runtime)

    app.on_response_prepare.append(add_access_headers)
    app.router.add_get("/", show_page, name=_PAGE)
    for route in ROUTES:
        # aiohttp's default pattern for {name} excludes braces.
        pattern = PREFIX + re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, pattern, route.handler)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    assert runner.server is not None
    try:
        async with connections.accepted(runner.server, listeners):
            yield
    finally:
        await runner.cleanup()


def _check_access(access: Access) -> "Middleware":
    """Return the middleware that refuses requests that break the access rules."""
    # The connections whose peer has been checked: once for each connection.
    checked: WeakSet[asyncio.BaseTransport] = WeakSet()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None or transport not in checked:
            checked.add(_check_peer(access, transport))
        access.check_headers(request.headers)
        preflight = access.preflight_headers(request.method, request.headers)
        if preflight is not None:
            return web.Response(status=204, headers=preflight)
        if request.match_info.route.name != _PAGE:  # the page asks the user for the token
            access.check_token(request.headers)
        return await handler(request)

    return check


def _check_peer(access: Access, transport: asyncio.BaseTransport | None) -> asyncio.BaseTransport:
    """Check who opened a connection, and return it.

    Raises:
        RefusedError: the peer may not connect, or the connection was closed before it could be checked.
    """
    try:
        if transport is None:
            raise ConnectionError
        connection = transport.get_extra_info("socket")
        access.check_peer(Connection.from_addresses(connection.getpeername(), connection.getsockname()))
        connection.getpeername()  # raises if it was closed meanwhile, when its ports could belong to another connection
    except OSError:
        raise RefusedError(403, "peer_refused", "the client has closed this connection") from None
    return transport


def _count_requests(connections: Connections, idle_timer: IdleTimer) -> "Middleware":
    """Return the middleware that reports requests to the connections and the idle timer."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.request_received(request.protocol)
        with idle_timer.request():
            return await handler(request)

    return count
