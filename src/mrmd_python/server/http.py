"""MRP over aiohttp: routes, bodies in, JSON and streams out, refusals as MRP words them."""

import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from mrmd_python.server import exchange, mrp
from mrmd_python.server.access import check
from mrmd_python.server.endpoint import Endpoint
from mrmd_python.server.sessions import Sessions

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 1.0
"""How long clients have, once all sessions have ended, to read the last of their streams."""
_SHORT_BYTES = 256 * 1024
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_LARGEST_BODY = 64 * 1024 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(sessions: Sessions) -> web.Application:
    """Return the aiohttp application that serves `sessions`."""
    app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[_refuse_in_json])
    for method, path, endpoint in mrp.ROUTES:
        app.router.add_route(method, mrp.PREFIX + path, _handler(sessions, endpoint))
    return app


@asynccontextmanager
async def serving(sessions: Sessions, listeners: Iterable[socket.socket]) -> AsyncIterator[None]:
    """Answer on the `listeners` for as long as the block runs."""
    runner = web.AppRunner(application(sessions), access_log=None, shutdown_timeout=_CLOSE_SECONDS)
    await runner.setup()
    for listener in listeners:
        await web.SockSite(runner, listener).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _handler(sessions: Sessions, endpoint: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = {name: request.query[name] for name in request.query}
        reply = await endpoint(sessions, exchange.Request(request.match_info, await _body(request), query, headers))
        if isinstance(reply, exchange.Reply):
            return _json(reply.body, reply.status)
        if isinstance(reply, exchange.File):
            # A page or a drawing that a cell has made must not run code by the origin it is served from.
            return web.FileResponse(
                reply.path,
                headers={"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff"},
            )
        if isinstance(reply, exchange.JsonStream):
            return await _json_stream(request, reply.pieces)
        return await _stream(request, _EVENT_STREAM, reply.events)

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    if request.method != "POST" or not request.can_read_body:
        return {}
    if request.content_type != "application/json":
        raise exchange.RefusedError(415, "not_json", "a POST body must have the content type application/json")
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise exchange.RefusedError(400, "malformed_json", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise exchange.RefusedError(400, "malformed_json", "the body must be a JSON object")
    return body


async def _json_stream(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answer in one piece, as most clients like best, if that is short, and in chunks if it is not."""
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) > _SHORT_BYTES:
            break
    else:
        return web.Response(body=bytes(start), content_type="application/json")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield bytes(start)
        async for piece in pieces:
            yield piece

    return await _stream(request, {"Content-Type": "application/json"}, all_pieces())


async def _stream(request: web.Request, headers: Mapping[str, str], pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client has gone away, which is its right; the execution goes on
    except Exception:
        # It is too late for a status: an answer that breaks off is all that can be told.
        _log.exception("%s %s failed while it was being answered", request.method, request.path)
        if request.transport is not None:
            request.transport.abort()
    return response


@web.middleware
async def _refuse_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        check(request.headers)
        return await handler(request)
    except exchange.RefusedError as error:
        return _json({"error": str(error), "code": error.code}, error.status)
    except web.HTTPException as error:
        code = error.reason.lower().replace(" ", "_")
        body = {"error": f"{request.method} {request.path}: {error.reason}", "code": code}
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _json(body, error.status, headers)
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return _json({"error": "the server failed; its log says more", "code": "internal"}, 500)


def _json(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    # The newline is for a person with curl.
    return web.Response(text=f"{json.dumps(body)}\n", content_type="application/json", status=status, headers=headers)
