"""Runs mrmd_python.analysis, which infers and formats code, as a process, and kills it if it hangs."""

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
# Longer code, in characters, takes too long.
_LONGEST_CODE = 1_000_000
_LONGEST_ANSWER = 1 << 26
# When a process counts as hanging. This is longer than clients wait for an answer: the process keeps what it has read
# meanwhile, such as the stubs of the standard library, for the next query.
_HANG_SECONDS = 8.0

_Json = dict[str, Any]
_T = TypeVar("_T")


class AnalysisProcess:
    """Answers one query at a time, in one process at a time."""

    def __init__(self, environment: SessionEnvironment) -> None:
        self._environment = environment
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def query(self, seconds: float, op: str, code: str, **fields: Any) -> _Json | None:
        """Return the answer to a query, or None if there is none within `seconds`."""
        if len(code) > _LONGEST_CODE:
            return None
        query = self._start_task(self._query(seconds, {"op": op, "code": code, **fields}))
        await asyncio.wait({query}, timeout=seconds)
        return query.result() if query.done() else None

    def prepare(self) -> None:
        """Start the process, if none runs, and let it load what completion needs."""
        if self._process is None and not self._lock.locked():
            self._start_task(self._prepare())

    async def close(self) -> None:
        """End the process; return when it has ended."""
        process = self._process
        self._kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if process is not None:
            await process.wait()

    async def _prepare(self) -> None:
        async with self._lock:
            process = await self._running_process()
            if process is not None:
                _send(process, {"op": "warm_up"})

    async def _query(self, seconds: float, query: _Json) -> _Json | None:
        try:
            await asyncio.wait_for(self._lock.acquire(), seconds)
        except asyncio.TimeoutError:
            return None
        try:
            process = await self._running_process()
            if process is None:
                return None
            _send(process, query)
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), _HANG_SECONDS)
            answer: _Json | None = json.loads(line) if line else None
            return answer
        except (asyncio.TimeoutError, ValueError):  # it hangs, or its answer is too long
            self._kill()
            return None
        finally:
            self._lock.release()

    async def _running_process(self) -> Process | None:
        """Return the process, started if there is none, or None if it cannot be started."""
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
            except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started to wait for it
                _log.warning("cannot start the process for completion and formatting: %s", error)
        return self._process

    def _kill(self) -> None:
        """Kill the process, and the interpreters that jedi has started."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def _start_task(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task, and keep it: the event loop has only a weak reference to it (asyncio.create_task)."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _send(process: Process, query: _Json) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(query).encode() + b"\n")
