"""input(), getpass() and sys.stdin, which ask the client for each line, through the server."""

import builtins
import getpass
import io
import json
import os
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Callable, Optional, Tuple

from IPython.core.error import StdinNotImplementedError

from . import debugger, sigint, streams
from .channel import Channel


class InputCancelled(Exception):  # noqa: N818 - the name that clients know
    """The client has cancelled the input."""


class Stdin(io.TextIOBase):
    """The ``sys.stdin`` of a session. Any thread may read from it, one at a time."""

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, channel: Channel, replies: int) -> None:
        super().__init__()
        os.set_inheritable(replies, False)
        self._channel = channel
        self._socket = socket.socket(fileno=replies)
        self._received = b""
        self._lock = threading.Lock()
        self._number = 0
        self._python_input: "Callable[[object], str]" = builtins.input
        # Whether the client of the running cell answers input requests.
        self.allowed = False
        # The prompt and call of this cell that an interrupt has ended.
        self._interrupted: "Optional[Tuple[Any, ...]]" = None
        self._steps = debugger.Steps()
        os.register_at_fork(after_in_child=self._close_in_child)

    def install(self) -> None:
        """Make Python read from this object."""
        sys.stdin = sys.__stdin__ = self  # type: ignore[assignment,misc]
        builtins.input = self._input
        getpass.getpass = self._getpass

    def end_cell(self) -> None:
        """Allow no input until the next cell, and replace sys.stdin if the cell has left it unusable."""
        self.allowed = False
        self._interrupted = None
        self._steps.end_cell()
        stdin: Any = getattr(sys, "stdin", None)
        if not hasattr(stdin, "readline") or getattr(stdin, "closed", False):
            sys.stdin = self

    def readable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Do nothing: later cells read from here."""

    def readline(self, size: Optional[int] = -1) -> str:  # type: ignore[override]
        """Ask the client for a line and return it."""
        return self._ask("", password=False) + "\n"

    def read(self, size: Optional[int] = -1) -> str:
        """Return one line: the input has no end."""
        return self.readline()

    def _input(self, prompt: object = "", /) -> str:
        is_replaced = sys.stdin is not self
        if is_replaced:
            return self._python_input(prompt)
        return self._ask(str(prompt), password=False)

    def _getpass(self, prompt: str = "Password: ", stream: object = None, **_: Any) -> str:
        return self._ask(prompt, password=True)

    def _ask(self, prompt: str, *, password: bool) -> str:
        if not self.allowed:
            raise StdinNotImplementedError("input() is not available: the code was sent without allowStdin")
        caller = self._caller()
        asking_debugger = debugger.find(caller)
        command = None if asking_debugger is None else self._steps.next_command(asking_debugger)
        if command is not None:
            return command
        call = (prompt, caller.f_code, caller.f_lasti)
        if call == self._interrupted:  # the caller has caught KeyboardInterrupt and asks again
            raise sigint.CellInterrupted
        sys.stdout.write(prompt)
        with suppress(Exception):  # Python's own input() ignores it as well if a replacement cannot flush
            sys.stdout.flush()
        with self._lock:
            self._number += 1
            request = {"op": "stdin_request", "number": self._number, "prompt": prompt, "password": password}
            try:
                # An interrupt while the request is sent is raised after it.
                with sigint.raised():
                    with sigint.deferred():
                        self._channel.send(request, in_order=True)
                    reply = self._read_reply()
            except BaseException as error:
                # Tell the server that an answer would be too late now.
                with sigint.deferred():
                    self._channel.send({"op": "stdin_end", "number": self._number})
                if not isinstance(error, KeyboardInterrupt):
                    raise
                self._interrupted = call
                if asking_debugger is not None:  # on a KeyboardInterrupt it would ask for the command again
                    asking_debugger.set_quit()
                    raise sigint.CellInterrupted from None
                raise KeyboardInterrupt from None  # a new one, whose traceback does not show this module's internals
        if reply is None:
            raise InputCancelled("the input was cancelled")
        if not password:  # the server adds the answer and a newline to stdout
            streams.session_stream("stdout").at_line_start = True
        return reply

    def _caller(self) -> FrameType:
        frame = sys._getframe(1)
        while frame.f_globals is globals() and frame.f_back is not None:
            frame = frame.f_back
        return frame

    def _read_reply(self) -> Optional[str]:
        """Return the reply to the last request, and skip late replies to earlier ones."""
        while True:
            while b"\n" not in self._received:
                # Not with makefile(): its frames would be in the traceback of what a signal handler raises.
                data = self._socket.recv(65536)
                if not data:
                    raise EOFError("the runtime is ending")
                self._received += data
            line, _, self._received = self._received.partition(b"\n")
            reply = json.loads(line)
            if reply["number"] == self._number:
                text: Optional[str] = reply["text"]
                return text

    def _close_in_child(self) -> None:
        """In a forked child, close the socket, which belongs to the parent."""
        self.allowed = False
        self._lock = threading.Lock()
        os.close(self._socket.detach())
