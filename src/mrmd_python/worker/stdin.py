"""input(), getpass() and sys.stdin: each line is asked of the client, by way of the server."""

import builtins
import getpass
import io
import json
import os
import socket
import sys
import threading
from typing import Any, Optional

from IPython.core.error import StdinNotImplementedError

from . import sigint, streams
from .channel import Channel


class InputCancelled(Exception):  # noqa: N818 - the name that clients know
    """The client will not answer."""


class Stdin(io.TextIOBase):
    """``sys.stdin`` of a session. Any thread may read, one at a time."""

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, channel: Channel, replies: int) -> None:
        super().__init__()
        os.set_inheritable(replies, False)
        self._channel = channel
        self._socket = socket.socket(fileno=replies)
        self._replies = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._number = 0
        self.allowed = False
        """Whether the client of the running cell answers."""
        os.register_at_fork(after_in_child=self._abandon)

    def install(self) -> None:
        """Be what Python reads from; a cell may have put something else there."""
        sys.stdin = sys.__stdin__ = self  # type: ignore[assignment,misc]
        builtins.input = self._input
        getpass.getpass = self._getpass

    def readable(self) -> bool:
        """Return True."""
        return True

    def readline(self, size: Optional[int] = -1) -> str:  # type: ignore[override]
        """Return a line, which the client is asked for."""
        return self._ask("", password=False) + "\n"

    def read(self, size: Optional[int] = -1) -> str:
        """Return a line: there is no end of file to read to."""
        return self.readline()

    def _input(self, prompt: object = "", /) -> str:
        sys.stdout.write(str(prompt))
        sys.stdout.flush()
        return self._ask(str(prompt), password=False)

    def _getpass(self, prompt: str = "Password: ", stream: object = None, **_: Any) -> str:
        sys.stdout.write(prompt)
        sys.stdout.flush()
        return self._ask(prompt, password=True)

    def _ask(self, prompt: str, *, password: bool) -> str:
        if not self.allowed:
            raise StdinNotImplementedError("nobody answers input() here: the code was sent without allowStdin")
        with self._lock:
            self._number += 1
            request = {"op": "stdin_request", "number": self._number, "prompt": prompt, "password": password}
            with sigint.put_off():
                self._channel.send(request, mark=True)
            try:
                reply = self._reply()
            except BaseException:  # an interrupt: what is answered from now on is answered too late
                with sigint.put_off():
                    self._channel.send({"op": "stdin_over", "number": self._number})
                raise
        if reply is None:
            raise InputCancelled("the input was cancelled")
        if not password:  # the server adds the answer to stdout, and a line end
            streams.session_stream("stdout").at_line_start = True
        return reply

    def _reply(self) -> Optional[str]:
        """Return the reply to the last request, passing over what came too late for an earlier one."""
        while True:
            line = self._replies.readline()
            if not line:
                raise EOFError("the runtime is ending")
            reply = json.loads(line)
            if reply["number"] == self._number:
                text: Optional[str] = reply["text"]
                return text

    def _abandon(self) -> None:
        """Let go, in a forked child, of what answers to the parent."""
        self.allowed = False
        self._lock = threading.Lock()
        os.close(self._socket.detach())
