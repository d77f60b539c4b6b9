"""The server's side of a process that works on code: started by the first question, killed when it hangs."""

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mrmd_python.server.environment import SessionEnvironment

_log = logging.getLogger(__name__)

_PROGRAM = (sys.executable, "-E", str(Path(__file__).resolve().parent.parent / "analysis"))
# More than that, in characters, would not be through in time.
_LONGEST_CODE = 1_000_000
_LONGEST_ANSWER = 1 << 26
# After that a process is taken to hang. It is longer than anyone waits for an answer: what a process has read by then,
# such as the stubs of the standard library, it need not read for the next question.
_PATIENCE_SECONDS = 8.0

Answer = dict[str, Any]
_T = TypeVar("_T")


class Analysis:
    """One such process at a time, and one question at a time."""

    def __init__(self, environment: SessionEnvironment) -> None:
        self._environment = environment
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, seconds: float, op: str, code: str, **fields: Any) -> Answer | None:
        """Return the answer to a question; None if there is none, or none within so many seconds."""
        if len(code) > _LONGEST_CODE:
            return None
        asked = self._keep(self._ask(seconds, {"op": op, "code": code, **fields}))
        await asyncio.wait({asked}, timeout=seconds)
        return asked.result() if asked.done() else None

    def prepare(self) -> None:
        """Have the process ready for completion if there is none: a first question often means that more will come."""
        if self._process is None and not self._turn.locked():
            self._keep(self._prepare())

    async def close(self) -> None:
        """End the process; return when it is gone."""
        process = self._process
        self._kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if process is not None:
            await process.wait()

    async def _prepare(self) -> None:
        async with self._turn:
            process = await self._running()
            if process is not None:
                _send(process, {"op": "warm_up"})

    async def _ask(self, seconds: float, question: Answer) -> Answer | None:
        try:
            await asyncio.wait_for(self._turn.acquire(), seconds)
        except asyncio.TimeoutError:
            return None
        try:
            process = await self._running()
            if process is None:
                return None
            _send(process, question)
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), _PATIENCE_SECONDS)
            answer: Answer | None = json.loads(line) if line else None
            return answer
        except (asyncio.TimeoutError, ValueError):  # it hangs, or its answer is too long
            self._kill()
            return None
        finally:
            self._turn.release()

    async def _running(self) -> Process | None:
        """Return the process, a new one if there is none; None if there is none to be had."""
        if self._process is not None and self._process.returncode is not None:
            _log.warning("the process for completion and formatting has ended: status %d", self._process.returncode)
            self._process = None
        if self._process is None:
            environ = self._environment.process_environment()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_PROGRAM,
                    stdin=PIPE,
                    stdout=PIPE,
                    env=environ,
                    cwd="/",
                    limit=_LONGEST_ANSWER,
                    start_new_session=True,
                )
            except (OSError, RuntimeError) as error:  # no more processes, or no thread that waits for this one
                _log.warning("cannot start the process for completion and formatting: %s", error)
        return self._process

    def _kill(self) -> None:
        """Kill the process, and what jedi has started of the session's interpreter."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def _keep(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Hold on to a task, of which the event loop has but a weak reference (asyncio.create_task)."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _send(process: Process, question: Answer) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(question).encode() + b"\n")
