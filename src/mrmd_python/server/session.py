"""A session: one worker at a time, and a queue of executions, first in, first out."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, TypedDict

from mrmd_python.server.activity import ActivityLog
from mrmd_python.server.asset_directories import AssetDirectories
from mrmd_python.server.assets import Display
from mrmd_python.server.environment import EnvironmentJson, SessionEnvironment
from mrmd_python.server.execution import Cell, Execution, timestamp
from mrmd_python.server.execution_queue import ExecutionQueue, failed
from mrmd_python.server.history import History
from mrmd_python.server.session_output import SessionOutput
from mrmd_python.server.spare import Spares
from mrmd_python.server.spawn import SpawnedWorker, spawn
from mrmd_python.server.upgrade import upgrade
from mrmd_python.server.worker_link import Message, WorkerExit, WorkerLink
from mrmd_python.server.worker_start import SessionStartError, WorkerStart

State = Literal["starting", "idle", "busy", "dead"]

_log = logging.getLogger(__name__)

# How long a reset waits for the running cell to end by its interrupt before it replaces the worker.
_RESET_SECONDS = 5.0


class SessionJson(TypedDict):
    """MRP's Session."""

    id: str
    language: str
    created: str
    lastActivity: str
    executionCount: int
    variableCount: int
    environment: EnvironmentJson
    state: State
    pid: int | None
    queued: int


class Session:
    """One session. It is the `worker_link.Listener` of its worker."""

    def __init__(
        self,
        session_id: str,
        environment: SessionEnvironment,
        assets: AssetDirectories,
        stop_timeout: int,
        spares: Spares,
        on_change: Callable[[], None],
    ) -> None:
        self.id = session_id
        self.environment = environment
        self._stop_timeout = stop_timeout
        self._spares = spares
        self._on_change = on_change
        self.created = timestamp()
        self.last_activity = self.created
        self.execution_count = 0
        self.variable_count = 0
        self.python_version: str | None = None
        self.state: State = "starting"
        self.running: Execution | None = None
        self.history = History()
        self.activity = ActivityLog()
        self._queue = ExecutionQueue(self.activity)
        self._output = SessionOutput(session_id, environment.cwd, assets, self.activity)
        self._queue_task = asyncio.create_task(self._run_queue())
        self._worker_lock = asyncio.Lock()
        self._link: WorkerLink | None = None
        self._start: WorkerStart
        # Done when the worker has answered the last message.
        self._request_done: asyncio.Future[None] | None = None
        self._can_interrupt = False
        self._wants_interrupt = False
        # Whether the running execution may be sent to a new worker if this one ends before it begins.
        self._can_retry = False
        # Why the variables are gone, for the next execution to report.
        self._lost_state: str | None = None
        self._closing = False

    def _set_state(self, state: State) -> None:
        self.state = state
        self._on_change()

    @property
    def pid(self) -> int | None:
        """The worker's pid, or None if there is no worker."""
        return self._link.pid if self._link is not None else None

    @property
    def executions(self) -> Mapping[str, Execution]:
        """The executions that wait, run or are kept, oldest first."""
        return self._queue.executions

    @property
    def queued(self) -> int:
        """The number of executions that wait."""
        return len(self._queue)

    def as_json(self) -> SessionJson:
        """Return MRP's Session."""
        return {
            "id": self.id,
            "language": "python",
            "created": self.created,
            "lastActivity": self.last_activity,
            "executionCount": self.execution_count,
            "variableCount": self.variable_count,
            "environment": self.environment.as_json(),
            "state": self.state,
            "pid": self.pid,
            "queued": self.queued,
        }

    def note_lost_state(self, reason: str) -> None:
        """Let the next execution report that the variables are gone, and the reason."""
        self._lost_state = reason

    async def start(self, spawned: SpawnedWorker | None = None) -> None:
        """Start the worker if there is none, or use the `spawned` one; return when it can run code.

        Raises:
            SessionStartError: the worker cannot be started.
        """
        async with self._worker_lock:
            if self._link is None:
                await self._start_worker(spawned)

    def submit(self, cell: Cell) -> Execution:
        """Queue a cell.

        Raises:
            QueueFullError: too many executions wait already.
        """
        execution = self._queue.add(cell)
        self.last_activity = timestamp()
        return execution

    def interrupt(self) -> bool:
        """Interrupt the running execution; return whether there was one."""
        if self.running is None:
            return False
        if self._link is not None and self.state == "busy":
            self._link.interrupt()
        # If the cell has not started yet, this only unblocks the worker; the interrupt is sent again when it starts.
        self._wants_interrupt = not self._can_interrupt
        return True

    def cancel(self, execution: Execution) -> None:
        """Remove a waiting execution from the queue, or interrupt a running one."""
        if execution is self.running:
            self.interrupt()
        elif execution.state == "queued":
            self._queue.drop(execution, "it was deleted")

    def forget(self, execution: Execution) -> None:
        """Remove an execution that has ended."""
        del self._queue.executions[execution.cell.exec_id]

    def answer(self, execution: Execution, text: str | None) -> bool:
        """Answer the input request of an execution, or cancel it if `text` is None; return whether there was one."""
        request = execution.awaited_input
        if request is None or self._link is None:
            return False
        execution.awaited_input = None
        if text is not None and not request.password:
            execution.echo(text + "\n")
        self._link.answer(request.number, text)
        return True

    async def query(self, op: str, **fields: Any) -> bytes | None:
        """Send the worker a query, which it answers while a cell runs, too; return its JSON, or None if it is late."""
        return await self._link.queries.query(op, **fields) if self._link is not None else None

    async def reset(self) -> None:
        """Clear the namespace: interrupt what runs, and end the worker if that does not help."""
        self._queue.drop_all("the session was reset")
        if self.running is not None:
            self.interrupt()
            try:
                await asyncio.wait_for(self.running.ended_event.wait(), _RESET_SECONDS)
            except asyncio.TimeoutError:
                if self._link is not None:
                    await self._link.end()
        async with self._worker_lock:
            self._lost_state = None  # no need to report it: the client wants a new namespace
            self.execution_count = 0
            self.history.clear()
            if self._link is None:
                return
            try:
                await asyncio.wait_for(self._request(self._link, {"op": "reset"}), _RESET_SECONDS)
            except asyncio.TimeoutError:  # a task of an earlier cell blocks the worker's event loop
                if self._link is not None:
                    await self._link.end()
            self._lost_state = None

    async def close(self) -> None:
        """End the worker and every process it started; return when they have ended."""
        self._closing = True
        self._queue.drop_all("the session was ended")
        if self._link is not None:
            await self._link.end()
        self._queue_task.cancel()
        await asyncio.wait({self._queue_task})
        self.activity.close()
        self._queue.executions.clear()  # or their files would stay open until a garbage collection

    async def _run_queue(self) -> None:
        while True:
            await self._queue.wait_until_filled()
            async with self._worker_lock:
                if self._queue and self._link is not None and self._link.is_ending:
                    await self._link.end()  # or the next execution would report its end
                if self._queue and not self._closing:  # a reset may have emptied it
                    await self._run_guarded(self._queue.take())

    async def _run_guarded(self, execution: Execution) -> None:
        try:
            self._can_retry = True
            await self._run(execution)
            if self.running is execution:
                self._can_retry = False
                await self._run(execution)
        except Exception:
            _log.exception("session %s: an execution failed in the server", self.id)
            self._end_running(failed("ServerError", "internal error; see the runtime's log"))

    async def _run(self, execution: Execution) -> None:
        self._output.end_lines()
        self.running, self._can_interrupt, self._wants_interrupt = execution, False, False
        if execution.state == "queued":
            execution.begin()
            self.activity.note("started", execution)
        lost_state, self._lost_state = self._lost_state, None
        try:
            if self._link is None:
                await self._start_worker()
            assert self._link is not None
        except SessionStartError as error:
            self._end_running(failed("SessionStartError", str(error)))
            return
        if lost_state is not None:
            execution.text("stderr", f"mrmd-python: {lost_state}. This is a fresh session: the variables are gone.\n")
        self._set_state("busy")
        cell = execution.cell
        message = {
            "op": "execute",
            "code": cell.code,
            "storeHistory": cell.store_history,
            "silent": cell.silent,
            "allowStdin": cell.allow_stdin,
            "rich": cell.rich,
        }
        await self._request(self._link, message)

    async def _request(self, link: WorkerLink, message: Message) -> None:
        """Send the worker a message; return when it has handled it or has ended."""
        self._request_done = asyncio.get_running_loop().create_future()
        link.send(message)
        await self._request_done
        await link.interrupts_delivered()  # a late one must not hit the next message

    async def _start_worker(self, spawned: SpawnedWorker | None = None) -> None:
        upgraded = upgrade() if spawned is None else None
        if upgraded is not None:
            self._set_state("dead")
            raise SessionStartError(upgraded)
        self._set_state("starting")
        self._output.begin_process()
        self._start = WorkerStart(self.environment)
        is_first = spawned is not None
        try:
            spawned = spawned or self._spares.take(self.environment) or spawn(self.environment, self._stop_timeout)
            link = WorkerLink(spawned, self)
        except OSError as error:
            self._set_state("dead")
            raise SessionStartError(f"the session's process could not be started: {error.strerror}") from None
        self._link = link
        await link.connect()
        self.python_version = await self._start.python_version()
        if not is_first:  # there may be more
            self._spares.prepare(self.environment, self._start.sources)

    def on_text(self, stream: str, text: str) -> None:
        """Add output to the running execution or, if there is none, to the runtime's log."""
        self._output.text(self.running, stream, text)

    def is_too_fast(self) -> bool:
        """Return whether clients that read cannot keep up with the running execution."""
        return self.running is not None and self.running.pace.is_too_fast(self.running.log.last)

    def on_message(self, message: Message) -> Coroutine[Any, Any, None] | None:
        """Handle a message from the worker; return a coroutine if that includes the writing of a file."""
        match message["op"]:
            case "hello" | "failed" | "fallback":
                assert self._link is not None
                self._start.on_message(message, self._link)
                if self._start.is_over:
                    self._set_state("idle")
            case "running":
                self._can_interrupt = True
                if self._wants_interrupt:
                    self.interrupt()
            case "done":
                value = message.get("value")
                saving = None
                if self.running is not None and value is not None:
                    saving = self._output.value(self.running, Display(value["data"], value["metadata"]))
                if saving is not None:
                    return self._handle_done(message, saving)
                self._end_request(message)
            case "display":
                return self._output.display(self.running, _display(message))
            case _ if self.running is not None:
                self._handle_for_cell(self.running, message)
        return None

    async def _handle_done(self, message: Message, saving: Coroutine[Any, Any, None]) -> None:
        await saving
        self._end_request(message)

    def _end_request(self, message: Message) -> None:
        """End the running execution: the worker has handled its request."""
        self.variable_count = message["variables"]
        self._set_state("idle")
        self._end_running(message)
        self._finish_request()

    def _handle_for_cell(self, execution: Execution, message: Message) -> None:
        match message["op"]:
            case "clear_output":
                execution.clear_output(message["wait"])
            case "stdin_request":
                execution.request_input(message["number"], message["prompt"], message["password"])
            case "stdin_end":
                execution.awaited_input = None

    def on_exit(self, exit_: WorkerExit) -> None:
        """Handle the end of the worker: end the running execution, or fail the start."""
        self._link = None
        self._set_state("dead")
        self.variable_count = 0
        self._output.end_lines()
        cause = self._start.error or f"the session's process {exit_.cause()}"
        if not self._closing:
            _log.warning("session %s: %s", self.id, cause)
        if not self._start.is_over:
            self._start.on_exit(exit_, self._output.last_line)
            return
        self._lost_state = cause
        if not self._closing:
            self._spares.prepare(self.environment, self._start.sources)
        has_begun = self._can_interrupt or self._wants_interrupt
        if has_begun or self._closing or not self._can_retry:
            gone = f"{cause}. Its variables are gone; the next execution starts a fresh one"
            self._end_running(failed("SessionDied", gone))
        self._finish_request()

    def _end_running(self, outcome: dict[str, Any]) -> None:
        execution = self.running
        if execution is None:
            return
        self.answer(execution, None)  # a thread may still wait for input, which blocks other input requests
        if self._closing and not outcome["success"]:
            outcome = failed("SessionEnded", "the session was ended while this ran")
        execution.end(outcome)
        self.activity.note("ended", execution)
        self.running = None
        if execution.cell.store_history:
            self.execution_count += 1
            if not execution.cell.silent:
                self.history.add(execution.cell.code, outcome.get("executionCount", 0))
        self.last_activity = timestamp()
        if execution.cell.stop_on_error and not outcome["success"]:
            error = outcome["error"]["type"]
            self._queue.drop_all(f"execution {execution.cell.exec_id!r} failed with {error}", "Aborted")
        self._queue.forget_oldest()

    def _finish_request(self) -> None:
        if self._request_done is not None and not self._request_done.done():
            self._request_done.set_result(None)


def _display(message: Message) -> Display:
    return Display(
        message["data"],
        message["metadata"],
        message.get("displayId"),
        message.get("update", False),
        message.get("late", False),
    )
