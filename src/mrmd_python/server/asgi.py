"""MRP over ASGI 3 (https://asgi.readthedocs.io/en/latest/specs/www.html): one request of the type ``http``."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from mrmd_python.server import exchange, wire
from mrmd_python.server.access import Access
from mrmd_python.server.asgi_file import file_response
from mrmd_python.server.asgi_path import found, segments_below_mount
from mrmd_python.server.peer import Connection
from mrmd_python.server.provider import Route

_log = logging.getLogger(__name__)

_FORWARDED = {"forwarded", "x-forwarded-for", "x-real-ip"}
"""What proxies say the client is by."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(
    routes: Callable[[], Awaitable[Sequence[Route]]], access: Access, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer one request by what `routes` returns; it is not called for whom `access` does not let in."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(list(scope["headers"]))}
    try:
        access.check_peer(_connection(scope, headers))
        access.check(headers)
        preflight = access.preflight(scope["method"], headers)
        if preflight is None:
            access.check_token(headers)
        response = preflight or await _response(await routes(), scope, headers, receive)
    except exchange.RefusedError as error:
        response = await wire.response(wire.refusal(error))
    except Exception:
        _log.exception("%s %s failed", scope["method"], scope["path"])
        response = await wire.response(wire.FAILURE)
    response = replace(response, headers={**response.headers, **access.answer_headers(headers)})
    await _send(response, scope["method"] == "HEAD", receive, send)


def _connection(scope: Scope, headers: Mapping[str, str]) -> Connection | None:
    """Return the connection of a request, each time anew: ASGI does not tell which requests have one in common."""
    # uvicorn believes what a local client says of itself in these.
    is_hearsay = not _FORWARDED.isdisjoint(headers)
    return Connection.of_names(None if is_hearsay else scope.get("client"), scope.get("server"))


async def _response(
    routes: Sequence[Route], scope: Scope, headers: Mapping[str, str], receive: Receive
) -> wire.Response:
    method = scope["method"]
    here = found(routes, segments_below_mount(scope))
    if method not in here:
        refused = await wire.response(wire.plain_refusal(method, scope["path"], 405 if here else 404))
        allow = {"Allow": ",".join(sorted(here))} if here else {}
        return wire.Response(refused.status, {**refused.headers, **allow}, refused.content)
    match = here[method]
    body = await wire.json_body(method, headers.get("content-type", ""), _chunks(receive))
    query = dict(reversed(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)))
    answer = await match.respond(exchange.Request(match.variables, body, query, headers))
    if isinstance(answer, exchange.File):
        return await file_response(answer, headers)
    return await wire.response(answer)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise exchange.RefusedError(400, "broken_body", "the body cannot be read to its end: connection lost")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _send(response: wire.Response, is_head: bool, receive: Receive, send: Send) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if isinstance(response.content, bytes) and response.status not in (204, 304):
        headers.setdefault("content-length", str(len(response.content)))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    if is_head:
        await wire.let_go(response.content)
        await send({"type": "http.response.body", "body": b""})
    elif isinstance(response.content, bytes):
        await send({"type": "http.response.body", "body": response.content})
    else:
        await _stream(response.content, receive, send)


async def _stream(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send `pieces` as they come, each when the client has room for it, until the last or until it goes away."""
    sending = asyncio.ensure_future(_send_pieces(pieces, send))
    watching = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, watching):
            task.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)


async def _send_pieces(pieces: AsyncIterator[bytes], send: Send) -> None:
    async for piece in pieces:
        try:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        except OSError:
            return  # the client has gone away, which is its right; the execution goes on
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
