"""The server's connection to one worker: sends messages and interrupts, and reports messages and output in order."""

import asyncio
import json
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from mrmd_python.runtime import marker
from mrmd_python.runtime.processes import Process
from mrmd_python.server.lines import LineProtocol
from mrmd_python.server.oom import oom_kills
from mrmd_python.server.output_pipe import OutputPipe
from mrmd_python.server.queries import QueryChannel
from mrmd_python.server.spawn import SpawnedWorker

# How long a worker that has closed its socket may take to exit by itself. Its wait status then says why.
_EXIT_SECONDS = 1.0
# The pause between two checks whether the reaper has ended.
_POLL_SECONDS = 0.005
# How much longer than the stop timeout a reaper may take to end a session. If it takes longer, it has been stopped or
# cannot keep up. The server has more time to stop (`spec.stop_seconds`).
_REAPER_SECONDS = 5.0

_log = logging.getLogger(__name__)

Message = dict[str, Any]


class WorkerExit(NamedTuple):
    """How a worker ended."""

    # The wait status of the worker, or None if its reaper was killed.
    status: int | None
    # Why it never started.
    failure: str | None = None
    # Whether the kernel has killed processes because of lack of memory since the last message to the worker.
    out_of_memory: bool = False

    def cause(self) -> str:
        """Return the rest of a sentence that begins with "the session's process"."""
        if self.failure is not None:
            return f"could not be started: {self.failure}"
        if self.status is None:
            return "was killed together with the process that watches it"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            if number == signal.SIGKILL and self.out_of_memory:
                return "was killed by SIGKILL from the kernel: out of memory"
            try:
                return f"was killed by {signal.Signals(number).name}"
            except ValueError:
                return f"was killed by signal {number}"
        return f"exited with status {os.WEXITSTATUS(self.status)}"


class Listener(Protocol):
    """Receives what happens to a worker, in order."""

    def on_text(self, stream: str, text: str) -> None:
        """The worker or a child wrote to `stream`: "stdout" or "stderr"."""

    def is_too_fast(self) -> bool:
        """Return whether to read the output more slowly."""
        ...

    def on_message(self, message: Message) -> Coroutine[Any, Any, None] | None:
        """The worker sent a message. All output that it wrote before has been reported.

        Nothing more is reported until the returned coroutine has ended.
        """

    def on_exit(self, exit_: WorkerExit) -> None:
        """The worker and every process it started have ended. All their output has been reported."""


class WorkerLink:
    """The connection to one worker, until its last descendant has ended."""

    def __init__(self, spawned: SpawnedWorker, listener: Listener) -> None:
        self._spawned = spawned
        self._listener = listener
        self._status: int | None = None
        self._failure: str | None = None
        self._open_sockets = 2
        self.queries = QueryChannel()
        self._pending_interrupts = 0
        self._no_pending_interrupts = asyncio.Event()
        self._no_pending_interrupts.set()
        self.pid: int | None = None
        self._oom_kills = oom_kills()
        self._ended = asyncio.get_running_loop().create_future()
        self._connected = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        # The messages that have arrived since one that takes time to handle, and the task that handles it.
        self._backlog: deque[Message] = deque()
        self._handling: asyncio.Task[None] | None = None
        self._pipes = [
            OutputPipe(descriptor, spawned.secret.encode(), partial(listener.on_text, name), listener.is_too_fast)
            for name, descriptor in (("stdout", spawned.stdout), ("stderr", spawned.stderr))
        ]

    async def connect(self) -> None:
        """Connect to the worker and the reaper."""
        loop = asyncio.get_running_loop()
        self._replies, _ = await loop.create_unix_connection(asyncio.Protocol, sock=self._spawned.replies)
        await loop.create_unix_connection(lambda: self.queries, sock=self._spawned.queries)
        self._reaper_socket, _ = await loop.create_unix_connection(
            lambda: _Messages(self._receive_from_reaper, self._reaper_closed), sock=self._spawned.reaper_socket
        )
        self._control, _ = await loop.create_unix_connection(
            lambda: _Messages(self._receive, self._control_closed), sock=self._spawned.control
        )
        self._connected.set()

    def send(self, message: Message) -> None:
        """Send a message; never blocks."""
        _write(self._control, message)
        self._oom_kills = oom_kills()  # here it takes no time: the worker is busy

    @property
    def is_ending(self) -> bool:
        """Whether the worker or its reaper has ended. Processes that the worker started may still run."""
        return self._open_sockets < 2 or self._reaper_socket.is_closing()

    def answer(self, number: int, text: str | None) -> None:
        """Answer the worker's request for input with this number; None cancels it."""
        _write(self._replies, {"number": number, "text": text})

    def interrupt(self) -> None:
        """Let the reaper send SIGINT to the worker's process group: only a parent knows that a pid is not reused."""
        self._pending_interrupts += 1
        self._no_pending_interrupts.clear()
        _write(self._reaper_socket, {"op": "interrupt"})

    async def interrupts_delivered(self) -> None:
        """Wait until all interrupts are delivered, so that none hits the next message."""
        await self._no_pending_interrupts.wait()

    async def end(self) -> None:
        """End the worker and all it started; return when they have ended."""
        await self._connected.wait()
        self.request_end()
        await asyncio.wait({self._ended}, timeout=self._spawned.stop_timeout + _REAPER_SECONDS)
        if not self._ended.done():
            self._spawned.reaper.kill()  # the worker dies with it, and _wait_for_reaper() ends what it started
            await asyncio.shield(self._ended)

    def request_end(self) -> None:
        """Let the reaper end the worker and all it started."""
        if not self._reaper_socket.is_closing():
            _write(self._reaper_socket, {"op": "end"})

    def _receive_from_reaper(self, message: Message) -> None:
        match message["op"]:
            case "spawned":
                self.pid = message["pid"]
            case "failed":
                self._failure = message["reason"]
            case "exited":
                self._status = message["status"]
            case "interrupted":
                self._pending_interrupts -= message["count"]
                if self._pending_interrupts == 0:
                    self._no_pending_interrupts.set()

    def _receive(self, message: Message) -> None:
        self._backlog.append(message)
        if self._handling is None:
            self._handle_backlog()

    def _handle_backlog(self) -> None:
        """Report the messages, up to one that takes time to handle."""
        while self._backlog:
            message = self._backlog.popleft()
            self._hold_output(message)
            handling = self._listener.on_message(message)
            if handling is not None:
                self._control.pause_reading()
                self._handling = asyncio.create_task(handling)
                self._handling.add_done_callback(partial(self._handled, message))
                return
            self._release_output(message)

    def _handled(self, message: Message, handling: "asyncio.Task[None]") -> None:
        self._handling = None
        self._release_output(message)
        self._control.resume_reading()
        error = handling.exception()
        if error is not None:
            _log.error("a message from a worker could not be handled", exc_info=error)
        self._handle_backlog()
        self._finish_if_closed()

    def _hold_output(self, message: Message) -> None:
        """Report all output that the worker wrote before a message, and stop there."""
        mark = message.get("mark")
        if mark is not None:
            for pipe in self._pipes:
                pipe.read_to(mark)
        if message["op"] == "done":
            for pipe in self._pipes:
                pipe.end_text()

    def _release_output(self, message: Message) -> None:
        if message.get("mark") is not None:
            for pipe in self._pipes:
                pipe.resume()

    def _reaper_closed(self) -> None:
        """Handle the exit of the reaper."""
        self._ending = asyncio.create_task(self._wait_for_reaper())

    async def _wait_for_reaper(self) -> None:
        await reaper_ended(self._spawned)
        if self._status is None:
            await self._end_marked()
        self._socket_closed()

    async def _end_marked(self) -> None:
        """End what the worker started, in place of its reaper, which was killed."""
        ended: set[Process] = set()
        for alive in marker.end_marked(self._spawned.marker, self._spawned.stop_timeout):
            ended |= alive
            await asyncio.sleep(marker.PAUSE_SECONDS if alive else 0)
        # The worker has ended with its reaper, and they have become children of this process.
        for pid in (*([] if self.pid is None else [self.pid]), *(process.pid for process in ended)):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block

    def _control_closed(self) -> None:
        """Handle the end of the control socket: the worker is exiting, or must be ended because it closed it."""
        asyncio.get_running_loop().call_later(_EXIT_SECONDS, self.request_end)
        self._socket_closed()

    def _socket_closed(self) -> None:
        self._open_sockets -= 1
        self._finish_if_closed()

    def _finish_if_closed(self) -> None:
        if self._open_sockets == 0 and self._handling is None:
            self._finish()

    def _finish(self) -> None:
        """Report what is left in the pipes, then the exit."""
        self._no_pending_interrupts.set()
        self.queries.close()
        self._replies.close()
        for pipe in self._pipes:
            pipe.close()
        exit_ = WorkerExit(self._status, self._failure, oom_kills() > self._oom_kills)
        self._listener.on_exit(exit_)
        self._ended.set_result(None)


async def reaper_ended(spawned: SpawnedWorker) -> None:
    """Return when a reaper has ended. Not in a thread: at the limit of processes, none can be started."""
    while spawned.reaper.poll() is None:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(_POLL_SECONDS)


class _Messages(LineProtocol):
    """Passes on messages. Each is a line of JSON."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        super().__init__()
        self._on_message = on_message
        self._on_close = on_close

    def line_received(self, line: bytes) -> None:
        """Pass on the message."""
        self._on_message(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the socket was closed."""
        self._on_close()


def _write(transport: asyncio.WriteTransport, message: object) -> None:
    transport.write(json.dumps(message).encode() + b"\n")
