"""The aiohttp application: its routes, and the checks of every request."""

import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from mrmd_python.server.access import Access
from mrmd_python.server.api.error import Handler, json_errors
from mrmd_python.server.api.route import ACCESS, SESSIONS
from mrmd_python.server.api.routes import PREFIX, ROUTES
from mrmd_python.server.connections import KEEP_ALIVE_SECONDS, Connections
from mrmd_python.server.idleness import IdleTimer
from mrmd_python.server.page import frame_response, page_response
from mrmd_python.server.sessions import Sessions

if TYPE_CHECKING:  # not in every supported aiohttp
    from aiohttp.typedefs import Middleware

# How long clients have to read the end of their streams after all sessions have ended.
_CLOSE_SECONDS = 1.0
# Half of what aiohttp allows: unfinished headers are held in memory. One header may still be 8 KiB long, since browsers
# send the cookies of all servers on localhost.
_LONGEST_URL = 4096
_MOST_HEADERS = 64
# The names of the routes that need no token.
_PAGE, _FRAME = "page", "frame"


@asynccontextmanager
async def serving(
    runtime: str, sessions: Sessions, listeners: Iterable[socket.socket], access: Access, idle_timer: IdleTimer
) -> AsyncIterator[None]:
    """Answer requests to a runtime while the block runs."""
    connections = Connections(access)
    # The access checks come first: a refused client must not keep an idle runtime alive.
    middlewares = [json_errors, _check_access(access), _count_requests(connections, idle_timer)]
    app = web.Application(middlewares=middlewares)
    app[SESSIONS] = sessions
    app[ACCESS] = access

    async def add_access_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(access.response_headers(request.headers))

    async def show_page(request: web.Request) -> web.StreamResponse:
        return page_response(runtime)

    async def show_frame(request: web.Request) -> web.StreamResponse:
        return frame_response(access.asset_policy)

    app.on_response_prepare.append(add_access_headers)
    app.router.add_get("/", show_page, name=_PAGE)
    app.router.add_get("/frame", show_frame, name=_FRAME)
    for route in ROUTES:
        # aiohttp's default pattern for {name} excludes braces.
        pattern = PREFIX + re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, pattern, route.handler)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=_CLOSE_SECONDS,
        max_line_size=_LONGEST_URL,
        max_headers=_MOST_HEADERS,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        async with connections.accepted(runner.server, listeners):
            yield
    finally:
        await runner.cleanup()


def _check_access(access: Access) -> "Middleware":
    """Return the middleware that refuses requests that break the access rules; those of others do not get here."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        access.check_headers(request.headers)
        preflight = access.preflight_headers(request.method, request.headers)
        if preflight is not None:
            return web.Response(status=204, headers=preflight)
        if request.match_info.route.name not in (_PAGE, _FRAME):  # the page asks the user for the token
            access.check_token(request.headers)
        return await handler(request)

    return check


def _count_requests(connections: Connections, idle_timer: IdleTimer) -> "Middleware":
    """Return the middleware that reports requests to the connections and the idle timer."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.request_received(request.protocol)
        with idle_timer.request():
            return await handler(request)

    return count
