"""Handing a request on to a runtime, and its answer back, streams included."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from mrmd_python.runtime import ServiceError, token
from mrmd_python.runtime.registry import Record
from mrmd_python.server.event_stream import encode
from mrmd_python.server.exchange import RefusedError, Relay, Reply, Request
from mrmd_python.server.mrp import PREFIX

_FAULTS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
_PASSED_ON = ("if-match", "if-modified-since", "if-none-match", "if-range", "last-event-id", "range")
_OF_THE_CONNECTION = {"connection", "date", "keep-alive", "server", "transfer-encoding"}
_ANSWER_SECONDS = 2.0
"""How long a runtime may take over what it can answer at once."""


class RuntimeGoneError(RefusedError):
    """A runtime that was there does not answer."""

    def __init__(self, runtime_id: str) -> None:
        super().__init__(503, "runtime_gone", _gone(runtime_id))


class Forwarder:
    """The client of runtimes on this machine."""

    def __init__(self) -> None:
        # A connection each: one that is kept would, once its runtime has been restarted on the same port, fail a POST.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._http = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Break off all that is being forwarded."""
        await self._http.close()

    async def relay(self, runtime: Record, method: str, path: str, request: Request) -> Relay | Reply:
        """Return a runtime's answer as it comes, or the refusal that it is.

        Args:
            runtime: which one.
            method: of HTTP.
            path: below MRP's prefix, its variable parts in braces.
            request: what is handed on.

        Raises:
            RuntimeGoneError: it does not answer.
        """
        response = await self._request(runtime, method, path, request)
        if response.status >= 400 and response.content_type == "application/json":
            return await _reply(response, runtime)
        headers = {name: value for name, value in response.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        pieces = _events if response.content_type == "text/event-stream" else _bytes
        return Relay(response.status, headers, pieces(response, runtime))

    async def answer(self, runtime: Record, method: str, path: str, request: Request) -> Reply:
        """Return a runtime's short answer or refusal in JSON; the arguments are those of `relay`.

        Raises:
            RuntimeGoneError: it does not answer.
        """
        try:
            response = await asyncio.wait_for(self._request(runtime, method, path, request), _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            raise RuntimeGoneError(runtime.id) from None
        return await _reply(response, runtime)

    async def _request(self, runtime: Record, method: str, path: str, request: Request) -> aiohttp.ClientResponse:
        filled = re.sub(r"{(\w+)}", lambda match: quote(request.path[match[1]], safe=""), path)
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            if runtime.token_file is not None:
                headers["authorization"] = f"Bearer {await asyncio.to_thread(token.read, Path(runtime.token_file))}"
            return await self._http.request(
                method,
                URL(f"http://127.0.0.1:{runtime.port}{PREFIX}{filled}{query}", encoded=True),
                json=dict(request.body) if method == "POST" else None,
                headers=headers,
            )
        except (*_FAULTS, ServiceError):
            raise RuntimeGoneError(runtime.id) from None


async def _reply(response: aiohttp.ClientResponse, runtime: Record) -> Reply:
    try:
        async with response:
            return Reply(json.loads(await response.read()), response.status)
    except _FAULTS:
        raise RuntimeGoneError(runtime.id) from None


async def _bytes(response: aiohttp.ClientResponse, runtime: Record) -> AsyncIterator[bytes]:
    async with response:
        async for chunk in response.content.iter_any():
            yield chunk


async def _events(response: aiohttp.ClientResponse, runtime: Record) -> AsyncIterator[bytes]:
    """Yield whole events as they come and, if the runtime dies on the way, one that says so."""
    pending = bytearray()
    last = 0
    async with response:
        try:
            async for chunk in response.content.iter_any():
                unsearched = max(0, len(pending) - 1)
                pending += chunk
                end = pending.rfind(b"\n\n", unsearched)
                if end >= 0:
                    whole = bytes(pending[: end + 2])
                    del pending[: end + 2]
                    last = _last_number(whole, last)
                    yield whole
        except _FAULTS:
            error: dict[str, Any] = {
                "type": "RuntimeDied",
                "message": _gone(runtime.id),
                "traceback": [],
                "line": None,
                "column": None,
            }
            yield encode(last + 1, "error", error)
            yield encode(last + 2, "done", {})


def _last_number(events: bytes, before: int) -> int:
    """Return the number of the last of `events`, whose data is a line each, or `before` if they are only comments."""
    start = events.rfind(b"\nid: ") + 1
    match = re.compile(rb"id: (\d+)\n").match(events, start)
    return int(match[1]) if match else before


def _gone(runtime_id: str) -> str:
    return f"the runtime {runtime_id!r} has ended, and its variables are gone; the next execution starts it again"
