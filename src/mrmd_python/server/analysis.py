"""The server's side of a process that works on code: started by the first question, replaced when it fails."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, Literal

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import spawn_program
from mrmd_python.server.worker_link import Message, WorkerExit, WorkerLink

_log = logging.getLogger(__name__)

_PROGRAM = (sys.executable, "-E", str(Path(__file__).resolve().parent.parent / "analysis"))
_LONGEST_CODE = 1_000_000
"""More than that, in characters, would not be through in time."""

Answer = dict[str, Any]


class Analysis:
    """One such process at a time, and one question at a time."""

    def __init__(self, environment: SessionEnvironment, kind: Literal["inference", "syntax"]) -> None:
        self._environment = environment
        self._kind = kind
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._endings: set[asyncio.Task[None]] = set()

    async def ask(self, seconds: float, op: str, code: str, **fields: Any) -> Answer | None:
        """Return the answer to a question; None if there is none, or none within so many seconds.

        A process that has not answered by then is replaced; one that is still starting goes on with that.
        """
        if len(code) > _LONGEST_CODE:
            return None
        try:
            return await asyncio.wait_for(self._ask({"op": op, "code": code, **fields}), seconds)
        except asyncio.TimeoutError:
            return None
        except OSError as error:
            _log.warning("there is no process to be had for %s: %s", op, error.strerror)
            return None

    async def _ask(self, question: Message) -> Answer | None:
        async with self._turn:
            if self._process is None or self._process.is_ending:
                self._process = _Process(self._environment, self._kind)
            process = self._process
            await process.is_ready()
            try:
                return await process.ask(question)
            except asyncio.CancelledError:  # it may be at it for ever
                self._replace(process)
                raise

    def _replace(self, process: "_Process") -> None:
        self._process = None
        ending = asyncio.create_task(process.link.end())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        """End the process; return when it is gone."""
        if self._process is not None:
            self._replace(self._process)
        await asyncio.gather(*self._endings)


class _Process:
    """Implements `worker_link.Listener`."""

    def __init__(self, environment: SessionEnvironment, kind: str) -> None:
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._answered: asyncio.Future[Answer | None] = loop.create_future()
        self.link = WorkerLink(spawn_program([*_PROGRAM, kind], environment.process_environment(), "/"), self)
        self._connecting = asyncio.create_task(self.link.connect())

    @property
    def is_ending(self) -> bool:
        """Whether it has started and is of no more use."""
        return self._ready.done() and self.link.is_ending

    async def is_ready(self) -> None:
        """Wait until it has started, or ended."""
        await asyncio.shield(self._ready)

    async def ask(self, question: Message) -> Answer | None:
        """Return its answer, None if it has ended."""
        if self.is_ending:
            return None
        self._answered = asyncio.get_running_loop().create_future()
        self.link.send(question)
        return await self._answered

    def on_text(self, stream: str, text: str) -> None:
        """Pass on to the runtime's log what it complains of."""
        for line in text.splitlines():
            _log.info("analysis, %s: %s", stream, line)

    def on_message(self, message: Message) -> None:
        """Take its answer."""
        if message["op"] == "ready":
            self._ready.set_result(None)
        elif not self._answered.done():
            self._answered.set_result(message["answer"])

    def on_exit(self, exit_: WorkerExit) -> None:
        """Leave nobody waiting."""
        _log.info("analysis: the process %s", exit_.cause())
        for awaited in (self._ready, self._answered):
            if not awaited.done():
                awaited.set_result(None)
