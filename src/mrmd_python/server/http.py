"""MRP over aiohttp: routes, bodies in, JSON and streams out, refusals as MRP words them."""

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiohttp import web

from mrmd_python.server import exchange, mrp, wire
from mrmd_python.server.access import Access
from mrmd_python.server.connections import KEEP_ALIVE_SECONDS, Connections
from mrmd_python.server.idleness import Idleness
from mrmd_python.server.page import page_of
from mrmd_python.server.peer import Connection
from mrmd_python.server.provider import Answer, Route, session_routes
from mrmd_python.server.sessions import Sessions

if TYPE_CHECKING:  # not in every aiohttp that will do
    from aiohttp.typedefs import Middleware

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 1.0
"""How long clients have, once all sessions have ended, to read the last of their streams."""
_BODY_SECONDS = 15.0
_SLOWEST_BODY = 10_000
"""A body may take so many seconds, and one more for so many bytes that have come."""
_PAGE = "page"
"""The name of the one route that wants no token."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(routes: Iterable[Route], access: Access, prefix: str = "") -> web.Application:
    """Return the aiohttp application that serves `routes` below `prefix` to those to whom `access` is given."""
    app = web.Application(middlewares=[_gate(access)])

    async def tell_browsers(request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers.update(access.answer_headers(request.headers))

    app.on_response_prepare.append(tell_browsers)
    for method, path, respond in routes:
        handler = _handler(respond)
        # By itself, aiohttp takes no braces in a variable part.
        pattern = prefix + re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)
        app.router.add_route(method, pattern, handler)
        if method == "GET":
            app.router.add_route("HEAD", pattern, handler)
    return app


@asynccontextmanager
async def serving(
    runtime: str, sessions: Sessions, listeners: Iterable[socket.socket], access: Access, idleness: Idleness
) -> AsyncIterator[None]:
    """Answer on the `listeners`, as the runtime of that id, for as long as the block runs."""
    app = application(session_routes(sessions), access, mrp.PREFIX)
    connections = Connections()

    async def show_page(request: web.Request) -> web.StreamResponse:
        return await _send(request, page_of(runtime))

    app.router.add_get("/", show_page, name=_PAGE)

    @web.middleware
    async def end_idleness(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.spoke(request.protocol)
        with idleness.interrupted():
            return await handler(request)

    app.middlewares.append(end_idleness)  # within the gate: who is turned away keeps nothing up
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    assert runner.server is not None
    try:
        async with connections.accepted(runner.server, listeners):
            yield
    finally:
        await runner.cleanup()


def _handler(respond: Callable[[exchange.Request], Awaitable[Answer]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        headers = request.headers
        body = await wire.json_body(request.method, headers.get("content-type", ""), _chunks(request))
        answer = await respond(exchange.Request(request.match_info, body, request.query, headers))
        if isinstance(answer, exchange.File):
            return web.FileResponse(answer.path, headers=wire.file_headers(answer))
        return await _send(request, await wire.response(answer))

    return handle


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    # Not request.read(): its limit is that of the outermost application, which may be another program's.
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BODY_SECONDS
    try:
        if request.content.is_eof():  # it came with its headers: there is nothing to wait for
            yield request.content.read_nowait()
        while not request.content.at_eof():
            chunk = await asyncio.wait_for(request.content.readany(), deadline - loop.time())
            deadline += len(chunk) / _SLOWEST_BODY
            yield chunk
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise exchange.RefusedError(400, "broken_body", f"the body cannot be read to its end: {error}") from None
    except asyncio.TimeoutError:
        raise exchange.RefusedError(408, "slow_body", "the body comes too slowly: send the request again") from None


async def _send(request: web.Request, response: wire.Response) -> web.StreamResponse:
    if isinstance(response.content, bytes):
        return web.Response(body=response.content, status=response.status, headers=response.headers)
    streamed = web.StreamResponse(status=response.status, headers=response.headers)
    await streamed.prepare(request)
    if request.method == "HEAD":
        await wire.let_go(response.content)
        return streamed
    try:
        async for piece in response.content:
            await streamed.write(piece)
        await streamed.write_eof()
    except ConnectionResetError:
        pass  # the client has gone away, which is its right; the execution goes on
    except Exception:
        # It is too late for a status: an answer that breaks off is all that can be told.
        _log.exception("%s %s failed while it was being answered", request.method, request.path)
        if request.transport is not None:
            request.transport.abort()
    return streamed


def _checked(access: Access, transport: asyncio.BaseTransport | None) -> asyncio.BaseTransport:
    """Return a connection whose other end may speak to us.

    Raises:
        RefusedError: it may not, or has been closed before that could be told.
    """
    try:
        if transport is None:
            raise ConnectionError
        ends = transport.get_extra_info("socket")
        access.check_peer(Connection.of_names(ends.getpeername(), ends.getsockname()))
        ends.getpeername()  # else its ports may have been another connection's when they were looked up
    except OSError:
        raise exchange.RefusedError(403, "peer_refused", "the client has closed this connection already") from None
    return transport


def _gate(access: Access) -> "Middleware":
    """Return the middleware that lets in whom `access` lets in, and words every refusal as MRP does."""
    known: WeakSet[asyncio.BaseTransport] = WeakSet()
    """The connections whose other end may speak to us: that is asked once of each."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            transport = request.transport
            if transport is None or transport not in known:
                known.add(_checked(access, transport))
            access.check(request.headers)
            preflight = access.preflight(request.method, request.headers)
            if preflight is not None:
                return await _send(request, preflight)
            if request.match_info.route.name != _PAGE:  # which asks for the token
                access.check_token(request.headers)
            return await handler(request)
        except exchange.RefusedError as error:
            return await _send(request, await wire.response(wire.refusal(error)))
        except web.HTTPException as error:
            refusal = wire.plain_refusal(request.method, request.path, error.status)
            answer = await _send(request, await wire.response(refusal))
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return await _send(request, await wire.response(wire.FAILURE))

    return let_in
