"""The server's end of the query channel: queries about a session's objects, which a thread of its worker answers."""

import asyncio
import json
import logging
from typing import Any

from mrmd_python.server.lines import LineProtocol

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 2.0  # clients give up after five
_MAX_PENDING = 32


class QueryChannel(LineProtocol):
    """The query socket of one worker.

    A query is a line of JSON. An answer is a line with its number in JSON, a tab, and the answer in JSON.

    The worker answers while a cell runs Python code or waits, but not while C code holds the GIL. Then the first query
    times out, and no more are sent until the worker has answered it.
    """

    def __init__(self) -> None:
        super().__init__()
        # The queries without an answer, by number.
        self._pending: dict[int, asyncio.Future[bytes | None]] = {}
        # The queries that timed out and have not been answered since.
        self._overdue: set[int] = set()
        self._number = 0

    async def query(self, op: str, **fields: Any) -> bytes | None:
        """Return the worker's answer in JSON, or None if it does not answer in time.

        Args:
            op: a key in the worker's table of queries.
            fields: the arguments of the query.
        """
        if self.transport is None or self._overdue or len(self._pending) >= _MAX_PENDING:
            return None
        self._number += 1
        number = self._number
        loop = asyncio.get_running_loop()
        future = self._pending[number] = loop.create_future()
        # Faster than wait_for(), which takes two more turns of the loop.
        deadline = loop.call_later(_TIMEOUT_SECONDS, self._time_out, number)
        self.transport.write(json.dumps({"number": number, "op": op, **fields}).encode() + b"\n")
        try:
            answer: bytes | None = await future
            return answer
        finally:
            deadline.cancel()
            self._pending.pop(number, None)

    def _time_out(self, number: int) -> None:
        future = self._pending[number]
        if not future.done():
            self._overdue.add(number)
            future.set_result(None)

    def close(self) -> None:
        """Close the socket of a worker that has ended."""
        if self.transport is not None:
            self.transport.close()

    def line_received(self, line: bytes) -> None:
        """Pass an answer to the coroutine that waits for it."""
        head, _, answer = line.partition(b"\t")
        message = json.loads(head)
        self._on_answer(message["number"], answer, message.get("error"))

    def _on_answer(self, number: int, answer: bytes, error: str | None) -> None:
        self._overdue.discard(number)
        if error is not None:
            for error_line in error.splitlines():
                _log.warning("a worker failed to answer a query: %s", error_line)
        future = self._pending.get(number)
        if future is not None and not future.done():
            future.set_result(answer if answer.startswith(b"{") else None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer the pending queries with None."""
        self.transport = None
        for future in self._pending.values():
            if not future.done():
                future.set_result(None)
