"""Responses: JSON, long JSON in pieces, and Server-Sent Events."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TypedDict

from aiohttp import web

_log = logging.getLogger(__name__)

_SHORT_BYTES = 256 * 1024
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Success(TypedDict):
    """The response to a request that returns nothing else."""

    success: bool


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return JSON, in ASCII: text may contain lone surrogates, which UTF-8 cannot encode."""
    text = f"{json.dumps(body)}\n"  # the newline is for users of curl
    return web.Response(body=text.encode("ascii"), status=status, headers={**_JSON, **(headers or {})})


def raw_json_response(body: bytes) -> web.Response:
    """Return JSON as a worker wrote it."""
    return web.Response(body=body + b"\n", headers=_JSON)


async def json_stream(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send JSON from pieces. If it is short, send it whole and with its length, which most clients prefer."""
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) > _SHORT_BYTES:
            break
    else:
        return web.Response(body=bytes(start), headers=_JSON)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield bytes(start)
        async for piece in pieces:
            yield piece

    return await _stream(request, _JSON, all_pieces())


async def event_stream_response(request: web.Request, events: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send events as they come."""
    return await _stream(request, _EVENT_STREAM, events)


async def _stream(request: web.Request, headers: Mapping[str, str], pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has disconnected; the execution continues
    except Exception:
        # The status has been sent. Only a broken connection can still report an error to the client.
        _log.exception("%s %.200a failed after its response had begun", request.method, request.path)
        if request.transport is not None:
            request.transport.abort()
    return response
