"""The protocol of the sockets to a worker: each message is a line."""

import asyncio
import logging
from abc import ABC, abstractmethod

_log = logging.getLogger(__name__)


class LineProtocol(asyncio.Protocol, ABC):
    """Splits a byte stream into lines. A line that cannot be handled closes the connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        # The pieces of an incomplete line: an answer may have megabytes.
        self._pieces: list[bytes] = []

    @abstractmethod
    def line_received(self, line: bytes) -> None:
        """Handle a line, without its newline."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass on each line that is complete."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._pieces, lines[0]])
            self._pieces = []
        self._pieces.append(rest)
        try:
            for line in lines:
                self.line_received(line)
        except Exception:  # code in a session can write to its worker's sockets
            _log.exception("cannot handle a message; closing the connection to the worker")
            assert self.transport is not None
            self.transport.close()
