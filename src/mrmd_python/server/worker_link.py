"""The server's side of one worker: messages, output and interrupts in; callbacks out, in the order things happened."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from mrmd_python.runtime import processes
from mrmd_python.runtime.marker import marked
from mrmd_python.server.lines import LineProtocol
from mrmd_python.server.oom import oom_kills
from mrmd_python.server.output_pipe import OutputPipe
from mrmd_python.server.queries import QueryChannel
from mrmd_python.server.spawn import SpawnedWorker

# How long a worker that has closed its socket may take to exit by itself, and so to have a cause of its own.
_EXIT_SECONDS = 1.0
# The pause between two checks whether a process has ended.
_EXITING_SECONDS = 0.005
# How long a reaper may take to end a session. One that takes longer has itself been stopped, or cannot keep up. It is
# less than what backends give the server to end: eight seconds and more.
_END_SECONDS = 6.0

Message = dict[str, Any]


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended."""

    # Its wait status, or None if its reaper was killed.
    status: int | None
    # Why it never started.
    failure: str | None = None
    # Whether the kernel has ended processes for lack of memory since the worker was last sent something.
    out_of_memory: bool = False

    def cause(self) -> str:
        """Return it as the predicate of a sentence about the session's process."""
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
    """What happens to a worker, in order."""

    def on_text(self, stream: str, text: str) -> None:
        """Something was written to `stream`, which is stdout or stderr."""

    def on_message(self, message: Message) -> None:
        """The worker sent a message; all output it wrote before has been reported."""

    def on_exit(self, exit_: WorkerExit) -> None:
        """The worker and every process it started are gone; all they wrote has been reported."""


class WorkerLink:
    """One worker, from its start to the end of its last descendant."""

    def __init__(self, spawned: SpawnedWorker, listener: Listener) -> None:
        self._spawned = spawned
        self._listener = listener
        self._status: int | None = None
        self._failure: str | None = None
        self._open_sockets = 2
        self.queries = QueryChannel()
        self._interrupts_under_way = 0
        self._no_interrupt_under_way = asyncio.Event()
        self._no_interrupt_under_way.set()
        self.pid: int | None = None
        self._oom_kills = oom_kills()
        self._ended = asyncio.get_running_loop().create_future()
        self._connected = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._pipes = [
            OutputPipe(descriptor, spawned.secret.encode(), partial(listener.on_text, name))
            for name, descriptor in (("stdout", spawned.stdout), ("stderr", spawned.stderr))
        ]

    async def connect(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._replies, _ = await loop.create_unix_connection(asyncio.Protocol, sock=self._spawned.replies)
        await loop.create_unix_connection(lambda: self.queries, sock=self._spawned.queries)
        self._leash, _ = await loop.create_unix_connection(
            lambda: _Messages(self._receive_from_reaper, self._leash_closed), sock=self._spawned.leash
        )
        self._control, _ = await loop.create_unix_connection(
            lambda: _Messages(self._receive, self._control_closed), sock=self._spawned.control
        )
        self._connected.set()

    def send(self, message: Message) -> None:
        """Send a message; never blocks."""
        _write(self._control, message)
        self._oom_kills = oom_kills()  # now, while the worker is busy with it

    @property
    def is_ending(self) -> bool:
        """Whether the worker or its reaper is gone, though perhaps not yet all that it started."""
        return self._open_sockets < 2 or self._leash.is_closing()

    def answer(self, number: int, text: str | None) -> None:
        """Answer the worker's request for a line of that number; None cancels it."""
        _write(self._replies, {"number": number, "text": text})

    def interrupt(self) -> None:
        """Send SIGINT to the worker's process group, by way of its reaper, which knows whether it still is that."""
        self._interrupts_under_way += 1
        self._no_interrupt_under_way.clear()
        _write(self._leash, {"op": "interrupt"})

    async def interrupts_delivered(self) -> None:
        """Wait until no interrupt is on its way, so that none can hit what is sent next."""
        await self._no_interrupt_under_way.wait()

    async def end(self) -> None:
        """End the worker and all it started; return when they are gone."""
        await self._connected.wait()
        self.order_end()
        await asyncio.wait({self._ended}, timeout=_END_SECONDS)
        if not self._ended.done():
            self._spawned.reaper.kill()  # then the worker dies with it, and what it started is ended from here
            await asyncio.shield(self._ended)

    def order_end(self) -> None:
        """Have the reaper end the worker and all it started."""
        if not self._leash.is_closing():
            _write(self._leash, {"op": "end"})

    def _receive_from_reaper(self, message: Message) -> None:
        match message["op"]:
            case "spawned":
                self.pid = message["pid"]
            case "failed":
                self._failure = message["reason"]
            case "exited":
                self._status = message["status"]
            case "interrupted":
                self._interrupts_under_way -= message["count"]
                if self._interrupts_under_way == 0:
                    self._no_interrupt_under_way.set()

    def _receive(self, message: Message) -> None:
        mark = message.get("mark")
        if mark is not None:
            for pipe in self._pipes:
                pipe.read_to(mark)
        if message["op"] == "done":
            for pipe in self._pipes:
                pipe.end_text()
        self._listener.on_message(message)
        if mark is not None:
            for pipe in self._pipes:
                pipe.go_on()

    def _leash_closed(self) -> None:
        """Note that the reaper has exited."""
        self._ending = asyncio.create_task(self._wait_for_reaper())

    async def _wait_for_reaper(self) -> None:
        # No thread waits for it: there may be none to be had.
        while self._spawned.reaper.poll() is None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(_EXITING_SECONDS)
        if self._status is None:
            await self._end_marked()
        self._socket_closed()

    async def _end_marked(self) -> None:
        """End what the worker has started, in the place of its reaper, which was killed."""
        killed: set[processes.Process] = set()
        while True:
            found, foreign = processes.kill(lambda: marked(self._spawned.marker))
            killed |= found - foreign
            if found == foreign:
                break
            await asyncio.sleep(_EXITING_SECONDS)
        for process in killed:
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block

    def _control_closed(self) -> None:
        """Note that the worker is exiting or that its socket was closed otherwise, which is to come to the same."""
        asyncio.get_running_loop().call_later(_EXIT_SECONDS, self.order_end)
        self._socket_closed()

    def _socket_closed(self) -> None:
        self._open_sockets -= 1
        if self._open_sockets == 0:
            self._finish()

    def _finish(self) -> None:
        """Report what is left in the pipes, then the end."""
        self._no_interrupt_under_way.set()
        self.queries.close()
        self._replies.close()
        for pipe in self._pipes:
            pipe.close()
        exit_ = WorkerExit(self._status, self._failure, oom_kills() > self._oom_kills)
        self._listener.on_exit(exit_)
        self._ended.set_result(None)


class _Messages(LineProtocol):
    """Passes on messages, each a line of JSON."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        super().__init__()
        self._on_message = on_message
        self._on_close = on_close

    def line_received(self, line: bytes) -> None:
        """Pass on the message."""
        self._on_message(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self._on_close()


def _write(transport: asyncio.WriteTransport, message: object) -> None:
    transport.write(json.dumps(message).encode() + b"\n")
