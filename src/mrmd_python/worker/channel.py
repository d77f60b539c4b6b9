"""The worker's connection to the server: the control socket and the output pipes.

A message is a line of JSON. A message that has a place in the output, such as a display, has a number, its `mark`. The
worker first writes this number to both pipes, after a secret that only the server and this process know. The server
reads the pipes up to the mark, then handles the message. So the worker need not wait for an answer.
"""

import json
import math
import os
import socket
import threading
from typing import Any, Optional

from .sigint import release_leaked

Message = dict[str, Any]

_DEPTH = 100

# Kept here because a cell may replace them in their modules.
_dumps, _loads, _write = json.JSONEncoder(allow_nan=False).encode, json.loads, os.write


class Channel:
    """The socket, and copies of the pipes that stay open if a cell closes descriptors 1 and 2."""

    def __init__(self, control: int, secret: bytes) -> None:
        self.socket = socket.socket(fileno=control)
        os.set_inheritable(control, False)
        self._secret = secret
        self._mark = 0
        self._pipes = [os.dup(1), os.dup(2)]
        self._pid = os.getpid()
        # Reentrant, because a signal handler may send a display while the cell sends one.
        self._lock = threading.RLock()
        self._outgoing: "list[tuple[bytes, bool]]" = []
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._close_in_child
        )

    def _close_in_child(self) -> None:
        """In a forked child, close what belongs to the parent."""
        self.socket.close()
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes = []
        self._lock.release()

    def send(self, message: Message, *, in_order: bool = False) -> None:
        """Send a message; in a forked child, do nothing.

        While a cell runs, the caller must defer SIGINT: half a message would end the session.

        Args:
            message: the message.
            in_order: whether it must keep its place in the output.
        """
        if os.getpid() != self._pid:
            return
        data = _encode(message)
        with self._lock:
            # Must come before append(): if a signal handler sends a message in between, both calls would wait.
            is_sending = bool(self._outgoing)
            try:
                self._outgoing.append((data, in_order))
                # If it is already sending, this is a signal handler: the call that it interrupted sends this message.
                while self._outgoing and not is_sending:
                    self._send(*self._outgoing[0])
                    del self._outgoing[0]
            finally:
                if not is_sending:
                    self._outgoing.clear()

    def _send(self, data: bytes, in_order: bool) -> None:
        if in_order:
            self._mark += 1
            data = b'{"mark": %d, ' % self._mark + data[1:]
        try:
            for pipe in self._pipes if in_order else ():
                self._write_mark(pipe)
        finally:  # even if a signal handler raises: the server stops at the mark until the message comes
            self.socket.sendall(data + b"\n")

    def _write_mark(self, pipe: int) -> None:
        # At most PIPE_BUF bytes, so it is written whole or not at all, and not mixed with other output (pipe(7)).
        content = b"%s%010d" % (self._secret, self._mark)
        try:
            _write(pipe, content)
        except BlockingIOError:  # a cell has made the pipe non-blocking
            os.set_blocking(pipe, True)
            _write(pipe, content)

    def restore(self) -> None:
        """After a cell, release the lock if it is still held, and reopen descriptors 1 and 2 if they have changed."""
        release_leaked(self._lock)
        for descriptor, pipe in enumerate(self._pipes, start=1):
            try:
                intact = os.path.samestat(os.fstat(descriptor), os.fstat(pipe))
            except OSError:
                intact = False
            if not intact:
                os.dup2(pipe, descriptor)
            os.set_blocking(pipe, True)

    def receive(self) -> Optional[Message]:
        """Return the next message, or None if the server has closed the socket.

        The server sends a message only after it has the answer to the previous one, so no data of another follows.
        """
        data = bytearray()
        try:
            while not data.endswith(b"\n"):
                chunk = self.socket.recv(1 << 16)
                if not chunk:
                    return None
                data += chunk
        except ConnectionError:
            return None
        message: Message = _loads(data)
        return message


def _encode(message: Message) -> bytes:
    """Return a message as strict JSON. It may contain any object that a cell displayed."""
    try:
        return _dumps(message).encode()
    except (TypeError, ValueError, RecursionError):
        return _dumps(_plain(message, 0)).encode()


def _plain(value: Any, depth: int) -> Any:
    """Convert a value to JSON types: keys become text, NaN and infinities null, other objects their str()."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _DEPTH:
        if isinstance(value, dict):
            return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # from the user's __str__
        return f"<{type(value).__name__}>"
