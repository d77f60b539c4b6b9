"""Cutting what comes over the sockets of a worker and of its reaper into messages and lines."""

import asyncio
import logging
import struct
from collections.abc import Callable

from mrmd_python.server.worker_message import Message, parse

_log = logging.getLogger(__name__)

_LONGEST = 1 << 30


class Frames(asyncio.Protocol):
    """Cuts a byte stream into length-prefixed JSON messages."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on each message that is whole."""
        self._data += data
        while len(self._data) >= 4:
            (length,) = struct.unpack_from(">I", self._data)
            if length <= _LONGEST and len(self._data) < 4 + length:
                return
            try:
                if length > _LONGEST:
                    raise ValueError(f"it would have {length} bytes")
                message = parse(self._data[4 : 4 + length])
            except ValueError as error:
                # A cell has written to the worker's socket: nothing after it can be trusted.
                _log.warning("what a worker has sent is no message: %s; the worker is ended", error)
                self._data.clear()
                self._transport.close()
                return
            del self._data[: 4 + length]
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        self._on_close()


class Lines(asyncio.Protocol):
    """Cuts a byte stream into lines."""

    def __init__(self, on_line: Callable[[str], None], on_close: Callable[[], None]) -> None:
        self._on_line = on_line
        self._on_close = on_close
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Hand on each line that is whole."""
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        self._on_close()
