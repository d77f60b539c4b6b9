"""The aiohttp application: the routes, and the rules that every request must pass."""

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
from mrmd_python.server.api.route import SESSIONS
from mrmd_python.server.api.routes import PREFIX, ROUTES
from mrmd_python.server.connections import KEEP_ALIVE_SECONDS, Connections
from mrmd_python.server.idleness import IdleTimer
from mrmd_python.server.page import page_response
from mrmd_python.server.peer import Connection
from mrmd_python.server.sessions import Sessions

if TYPE_CHECKING:  # not in every aiohttp that will do
    from aiohttp.typedefs import Middleware

# How long clients have, once all sessions have ended, to read the last of their streams.
_CLOSE_SECONDS = 1.0
# The name of the one route that needs no token.
_PAGE = "page"


@asynccontextmanager
async def serving(
    runtime: str, sessions: Sessions, listeners: Iterable[socket.socket], access: Access, idle_timer: IdleTimer
) -> AsyncIterator[None]:
    """Answer on the `listeners`, as the runtime of that id, for as long as the block runs."""
    connections = Connections()
    # Within the access rules, so that a client that is refused keeps nothing up.
    middlewares = [json_errors, _access_rules(access), _watched(connections, idle_timer)]
    app = web.Application(middlewares=middlewares)
    app[SESSIONS] = sessions

    async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(access.cors_headers(request.headers))

    async def show_page(request: web.Request) -> web.StreamResponse:
        return page_response(runtime)

    app.on_response_prepare.append(add_cors_headers)
    app.router.add_get("/", show_page, name=_PAGE)
    for route in ROUTES:
        # By itself, aiohttp accepts no braces in a variable part.
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


def _access_rules(access: Access) -> "Middleware":
    """Return the middleware that lets in those whom `access` lets in."""
    # The connections whose other end may connect: that is asked once for each.
    known: WeakSet[asyncio.BaseTransport] = WeakSet()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None or transport not in known:
            known.add(_checked(access, transport))
        access.check(request.headers)
        preflight = access.preflight_headers(request.method, request.headers)
        if preflight is not None:
            return web.Response(status=204, headers=preflight)
        if request.match_info.route.name != _PAGE:  # which asks the user for the token
            access.check_token(request.headers)
        return await handler(request)

    return check


def _checked(access: Access, transport: asyncio.BaseTransport | None) -> asyncio.BaseTransport:
    """Return a connection whose other end may connect.

    Raises:
        RefusedError: it may not, or the connection was closed before that was known.
    """
    try:
        if transport is None:
            raise ConnectionError
        ends = transport.get_extra_info("socket")
        access.check_peer(Connection.of_names(ends.getpeername(), ends.getsockname()))
        ends.getpeername()  # else its ports may have been another connection's when they were looked up
    except OSError:
        raise RefusedError(403, "peer_refused", "the client has closed this connection already") from None
    return transport


def _watched(connections: Connections, idle_timer: IdleTimer) -> "Middleware":
    """Return the middleware that notes which connections and clients are in use."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.request_received(request.protocol)
        with idle_timer.request():
            return await handler(request)

    return note
