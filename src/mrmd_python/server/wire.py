"""What every HTTP front reads and writes in the same way: bodies in; statuses, headers and content out."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from mrmd_python.server.exchange import EventStream, File, JsonStream, JsonText, RefusedError, Relay, Reply

_LARGEST_BODY = 64 * 1024 * 1024
_SHORT_BYTES = 256 * 1024
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(frozen=True)
class Response:
    """An answer as HTTP has it. Content that is not bytes is to be sent as it comes."""

    status: int
    headers: Mapping[str, str]
    content: bytes | AsyncIterator[bytes] = field(repr=False)


def file_headers(file: File) -> dict[str, str]:
    """Return the headers of an answer that is a file."""
    return {
        "Content-Type": file.content_type,
        "Cache-Control": "no-cache",  # an update may replace it
        # A page or a drawing that a cell has made must not run code by the origin it is served from.
        "Content-Security-Policy": "sandbox allow-scripts",
        "X-Content-Type-Options": "nosniff",
    }


async def json_body(method: str, content_type: str, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Return the JSON object that a POST carries; an empty one for no body and for other methods.

    Raises:
        RefusedError: it carries something else, or too much.
    """
    if method != "POST":
        return {}
    data = bytearray()
    async for chunk in chunks:
        if not chunk:
            continue
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "not_json", "a POST body must have the content type application/json")
        data += chunk
        if len(data) > _LARGEST_BODY:
            raise RefusedError(413, "body_too_large", f"a POST body may have {_LARGEST_BODY} bytes")
    if not data:
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "malformed_json", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "malformed_json", "the body must be a JSON object")
    return body


async def response(answer: Reply | JsonText | JsonStream | EventStream | Relay) -> Response:
    """Return what is to be sent for an answer."""
    match answer:
        case Reply():
            # The newline is for a person with curl.
            return Response(answer.status, {**_JSON, **answer.headers}, f"{json.dumps(answer.body)}\n".encode())
        case JsonText():
            return Response(200, _JSON, answer.text + b"\n")
        case JsonStream():
            return Response(200, _JSON, await _at_once_if_short(answer.pieces))
        case EventStream():
            return Response(200, _EVENT_STREAM, answer.events)
        case Relay():
            return Response(answer.status, answer.headers, answer.pieces)


def refusal(error: RefusedError) -> Reply:
    """Return the answer to a request that is refused."""
    return Reply({"error": str(error), "code": error.code}, error.status, error.headers)


def plain_refusal(method: str, path: str, status: int) -> Reply:
    """Return the answer to a request that HTTP itself has a status for: 404, 405."""
    reason = HTTPStatus(status).phrase
    return Reply({"error": f"{method} {path}: {reason}", "code": reason.lower().replace(" ", "_")}, status)


async def let_go(content: bytes | AsyncIterator[bytes]) -> None:
    """Give up content that is not to be sent. An iterator that has not begun would keep what it reads from open."""
    if not isinstance(content, bytes):
        async for _ in content:
            break


FAILURE = Reply({"error": "the server failed; its log says more", "code": "internal"}, 500)
"""The answer to a request that an error of ours has ended."""


async def _at_once_if_short(pieces: AsyncIterator[bytes]) -> bytes | AsyncIterator[bytes]:
    """Return what is short in one piece, as most clients like best, and an iterator over what is not."""
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) > _SHORT_BYTES:
            break
    else:
        return bytes(start)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield bytes(start)
        async for piece in pieces:
            yield piece

    return all_pieces()
