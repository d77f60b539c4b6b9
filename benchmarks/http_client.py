"""A fast HTTP client, so that it adds little to the times of the servers."""

import json
import socket
from collections.abc import Iterator
from typing import Any


class Connection:
    """A kept-alive connection to a server on this machine."""

    def __init__(self, port: int, seconds: float = 20.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of the response.

        Raises:
            TimeoutError: there is no response in time.
            ValueError: the status is not 200.
        """
        self._send(method, path, body)
        status, chunked, length = self._read_head()
        content = b"".join(self._chunks()) if chunked else self._take(length)
        if status != 200:
            raise ValueError(f"{method} {path}: {status}: {content[:300]!r}")
        return json.loads(content)

    def events(self, path: str, body: object) -> Iterator[tuple[str, Any]]:
        """Send a POST, and yield the name and the data of each event of the response as it arrives.

        Raises:
            TimeoutError: nothing arrives in time.
        """
        self._send("POST", path, body)
        status, chunked, length = self._read_head()
        assert status == 200, status
        assert chunked, length
        pending = bytearray()
        for chunk in self._chunks():
            pending += chunk.replace(b"\r\n", b"\n")
            *blocks, rest = pending.split(b"\n\n")
            pending = rest
            for block in blocks:
                fields = {
                    name: value for name, _, value in (line.partition(b": ") for line in bytes(block).split(b"\n"))
                }
                if b"event" in fields:
                    yield fields[b"event"].decode(), json.loads(fields[b"data"])

    def _send(self, method: str, path: str, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n".encode() + content)

    def _read_head(self) -> tuple[int, bool, int]:
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            self._receive()
        first, *lines = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        chunked = headers.get("transfer-encoding") == "chunked"
        return int(first.split()[1]), chunked, int(headers.get("content-length", 0))

    def _chunks(self) -> Iterator[bytes]:
        while True:
            while (end := self._data.find(b"\r\n")) < 0:
                self._receive()
            length = int(self._data[:end], 16)
            del self._data[: end + 2]
            chunk = self._take(length + 2)[:-2]
            if length == 0:
                return
            yield chunk

    def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            self._receive()
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def _receive(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._data += data
