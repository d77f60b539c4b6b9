"""Looking at the session from a thread, so also while a cell computes or waits.

The thread is none of `threading`'s: what a cell asks of that module, and how the process ends, is as if it were not
there. From CPython 3.12 on, though, os.fork() warns in a process with more than one thread of any kind. So the thread
ends before a fork, if it is the only one that the fork would warn of, and comes back with the next cell or the end of
this one. It cannot come back sooner: CPython 3.13 counts threads after the hooks that run behind a fork.
"""

import _thread
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, Callable, Mapping, Optional

from . import inspection, sigint, variables
from .completion.complete import Session, complete
from .idle_calls import IdleCalls
from .shell import Shell

Request = Mapping[str, Any]

_FORK_WARNS = sys.version_info >= (3, 12)
_END_SECONDS = 1.0
"""How long a fork waits for the answer that is being made."""
_THREADS = "/proc/self/task"
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}

_dumps, _loads = json.dumps, json.loads  # a cell may put others into the module


_ANSWERS: "Mapping[str, Callable[[Shell, Request], Any]]" = {
    "hover": inspection.hover,
    "inspect": inspection.inspection,
    "variable": variables.expansion,
    "variables": variables.listing,
}
"""Of each `op` of a request: what makes the answer, which is JSON."""


class Looks:
    """The worker's end of the socket. A request is a line of JSON; an answer, one about it, a tab, and itself."""

    def __init__(self, descriptor: int, shell: Shell, idle_calls: IdleCalls) -> None:
        os.set_inheritable(descriptor, False)
        self._shell = shell
        self._idle_calls = idle_calls
        self._socket = socket.socket(fileno=descriptor)
        self._bell, self._rope = socket.socketpair()
        self._poll = select.poll()
        for readable in (self._socket, self._bell):
            self._poll.register(readable, select.POLLIN)
        self._data = bytearray()
        self._searched = 0
        """Up to where there is no end of a line in it."""
        self._is_to_serve = False
        self._serving = _thread.allocate_lock()
        """Held by the thread."""
        self._thread = 0
        self._start = _thread.start_new_thread
        os.register_at_fork(before=self._make_way, after_in_child=self._abandon)

    def serve(self) -> None:
        """See to it that the thread runs."""
        if self._serving.acquire(False):
            self._is_to_serve = True
            try:
                self._start(self._run, ())
            except RuntimeError:  # the system gives this process no more threads
                self._serving.release()

    def _make_way(self) -> None:
        """End the thread before a fork that would warn of it alone."""
        me = _thread.get_native_id()
        if not (_FORK_WARNS and self._is_to_serve) or me == self._thread or _count_threads() > 2:
            return
        with sigint.put_off():  # the lock must not be left held
            self._is_to_serve = False
            self._rope.send(b"x")
            deadline = time.monotonic() + _END_SECONDS
            if self._serving.acquire(True, _END_SECONDS):
                self._serving.release()
                # It is through with Python, and about to end as far as the system is concerned.
                while os.path.exists(f"{_THREADS}/{self._thread}") and time.monotonic() < deadline:
                    os.sched_yield()

    def _abandon(self) -> None:
        """Let go, in a forked child, of what answers for the parent."""
        self._is_to_serve = False
        self._serving = _thread.allocate_lock()
        self._serving.acquire()  # for good: there is nobody to serve
        for end in (self._socket, self._bell, self._rope):
            end.close()

    def _run(self) -> None:
        try:
            # An interrupt that the system gave to this thread would not wake the one that it is meant for.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
            self._thread = _thread.get_native_id()
            while self._is_to_serve:
                line = self._take_line()
                if line is not None:
                    self._socket.sendall(self._reply(line))
                elif not self._receive():
                    return
        except Exception:  # noqa: S110 - it would be printed into the cell's output
            pass  # a cell has closed the socket, or there is no memory; the next cell finds out
        finally:
            self._serving.release()

    def _take_line(self) -> Optional[bytes]:
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return line

    def _receive(self) -> bool:
        """Wait for a piece of a request or the bell; return False at the end of the worker."""
        readable = [descriptor for descriptor, _ in self._poll.poll()]
        if self._bell.fileno() in readable:
            self._bell.recv(1)
            return True
        data = self._socket.recv(1 << 16)
        self._data += data
        return bool(data)

    def _reply(self, line: bytes) -> bytes:
        request = _loads(line)
        about = {"number": request["number"]}
        try:
            answer = _dumps(self._answer(request))
        except Exception as error:
            # For the runtime's log. The error's own text could be a cell's, and its __str__ then anything.
            place = "".join(traceback.format_tb(error.__traceback__))
            answer, about["fault"] = "null", f"{place}{type(error).__name__}"
        return f"{_dumps(about)}\t{answer}\n".encode()

    def _answer(self, request: Request) -> Any:
        if request["op"] == "complete":
            session = Session(self._shell, self._idle_calls)
            return complete(session, request["code"], request["cursor"])
        return _ANSWERS[request["op"]](self._shell, request)


def _count_threads() -> int:
    """Return how many threads this process has, or 2 where the system does not tell."""
    try:
        return len(os.listdir(_THREADS))
    except OSError:
        return 2
