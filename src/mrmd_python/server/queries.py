"""The server's side of questions about a session: to the worker's query thread, and back by their number."""

import asyncio
import json
import logging
from typing import Any

_log = logging.getLogger(__name__)

_DEADLINE_SECONDS = 2.0  # for an answer; the clients themselves give up after five seconds
_MOST_WAITING = 32

Answer = dict[str, Any]


class QueryChannel(asyncio.Protocol):
    """The server's end of the socket of one worker. A question is a line of JSON; an answer, one about it, a tab, and
    itself.

    The worker answers while a cell computes in Python or waits, but not while C code holds its GIL. Then the first
    question times out, and no other is sent until the worker is heard of again.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._overdue: set[int] = set()  # the questions that timed out and were not answered since
        self._number = 0
        self._data = bytearray()

    async def query(self, op: str, **fields: Any) -> Answer | None:
        """Return the worker's answer, or None if there is none in time.

        Args:
            op: what to do, a key of the worker's table.
            fields: what goes with it, as JSON.
        """
        answer = await self.query_raw(op, **fields)
        return None if answer is None else dict(json.loads(answer))

    async def query_raw(self, op: str, **fields: Any) -> bytes | None:
        """Return the worker's answer as it came, which may be megabytes that are only passed on.

        Args:
            op: what to do, a key of the worker's table.
            fields: what goes with it, as JSON.
        """
        if self._transport is None or self._overdue or len(self._waiting) >= _MOST_WAITING:
            return None
        self._number += 1
        number = self._number
        loop = asyncio.get_running_loop()
        answered = self._waiting[number] = loop.create_future()
        # Not wait_for(), which goes round the loop twice more.
        deadline = loop.call_later(_DEADLINE_SECONDS, self._give_up, number)
        self._transport.write(json.dumps({"number": number, "op": op, **fields}).encode() + b"\n")
        try:
            answer: bytes | None = await answered
            return answer
        finally:
            deadline.cancel()
            self._waiting.pop(number, None)

    def _give_up(self, number: int) -> None:
        answered = self._waiting[number]
        if not answered.done():
            self._overdue.add(number)
            answered.set_result(None)

    def close(self) -> None:
        """Close the socket of a worker that has ended."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept questions from now on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand each answer to whoever waits for it."""
        self._data += data
        if b"\n" not in data:
            return
        *lines, self._data = self._data.split(b"\n")
        for line in lines:
            head, _, answer = bytes(line).partition(b"\t")
            message = json.loads(head)
            self._on_answer(message["number"], answer, message.get("error"))

    def _on_answer(self, number: int, answer: bytes, error: str | None) -> None:
        self._overdue.discard(number)
        if error is not None:
            _log.warning("a worker failed to answer about its session:\n%s", error)
        answered = self._waiting.get(number)
        if answered is not None and not answered.done():
            answered.set_result(answer if answer.startswith(b"{") else None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer what still waits with None."""
        self._transport = None
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_result(None)
