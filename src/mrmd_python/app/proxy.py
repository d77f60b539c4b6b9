"""An ASGI application that passes requests on to a runtime, and its answers back as they come."""

import asyncio
import json
import re
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import aiohttp
from yarl import URL

from mrmd_python.app.runtimes import Address, ChildRuntime, DefaultRuntime
from mrmd_python.runtime import ServiceError
from mrmd_python.server.access import Access
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.event_stream import encode
from mrmd_python.server.peer import Connection

# https://asgi.readthedocs.io/en/latest/specs/www.html
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# RFC 9110, section 7.6.1; the header Connection may name more.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
# What the access rules have checked; and Expect, which the ASGI server answers.
_NOT_PASSED_ON = _HOP_BY_HOP | {"authorization", "expect", "host", "origin", "referer", "sec-fetch-site"}
# What the ASGI server adds.
_NOT_PASSED_BACK = _HOP_BY_HOP | {"date", "server"}
# How proxies say whom they speak for.
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_GONE = "the runtime has ended, and its variables are gone; the next request starts it again"


class Proxy:
    """An ASGI 3 application, for any server that runs on asyncio."""

    def __init__(self, runtime: ChildRuntime | DefaultRuntime, access: Access) -> None:
        self._runtime = runtime
        self._access = access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or live as long as the server does."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start the runtime, and end it (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""
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

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        received = [(name.decode("latin-1"), value.decode(errors="replace")) for name, value in scope["headers"]]
        headers = dict(reversed(received))  # of one that is repeated, the first counts
        own = self._access.cors_headers(headers)
        try:
            self._access.check_peer(_connection(scope, headers))
            self._access.check(headers)
            preflight = self._access.preflight_headers(scope["method"], headers)
            if preflight is not None:
                await _start(send, 204, {**preflight, **own})
                await send({"type": "http.response.body"})
                return
            self._access.check_token(headers)
            target = _target(scope)
            address = await self._address()
            passed = _passed_on(received, _NOT_PASSED_ON)
            if address.token is not None:
                passed.append(("authorization", f"Bearer {address.token}"))
            url = URL(f"http://127.0.0.1:{address.port}{target}", encoded=True)
            await _pass_on(scope["method"], url, passed, receive, send, own)
        except RefusedError as error:
            body = f"{json.dumps(error.as_json())}\n".encode()
            about = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
            await _start(send, error.status, {**about, **error.headers, **own})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _address(self) -> Address:
        """Return the address of the runtime, which is started if it does not run.

        Raises:
            RefusedError: it cannot be started; the next request tries again.
        """
        try:
            found = self._runtime.find()
            return found if found is not None else await asyncio.to_thread(self._runtime.start)
        except (ServiceError, OSError) as error:
            raise RefusedError(503, "session_start_failed", str(error)) from None


def _connection(scope: Message, headers: Mapping[str, str]) -> Connection | None:
    """Return the connection of a request."""
    # uvicorn believes what a local client says about itself in these headers.
    is_hearsay = not _FORWARDED.isdisjoint(headers)
    return Connection.of_names(None if is_hearsay else scope.get("client"), scope.get("server"))


def _target(scope: Message) -> str:
    """Return the path and query of a request as the runtime is to see them, without the mount point.

    `path` is decoded as a whole, so ``%2F`` in it looks like a slash; `raw_path` is optional. Both should begin with
    `root_path`, but Starlette before 0.33 removes it from `path`.

    Raises:
        RefusedError: it is not a path of MRP.
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


def _passed_on(headers: Iterable[tuple[str, str]], dropped: frozenset[str]) -> list[tuple[str, str]]:
    """Return the headers that are for the other end, without those in `dropped`."""
    headers = list(headers)
    named = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
    return [(name, value) for name, value in headers if name not in dropped and name not in named]


async def _pass_on(
    method: str, url: URL, headers: list[tuple[str, str]], receive: Receive, send: Send, own: Mapping[str, str]
) -> None:
    """Pass a request on, and its answer back, until it is complete or the client goes away.

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
    answering = asyncio.ensure_future(_relay(method, url, headers, data, send, own))
    watching = asyncio.ensure_future(_disconnected(receive, is_read))
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


async def _rest_of_body(body: bytes, receive: Receive, is_read: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield a body that comes in pieces."""
    yield body
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client has gone")
        yield message.get("body", b"")
        more = message.get("more_body", False)
    is_read.set()


async def _disconnected(receive: Receive, is_read: asyncio.Event) -> None:
    """Return once the client has gone away, which shows only after its request has been read."""
    await is_read.wait()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _relay(
    method: str,
    url: URL,
    headers: list[tuple[str, str]],
    data: bytes | AsyncIterator[bytes] | None,
    send: Send,
    own: Mapping[str, str],
) -> None:
    # A session for each request: where no lifespan tells of the end, nothing could close one that is kept.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as client:
        try:
            response = await client.request(
                method, url, headers=headers, data=data, allow_redirects=False, skip_auto_headers=_AUTOMATIC
            )
        except (aiohttp.ClientError, OSError):
            raise RefusedError(503, "runtime_gone", _GONE) from None
        async with response:
            found = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers]
            try:
                await _start(send, response.status, {**dict(_passed_on(found, _NOT_PASSED_BACK)), **own})
                is_stream = response.content_type == "text/event-stream"
                async for piece in _events(response) if is_stream else response.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body"})
            except (aiohttp.ClientError, OSError):
                pass  # the client or the runtime has gone: the server breaks off an answer that is not complete


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    merged = {name.lower(): value for name, value in headers.items()}  # the later of two counts
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in merged.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield whole events as they come and, if the runtime dies, those that end the stream and say so."""
    pending, last = bytearray(), 0
    try:
        async for chunk in response.content.iter_any():
            unsearched = max(0, len(pending) - 1)
            pending += chunk
            end = pending.rfind(b"\n\n", unsearched) + 2
            if end >= 2:
                whole = bytes(pending[:end])
                del pending[:end]
                last = _last_id(whole, last)
                yield whole
    except (aiohttp.ClientError, OSError):
        error: dict[str, Any] = {"type": "RuntimeDied", "message": _GONE, "traceback": [], "line": None, "column": None}
        yield encode(last + 1, "error", error)
        yield encode(last + 2, "done", {})


def _last_id(events: bytes, before: int) -> int:
    """Return the id of the last of `events`, or `before` if they are only comments."""
    match = re.compile(rb"id: (\d+)\n").match(events, events.rfind(b"\nid: ") + 1)
    return int(match[1]) if match else before
