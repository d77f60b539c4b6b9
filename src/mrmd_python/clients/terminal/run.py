"""Runs code in a runtime, or returns to code that runs there, and shows it in this terminal until it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec

from mrmd_python.clients.client import Client, new_exec_id
from mrmd_python.clients.events import Error, ExecutionEvent, InputRequest, Result, Start, Text
from mrmd_python.clients.terminal import ask
from mrmd_python.clients.terminal.ask import Input
from mrmd_python.clients.terminal.interrupt import interrupt
from mrmd_python.clients.terminal.printer import Printer
from mrmd_python.runtime import ServiceError

SUCCESS, FAILURE = 0, 1
# How long an interrupted execution may take to end before the user is told how to leave it.
_PATIENCE_SECONDS = 1.0


async def execute(client: Client, code: str, session: str, *, as_json: bool, stdin: Input | None) -> int:
    """Run code, and show it until it ends; return the exit status.

    Args:
        client: the runtime.
        code: the code.
        session: the session to run it in.
        as_json: print the events, as JSON, instead of what they say.
        stdin: where the answers to the code's questions come from; None if there are none.

    Raises:
        ServiceError: the runtime refuses the code, or has ended.
    """
    exec_id = new_exec_id()
    # On a terminal, IPython's own prompts and colors are wanted.
    rich = as_json or not sys.stdout.isatty()
    events = client.execute(code, session=session, exec_id=exec_id, rich=rich)
    return await _Shown(client, exec_id, stdin, rich=rich, as_json=as_json).until_end(events)


async def submit(client: Client, code: str, session: str, *, as_json: bool) -> int:
    """Queue code, and print the id of its execution."""
    exec_id = await client.submit(code, session=session)
    print(f'{{"execId": "{exec_id}"}}' if as_json else exec_id, flush=True)
    return SUCCESS


async def attach(client: Client, exec_id: str | None, session: str, *, as_json: bool) -> int:
    """Show an execution from its beginning until it ends, as `execute` does.

    Without an id, it is the one that runs in the session or, if none does, its last one.

    Raises:
        ServiceError: there is none.
    """
    if exec_id is None:
        found = await client.executions(session)
        if not found:
            raise ServiceError(f"nothing has run in the session {session!r} of {client.runtime_id!r} yet")
        execution = next((each for each in found if each["state"] == "running"), found[-1])
    else:
        named = await client.find_execution(exec_id)
        if named is None:
            kept = "it keeps only the last ones of each session"
            raise ServiceError(f"there is no execution {exec_id!r} in {client.runtime_id!r}; {kept}")
        execution = named
    exec_id, rich = execution["execId"], execution.get("rich", False)
    shown = _Shown(client, exec_id, Input(), rich=rich, as_json=as_json)
    return await shown.until_end(client.follow(exec_id))


class _Shown:
    """An execution that is shown in this terminal, takes its input there, and can be interrupted from there."""

    def __init__(self, client: Client, exec_id: str, stdin: Input | None, *, rich: bool, as_json: bool) -> None:
        self._client = client
        self._exec_id = exec_id
        self._stdin = stdin
        self._as_json = as_json
        self._printer = Printer(client.record, exec_id, rich=rich)
        self._waiting: asyncio.Task[None] | None = None
        self._question: asyncio.Task[None] | None = None
        self._interruption: asyncio.Task[None] | None = None
        # The exit status, once the user wants to leave.
        self._left: int | None = None

    async def until_end(self, events: AsyncIterator[ExecutionEvent]) -> int:
        """Show the events; return the exit status."""
        showing = asyncio.current_task()
        assert showing is not None
        with _handled(signal.SIGINT, self._on_ctrl_c, showing), _handled(signal.SIGTERM, self._leave, showing):
            try:
                return await self._show_all(events)
            except asyncio.CancelledError:
                if self._left is None:
                    raise
                await self._printer.note(f"{self._exec_id} goes on; to come back: {self._way_back()}")
                return self._left
            except BrokenPipeError:
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGPIPE)  # as other programs end whose reader is gone
                raise
            except OSError as error:
                raise ServiceError(
                    f"the output cannot be written: {error.strerror}; the code goes on: {self._way_back()}"
                ) from None
            finally:
                for task in (self._waiting, self._question, self._interruption):
                    await _cancelled(task)

    async def _show_all(self, events: AsyncIterator[ExecutionEvent]) -> int:
        status = FAILURE
        self._waiting = asyncio.create_task(self._note_if_queued())
        async for event in events:
            if self._as_json:
                await self._printer.write_line(msgspec.json.encode(event).decode())
            else:
                await self._printer.show(event)
            match event:
                case Start():
                    await _cancelled(self._waiting)
                case Text() if not await self._awaits_input_if_asked():
                    await _cancelled(self._question)  # another client has answered
                case InputRequest():
                    await _cancelled(self._question)
                    self._question = asyncio.create_task(self._answer(event))
                case Result() | Error():
                    status = _status(event)
                    await _cancelled(self._question)
        return status

    async def _answer(self, request: InputRequest) -> None:
        """Answer a question, unless it is an old one."""
        try:
            if not await self._client.awaits_input(self._exec_id):
                return
            if self._stdin is None:
                await self._client.cancel_input(self._exec_id)
            else:
                await ask.answer(self._client, request, self._stdin, self._printer)
        except ServiceError as error:
            await self._printer.note(str(error))

    def _on_ctrl_c(self, showing: "asyncio.Task[int]") -> None:
        if self._interruption is None:
            self._interruption = asyncio.create_task(self._interrupt())
        else:
            self._leave(showing, signal.SIGINT)

    def _leave(self, showing: "asyncio.Task[int]", number: int = signal.SIGTERM) -> None:
        self._left = 128 + number  # as shells report it
        showing.cancel()

    async def _interrupt(self) -> None:
        """Interrupt the execution."""
        await self._printer.end_line_of_ctrl_c()
        await interrupt(self._client, self._exec_id)
        await asyncio.sleep(_PATIENCE_SECONDS)
        await self._printer.note("interrupted, but it has not ended; Ctrl-C again leaves it running")

    async def _note_if_queued(self) -> None:
        await asyncio.sleep(_PATIENCE_SECONDS)
        if sys.stderr.isatty():
            await self._printer.note("it waits for what runs in the session; Ctrl-C takes it out of the queue")

    async def _awaits_input_if_asked(self) -> bool:
        is_asked = self._question is not None and not self._question.done()
        return not is_asked or await self._client.awaits_input(self._exec_id)

    def _way_back(self) -> str:
        return f"mrmd-python --attach {self._client.runtime_id} {self._exec_id}"


def _status(end: Result | Error) -> int:
    # A script may end with sys.exit(0).
    has_succeeded = isinstance(end, Result) or (end.type == "SystemExit" and end.message in ("", "0", "None"))
    return SUCCESS if has_succeeded else FAILURE


@contextmanager
def _handled(number: int, handler: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Call a handler for a signal, unless it is ignored, as shells let background jobs ignore SIGINT."""
    if signal.getsignal(number) == signal.SIG_IGN:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, handler, *arguments)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


async def _cancelled(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, and wait until it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
