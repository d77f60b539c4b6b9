"""The server's side of one worker: messages, output and interrupts in; callbacks out, in the order things happened."""

import asyncio
import json
import logging
import struct
from collections import deque
from functools import partial
from typing import ClassVar, Protocol

from mrmd_python.server.framing import Frames, Lines
from mrmd_python.server.oom import oom_kills
from mrmd_python.server.orphans import end_marked, end_orphans
from mrmd_python.server.output_pipe import OutputPipe
from mrmd_python.server.queries import QueryChannel
from mrmd_python.server.spawn import SpawnedWorker
from mrmd_python.server.worker_exit import WorkerExit
from mrmd_python.server.worker_message import Message

_log = logging.getLogger(__name__)

_EXIT_SECONDS = 1.0
"""How long a worker that has closed its socket may take to exit by itself, and so to have a cause of its own."""
_EXITING_SECONDS = 0.005
"""How long a reaper that has closed its leash may take to exit, or as much again."""
_END_SECONDS = 6.0
"""How long a reaper may take to end a session. One that takes longer has itself been stopped, or cannot keep up. It is
less than what keepers give the server to end: eight seconds and more."""


class Listener(Protocol):
    """What happens to a worker, told in order."""

    def on_text(self, stream: str, text: str) -> None:
        """Something was written to `stream`, which is stdout or stderr."""

    def on_message(self, message: Message) -> None:
        """The worker sent a message; all output it wrote before has been told."""

    def on_exit(self, exit_: WorkerExit) -> None:
        """The worker and every process it started are gone; all they wrote has been told."""


class WorkerLink:
    """One worker, from its start to the end of its last descendant."""

    _live_reapers: ClassVar[set[int]] = set()

    def __init__(self, spawned: SpawnedWorker, listener: Listener) -> None:
        self._spawned = spawned
        self._live_reapers.add(spawned.reaper.pid)
        self._listener = listener
        self._messages: deque[Message] = deque()
        self._delivering = False
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
        self._pipes = {
            name: OutputPipe(descriptor, spawned.secret, partial(listener.on_text, name), self._deliver)
            for name, descriptor in (("stdout", spawned.stdout), ("stderr", spawned.stderr))
        }

    async def connect(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._replies, _ = await loop.create_unix_connection(asyncio.Protocol, sock=self._spawned.replies)
        await loop.create_unix_connection(lambda: self.queries, sock=self._spawned.queries)
        self._leash, _ = await loop.create_unix_connection(
            lambda: Lines(self._hear, self._leash_closed), sock=self._spawned.leash
        )
        self._control, _ = await loop.create_unix_connection(
            lambda: Frames(self._receive, self._control_closed), sock=self._spawned.control
        )
        self._connected.set()

    def send(self, message: Message) -> None:
        """Send a message; never blocks."""
        data = json.dumps(message).encode()
        self._control.write(struct.pack(">I", len(data)) + data)
        self._oom_kills = oom_kills()  # while the worker is at it: this takes as long as much of what it may be told

    @property
    def is_ending(self) -> bool:
        """Whether the worker or its reaper is gone, though perhaps not yet all that it started."""
        return self._open_sockets < 2 or self._leash.is_closing()

    def answer(self, number: int, text: str | None) -> None:
        """Answer the worker's request for a line of that number; None cancels it."""
        self._replies.write(json.dumps({"number": number, "text": text}).encode() + b"\n")

    def interrupt(self) -> None:
        """Send SIGINT to the worker's process group, by way of its reaper, which knows whether it still is that."""
        self._interrupts_under_way += 1
        self._no_interrupt_under_way.clear()
        self._leash.write(b"interrupt\n")

    async def interrupts_delivered(self) -> None:
        """Wait until no interrupt is on its way, so that none can hit what is sent next."""
        await self._no_interrupt_under_way.wait()

    async def end(self) -> None:
        """End the worker and all it started; return when they are gone."""
        await self._connected.wait()
        self.order_end()
        await asyncio.wait({self._ended}, timeout=_END_SECONDS)
        if not self._ended.done():
            self._spawned.reaper.kill()  # then the worker dies with it, and its orphans are ended from here
            await asyncio.shield(self._ended)

    def order_end(self) -> None:
        """Have the reaper end the worker and all it started."""
        if not self._leash.is_closing():
            self._leash.write(b"end\n")

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "spawned":
            self.pid = int(rest)
        elif word == "failed":
            self._failure = rest
        elif word == "exited":
            self._status = int(rest.split()[0])
        elif word == "interrupted":
            self._interrupts_under_way -= 1
            if self._interrupts_under_way == 0:
                self._no_interrupt_under_way.set()

    def _receive(self, message: Message) -> None:
        self._messages.append(message)
        self._deliver()

    def _deliver(self) -> None:
        """Tell the listener every message whose place in the output has been reached."""
        if self._delivering:
            return  # called by a pipe that is being read below
        self._delivering = True
        try:
            while self._messages and self._is_reached(self._messages[0].get("mark")):
                message = self._messages.popleft()
                if message["op"] == "done":
                    for pipe in self._pipes.values():
                        pipe.end_text()
                self._tell(message)
                if "mark" in message:
                    for pipe in self._pipes.values():
                        pipe.resume()
        finally:
            self._delivering = False

    def _tell(self, message: Message) -> None:
        try:
            self._listener.on_message(message)
        except Exception:
            # No message of a worker's own can bring that about, but a cell has all the means that its worker has.
            _log.exception("a worker's message cannot be heeded; the worker is ended")
            self._messages.clear()
            self._control.close()

    def _is_reached(self, mark: int | None) -> bool:
        """Return whether the output has come to `mark`, reading on to it if it has been written."""
        if mark is None:
            return True
        for pipe in self._pipes.values():
            pipe.read_to_mark()
            while pipe.at_mark is not None and pipe.at_mark < mark:
                pipe.resume()  # its message was never sent
                pipe.read_to_mark()
        return all(pipe.at_mark == mark for pipe in self._pipes.values())

    def _leash_closed(self) -> None:
        """Note that the reaper has exited."""
        self._ending = asyncio.create_task(self._bury())

    async def _bury(self) -> None:
        # No thread waits for it: there may be none to be had.
        while self._spawned.reaper.poll() is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_EXITING_SECONDS)
        self._live_reapers.discard(self._spawned.reaper.pid)
        if self._spawned.marker is not None:
            await end_marked(self._spawned.marker)
        elif self._status is None:
            await end_orphans(spare=self._live_reapers)
        self._socket_closed()

    def _control_closed(self) -> None:
        """Note that the worker is exiting or that a cell has closed its socket, which is to come to the same."""
        asyncio.get_running_loop().call_later(_EXIT_SECONDS, self.order_end)
        self._socket_closed()

    def _socket_closed(self) -> None:
        self._open_sockets -= 1
        if self._open_sockets == 0:
            self._finish()

    def _finish(self) -> None:
        """Tell what is left in the pipes, then the end."""
        self._no_interrupt_under_way.set()
        self.queries.close()
        while True:
            self._deliver()
            for pipe in self._pipes.values():
                pipe.read_to_mark()
            if all(pipe.at_mark is None for pipe in self._pipes.values()):
                break
            for pipe in self._pipes.values():
                if pipe.at_mark is not None:
                    pipe.resume()  # the worker died before it sent the message that belongs here
        for pipe in self._pipes.values():
            pipe.close()
            pipe.end_text()
        exit_ = WorkerExit(self._status, self._failure, oom_kills() > self._oom_kills)
        self._listener.on_exit(exit_)
        self._ended.set_result(None)
