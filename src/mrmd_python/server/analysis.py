"""The server's side of a process that works on code: started by the first question, replaced when it fails."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import spawn_program
from mrmd_python.server.worker_exit import WorkerExit
from mrmd_python.server.worker_link import WorkerLink
from mrmd_python.server.worker_message import Message

_log = logging.getLogger(__name__)

_PROGRAM = (sys.executable, "-E", str(Path(__file__).resolve().parent.parent / "analysis"))
_LONGEST_CODE = 1_000_000
"""More than that, in characters, would not be through in time."""

_PATIENCE_SECONDS = 8.0
"""After that a process is taken to hang. It is longer than anyone waits for an answer: what a process has read by then,
such as the stubs of the standard library, it need not read for the next question."""

Answer = dict[str, Any]
_T = TypeVar("_T")


class Analysis:
    """One such process at a time, and one question at a time."""

    def __init__(self, environment: SessionEnvironment, kind: Literal["inference", "syntax"]) -> None:
        self._environment = environment
        self._kind = kind
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, seconds: float, op: str, code: str, **fields: Any) -> Answer | None:
        """Return the answer to a question; None if there is none, or none within so many seconds."""
        if len(code) > _LONGEST_CODE:
            return None
        asked = self._keep(asyncio.create_task(self._ask(seconds, {"op": op, "code": code, **fields})))
        await asyncio.wait({asked}, timeout=seconds)
        return asked.result() if asked.done() else None

    def prepare(self) -> None:
        """Start the process if there was none: a first question often means that more will come."""
        if self._process is None:
            try:
                self._process = _Process(self._environment, self._kind)
            except OSError as error:
                _log.warning("there is no process to be had for %s: %s", self._kind, error.strerror)

    async def close(self) -> None:
        """End the process; return when it is gone."""
        self._replace()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, seconds: float, question: Message) -> Answer | None:
        try:
            await asyncio.wait_for(self._turn.acquire(), seconds)
        except asyncio.TimeoutError:
            return None
        try:
            if self._process is not None and self._process.is_ending:
                self._process = None
            self.prepare()
            if self._process is None:
                return None
            return await asyncio.wait_for(self._process.ask(question), _PATIENCE_SECONDS)
        except asyncio.TimeoutError:
            self._replace()
            return None
        finally:
            self._turn.release()

    def _replace(self) -> None:
        if self._process is not None:
            self._keep(asyncio.create_task(self._process.link.end()))
            self._process = None

    def _keep(self, task: asyncio.Task[_T]) -> asyncio.Task[_T]:
        """Hold on to a task, of which the event loop has but a weak reference (asyncio.create_task)."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


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

    async def ask(self, question: Message) -> Answer | None:
        """Return its answer, None if it has ended."""
        await asyncio.shield(self._ready)
        if self.link.is_ending:
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
