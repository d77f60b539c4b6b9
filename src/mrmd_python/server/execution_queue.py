"""The executions of a session: those that wait, the one that runs, and the last ones that have ended."""

import asyncio
from collections import OrderedDict, deque
from typing import Any

from mrmd_python.server.activity import ActivityLog
from mrmd_python.server.execution import Cell, Execution

LONGEST_QUEUE = 1000
_KEPT_EXECUTIONS = 32


class QueueFullError(Exception):
    """The maximum number of executions wait already."""


class ExecutionQueue:
    """Executions by id, and a queue of those that wait, first in, first out."""

    def __init__(self, activity: ActivityLog) -> None:
        self._activity = activity
        # The executions that wait, run or are kept, oldest first.
        self.executions: OrderedDict[str, Execution] = OrderedDict()
        self._waiting: deque[Execution] = deque()
        self._has_waiting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, cell: Cell) -> Execution:
        """Queue a cell.

        Raises:
            QueueFullError: too many executions wait already.
        """
        if len(self) >= LONGEST_QUEUE:
            raise QueueFullError(
                f"session {cell.session!r} has {len(self)} executions waiting: let some of them end first"
            )
        execution = Execution(cell)
        self.executions[cell.exec_id] = execution
        self._waiting.append(execution)
        self._has_waiting.set()
        self._activity.note("queued", execution)
        return execution

    async def wait_until_filled(self) -> None:
        """Return when there is an execution in the queue."""
        await self._has_waiting.wait()

    def take(self) -> Execution:
        """Remove and return the first execution of a queue that is not empty."""
        execution = self._waiting.popleft()
        self._note_removal()
        return execution

    def drop(self, execution: Execution, why: str) -> None:
        """End a waiting execution without running it."""
        self._waiting.remove(execution)
        self._note_removal()
        self._end(execution, why, "ExecutionDropped")
        self.forget_oldest()

    def drop_all(self, why: str, kind: str = "ExecutionDropped") -> None:
        """End all waiting executions without running them."""
        while self._waiting:
            self._end(self.take(), why, kind)
        self.forget_oldest()

    def forget_oldest(self) -> None:
        """Remove ended executions except the last ones, which are kept for clients that return."""
        ended = [exec_id for exec_id, execution in self.executions.items() if execution.log.closed]
        for exec_id in ended[:-_KEPT_EXECUTIONS]:
            del self.executions[exec_id]

    def _end(self, execution: Execution, why: str, kind: str) -> None:
        execution.begin()
        execution.end(failed(kind, f"not run: {why}"))
        self._activity.note("ended", execution)

    def _note_removal(self) -> None:
        if not self._waiting:
            self._has_waiting.clear()


def failed(kind: str, message: str) -> dict[str, Any]:
    """Return the outcome of an execution that failed outside the worker."""
    error: dict[str, Any] = {"type": kind, "message": message, "traceback": [], "line": None, "column": None}
    return {"success": False, "error": error}
