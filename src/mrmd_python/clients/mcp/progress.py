"""Progress notifications."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver import Context

_TICK_SECONDS = 0.1
_REPORT_SECONDS = 1.0


class Progress:
    """Reports once a second, to a client that asks for it, that a tool works."""

    def __init__(self, context: Context[Any, Any], message: Callable[[], str]) -> None:
        """Report to the client of a call; `message` returns what to say."""
        self._context = context
        self._message = message

    async def until_done(
        self, task: "asyncio.Future[Any]", seconds: float | None = None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait for the end of a task, but not longer than some seconds, nor when there is nothing to wait for."""
        began, reported = time.monotonic(), 0.0
        while not is_over():
            passed = time.monotonic() - began
            left = _TICK_SECONDS if seconds is None else seconds - passed
            await asyncio.wait({task}, timeout=max(0, min(left, _TICK_SECONDS)))
            if task.done() or left <= 0:
                return
            if passed - reported >= _REPORT_SECONDS:
                reported = passed
                await self._context.report_progress(passed, seconds, self._message() or None)
