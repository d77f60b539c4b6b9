"""An ASGI application that forwards requests to a runtime, and streams the responses back."""

import asyncio
import json
import re
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import aiohttp
from yarl import URL

from mrmd_python.app.runtimes import ChildRuntime, DefaultRuntime, StartedRuntime
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.address import Address
from mrmd_python.server.access import Access
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.event_stream import encode
from mrmd_python.server.peer import Connection

# https://asgi.readthedocs.io/en/latest/specs/www.html
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# RFC 9110, section 7.6.1. The Connection header may name more.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
# Headers that the access rules have checked, and Expect, which the ASGI server handles.
_REQUEST_ONLY_HERE = _HOP_BY_HOP | {"authorization", "expect", "host", "origin", "referer", "sec-fetch-site"}
# Headers that the ASGI server adds.
_RESPONSE_ONLY_HERE = _HOP_BY_HOP | {"date", "server"}
# Headers in which proxies name the client that they forward for.
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_ASSETS = "/mrp/v1/assets/"
_ACTIVITY = "/events"


class _Request(NamedTuple):
    """A request to the runtime."""

    method: str
    url: URL
    headers: list[tuple[str, str]]
    # What to report if the runtime does not answer.
    gone: str


class Proxy:
    """An ASGI 3 application, for servers that run on asyncio."""

    def __init__(self, runtime: ChildRuntime | DefaultRuntime | StartedRuntime, access: Access) -> None:
        self._runtime = runtime
        self._access = access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request, or the server's lifespan."""
        if scope["type"] == "http":
            await self._handle_request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._handle_lifespan(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _handle_lifespan(self, receive: Receive, send: Send) -> None:
        """Start the runtime, and close it in the end (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""
        await receive()
        try:
            await asyncio.to_thread(self._runtime.start)
        except (ServiceError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._runtime.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _handle_request(self, scope: Message, receive: Receive, send: Send) -> None:
        received = [(name.decode("latin-1"), value.decode(errors="replace")) for name, value in scope["headers"]]
        headers = dict(reversed(received))  # the first of repeated headers counts
        own_headers = self._access.response_headers(headers)
        try:
            self._check_peer(scope, headers)
            self._access.check_headers(headers)
            preflight = self._access.preflight_headers(scope["method"], headers)
            if preflight is not None:
                await _start(send, 204, {**preflight, **own_headers})
                await send({"type": "http.response.body"})
                return
            self._access.check_token(headers)
            target = _target(scope)
            if target.startswith(_ASSETS):
                own_headers["Content-Security-Policy"] = self._access.asset_policy
            address = await self._address()
            forwarded = _forwarded(received, _REQUEST_ONLY_HERE)
            if address.token is not None:
                forwarded.append(("authorization", f"Bearer {address.token}"))
            url = URL(f"http://{address.host}:{address.port}{target}", encoded=True)
            request = _Request(scope["method"], url, forwarded, self._runtime.gone)
            await _forward(request, receive, send, own_headers)
        except RefusedError as error:
            body = f"{json.dumps(error.as_json())}\n".encode()
            entity_headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
            await _start(send, error.status, {**entity_headers, **error.headers, **own_headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _check_peer(self, scope: Message, headers: Mapping[str, str]) -> None:
        """Check who opened the connection of a request.

        Raises:
            RefusedError: it may not be used or, without a token, a proxy or a Unix socket hides who uses it. uvicorn
                makes sockets that all users may open.
        """
        # With these headers, uvicorn replaces the address of a local client by the one that they claim.
        is_forwarded = not _FORWARDED.isdisjoint(headers)
        client = None if is_forwarded else scope.get("client")
        if client is None and self._access.token is None:
            raise RefusedError(
                403,
                "peer_refused",
                "behind a proxy or on a Unix socket, create_app needs token=: clients look alike there",
            )
        self._access.check_peer(Connection.from_addresses(client, scope.get("server")))

    async def _address(self) -> Address:
        """Return the address of the runtime, after starting it if necessary.

        Raises:
            RefusedError: it cannot be started; the next request will try again.
        """
        try:
            found = self._runtime.find()
            return found if found is not None else await asyncio.to_thread(self._runtime.start)
        except (ServiceError, OSError) as error:
            raise RefusedError(503, "session_start_failed", str(error)) from None


def _target(scope: Message) -> str:
    """Return the path and query to request from the runtime: those of the request, without the mount point.

    `raw_path` is optional; in `path`, a decoded ``%2F`` looks like a slash. Both should start with `root_path`, but
    Starlette before 0.33 removes it from `path`.

    Raises:
        RefusedError: the path does not belong to MRP.
    """
    raw = scope.get("raw_path")
    path = quote(scope["path"]).encode() if raw is None else raw.partition(b"?")[0]
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/")]
    root = scope.get("root_path", "").rstrip("/").encode().split(b"/")
    below = segments[len(root) if segments[: len(root)] == root else 1 :]
    if below[:2] != [b"mrp", b"v1"]:
        raise RefusedError(404, "not_found", f"{scope['method']} {scope['path']}: Not Found")
    query = quote(scope["query_string"], safe=string.punctuation)
    return "".join(f"/{quote(segment, safe='')}" for segment in below) + (f"?{query}" if query else "")


def _forwarded(headers: Iterable[tuple[str, str]], dropped: frozenset[str]) -> list[tuple[str, str]]:
    """Return the headers to forward: all but `dropped` and those that a Connection header names."""
    headers = list(headers)
    named = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
    return [(name, value) for name, value in headers if name not in dropped and name not in named]


async def _forward(request: _Request, receive: Receive, send: Send, own_headers: Mapping[str, str]) -> None:
    """Forward a request and its response; return when the response is complete or the client has disconnected.

    Raises:
        RefusedError: the runtime does not answer.
    """
    first = await receive()
    body, is_read = first.get("body", b""), asyncio.Event()
    if first.get("more_body", False):
        data: bytes | AsyncIterator[bytes] | None = _rest_of_body(body, receive, is_read)
    else:
        data = body or None
        is_read.set()
    exchange = asyncio.ensure_future(_exchange(request, data, send, own_headers))
    disconnect = asyncio.ensure_future(_disconnected(receive, is_read))
    try:
        await asyncio.wait({exchange, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if exchange.done():
            exchange.result()
    finally:
        for task in (exchange, disconnect):
            task.cancel()
        await asyncio.gather(exchange, disconnect, return_exceptions=True)


async def _rest_of_body(body: bytes, receive: Receive, is_read: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the pieces of a request body, of which `body` is the first."""
    yield body
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client has disconnected")
        yield message.get("body", b"")
        more = message.get("more_body", False)
    is_read.set()


async def _disconnected(receive: Receive, is_read: asyncio.Event) -> None:
    """Return once the client has disconnected, which ASGI reports only after the request body."""
    await is_read.wait()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _exchange(
    request: _Request,
    data: bytes | AsyncIterator[bytes] | None,
    send: Send,
    own_headers: Mapping[str, str],
) -> None:
    """Send a request to the runtime, and its response to the client."""
    # A session per request: not every server has a lifespan, at whose end a shared one could be closed.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as client:
        try:
            response = await client.request(
                request.method,
                request.url,
                headers=request.headers,
                data=data,
                allow_redirects=False,
                skip_auto_headers=_AUTOMATIC,
            )
        except (aiohttp.ClientError, OSError):
            raise RefusedError(503, "runtime_gone", request.gone) from None
        async with response:
            received = [
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers
            ]
            try:
                await _start(send, response.status, {**dict(_forwarded(received, _RESPONSE_ONLY_HERE)), **own_headers})
                has_end = response.content_type == "text/event-stream" and not request.url.path.endswith(_ACTIVITY)
                async for piece in _events(response, request.gone) if has_end else response.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body"})
            except (aiohttp.ClientError, OSError):
                pass  # the client or the runtime is gone: the ASGI server aborts an incomplete response


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    merged = {name.lower(): value for name, value in headers.items()}  # the last of repeated headers counts
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in merged.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _events(response: aiohttp.ClientResponse, gone: str) -> AsyncIterator[bytes]:
    """Yield whole events as they come. If the runtime dies, end the stream with an `error` and a `done` event."""
    pending, last = bytearray(), 0
    try:
        async for chunk in response.content.iter_any():
            unsearched = max(0, len(pending) - 1)
            pending += chunk
            end = pending.rfind(b"\n\n", unsearched) + 2
            if end >= 2:
                events = bytes(pending[:end])
                del pending[:end]
                last = _last_id(events, last)
                yield events
    except (aiohttp.ClientError, OSError):
        error: dict[str, Any] = {"type": "RuntimeDied", "message": gone, "traceback": [], "line": None, "column": None}
        yield encode(last + 1, "error", error)
        yield encode(last + 2, "done", {})


def _last_id(events: bytes, before: int) -> int:
    """Return the id of the last of `events`, or `before` if they are only comments."""
    match = re.compile(rb"id: (\d+)\n").match(events, events.rfind(b"\nid: ") + 1)
    return int(match[1]) if match else before
