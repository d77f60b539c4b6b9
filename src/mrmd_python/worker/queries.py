"""Answers the server's queries about the session on a thread, so also while a cell computes or waits.

The thread is started with `_thread`, so `threading.enumerate()` does not list it and exit does not wait for it.
"""

import _thread
import json
import os
import signal
import socket
import traceback
import warnings
from typing import Any, Mapping, Optional

from .idle_calls import IdleCalls
from .introspect.answers import ANSWERS
from .introspect.complete import complete
from .shell import Shell

Request = Mapping[str, Any]

_CRASH_SIGNALS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}

_dumps, _loads = json.dumps, json.loads  # a cell may replace them in the module


class QueryThread:
    """Reads queries from a socket, each a line of JSON, and answers them.

    An answer is a line with two JSON values and a tab between: its header, and the answer, which the server may pass on
    without parsing it.
    """

    def __init__(self, descriptor: int, shell: Shell, idle_calls: IdleCalls) -> None:
        os.set_inheritable(descriptor, False)
        self._shell = shell
        self._idle_calls = idle_calls
        self._socket = socket.socket(fileno=descriptor)
        # From CPython 3.12 on, os.fork() warns in a process with several threads, and this thread always runs.
        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
        os.register_at_fork(after_in_child=self._socket.close)
        _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        # A SIGINT delivered to this thread would not wake the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _CRASH_SIGNALS)
        rest = b""
        try:
            while True:
                data = self._socket.recv(1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._socket.sendall(self._reply(line))
        except Exception:  # noqa: S110 - a traceback would appear in the cell's output
            pass  # a cell has closed the socket, or memory is exhausted

    def _reply(self, line: bytes) -> bytes:
        request = _loads(line)
        header = {"number": request["number"]}
        try:
            answer = _dumps(self._answer(request))
        except Exception as error:
            # For the runtime's log. Without the error's text: its __str__ may be the user's.
            frames = "".join(traceback.format_tb(error.__traceback__))
            answer, header["error"] = "null", f"{frames}{type(error).__name__}"
        return f"{_dumps(header)}\t{answer}\n".encode()

    def _answer(self, request: Request) -> "Optional[dict[str, Any]]":
        if request["op"] == "complete":
            return complete(self._shell, self._idle_calls, request["code"], request["cursor"])
        return ANSWERS[request["op"]](self._shell, request)
