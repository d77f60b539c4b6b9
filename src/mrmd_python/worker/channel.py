"""The worker's end of what it shares with the server: the control socket and the output pipes.

A message is a line of JSON. One that must keep its place in the output, as a display, carries `mark`: the same number
is written into both pipes first, behind a secret that the server gave this process alone, and the server cuts the
output there. So order needs no answer and no pause.
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

# A cell may put others into the modules.
_dumps, _loads, _write = json.JSONEncoder(allow_nan=False).encode, json.loads, os.write


class Channel:
    """The socket, and private copies of the pipes, which survive what a cell does to descriptors 1 and 2."""

    def __init__(self, control: int, secret: bytes) -> None:
        self.socket = socket.socket(fileno=control)
        os.set_inheritable(control, False)
        self._secret = secret
        self._mark = 0
        self._pipes = [os.dup(1), os.dup(2)]
        self._pid = os.getpid()
        # Reentrant, for a signal handler may display something while the cell does.
        self._lock = threading.RLock()
        self._outgoing: "list[tuple[bytes, bool]]" = []
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._abandon)

    def _abandon(self) -> None:
        """Close, in a forked child, what belongs to the parent."""
        self.socket.close()
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes = []
        self._lock.release()

    def send(self, message: Message, *, in_order: bool = False) -> None:
        """Send a message, `in_order` if it must stay where the output is now; do nothing in a forked child.

        Where SIGINT raises, as in a cell, it is to be put off: half a message would be the end of the session.
        """
        if os.getpid() != self._pid:
            return
        data = _encode(message)
        with self._lock:
            # Asked before the message is added: a signal handler that sends between the two would make both wait.
            is_sending = bool(self._outgoing)
            try:
                self._outgoing.append((data, in_order))
                # If true, this is a signal handler, and what it interrupted here sends this, too.
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
        finally:  # also if a signal handler raises: the server stops at a mark until the message comes
            self.socket.sendall(data + b"\n")

    def _write_mark(self, pipe: int) -> None:
        # At most PIPE_BUF bytes: never mixed with what others write, and written whole or not at all (pipe(7)).
        content = b"%s%010d" % (self._secret, self._mark)
        try:
            _write(pipe, content)
        except BlockingIOError:  # a cell has made the pipe non-blocking
            os.set_blocking(pipe, True)
            _write(pipe, content)

    def restore(self) -> None:
        """Undo what a cell may have left: a lock held, and descriptors 1 and 2 closed or replaced."""
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
        """Return the next message, or None when the server has closed the socket.

        The server sends none before it has heard that this process is done with the last.
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
    """Return a message as JSON that every client takes; what a cell put into it may be anything."""
    try:
        return _dumps(message).encode()
    except (TypeError, ValueError, RecursionError):
        return _dumps(_plain(message, 0)).encode()


def _plain(value: Any, depth: int) -> Any:
    """Return the nearest thing to `value` that JSON has: keys are text, NaN is null, the rest is its str()."""
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
    except Exception:  # the cell's own
        return f"<{type(value).__name__}>"
