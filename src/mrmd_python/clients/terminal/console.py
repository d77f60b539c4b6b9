"""The console: a read-eval-print loop in a session of a runtime."""

import asyncio
import shlex
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from prompt_toolkit.application import in_terminal
from prompt_toolkit.application.current import get_app_or_none
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import InMemoryHistory

from mrmd_python.clients.client import DEFAULT_SESSION, Client, connect, new_exec_id
from mrmd_python.clients.errors import RequestError
from mrmd_python.clients.events import Display, Execution, ExecutionEvent, Text
from mrmd_python.clients.terminal.activity import Activity, dim, line
from mrmd_python.clients.terminal.completer import ATTACH
from mrmd_python.clients.terminal.execution_view import ExecutionView
from mrmd_python.clients.terminal.printer import Printer
from mrmd_python.clients.terminal.prompt import make_prompt
from mrmd_python.runtime import ServiceError

if TYPE_CHECKING:
    from mrmd_python.server.session import SessionJson

_LEAVE = ("exit", "quit", "exit()", "quit()")
# Code that has not started within this time waits for other code.
_QUEUED_SECONDS = 0.3


async def open_console(runtime_id: str, session: str) -> None:
    """Open a console on the terminal, and return when the user leaves it.

    Raises:
        ServiceError: the runtime does not run, cannot be reached, or has ended.
    """
    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGHUP, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        async with connect(runtime_id, name="console") as client:
            await Console(client, session).run()
    except asyncio.CancelledError:
        if not received:
            raise
        raise SystemExit(128 + received[0]) from None  # as shells report it


class Console:
    """A console of a session."""

    def __init__(self, client: Client, session: str) -> None:
        self._client = client
        self._session = session
        self._activity = Activity()
        self._prompt = make_prompt(client, session, self._message)
        self._inputs = InMemoryHistory()
        # The number of the next cell, and what the last one proposes for it.
        self._number = 1
        self._proposed = ""
        # What has happened in the session since the last prompt.
        self._unseen: list[str | Text | Display] = []
        self._idle_output = Printer(client.record, f"{session}-idle", rich=True)
        self._watching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Read, run and print until the user leaves."""
        executions, session = await asyncio.gather(self._executions(), self._find_session())
        running = [execution for execution in executions if execution.state == "running"]
        python = "a new session" if session is None else session["environment"]["executable"]
        print(f"Runtime {self._client.runtime_id!r}: {python}. Ctrl-D leaves it running.")
        # In raw mode throughout: what is typed between two prompts is neither echoed nor lost.
        with self._prompt.input.raw_mode():
            try:
                self._watch()
                for execution in running:
                    await self._attach(execution)
                while True:
                    await self._turn()
            except EOFError:
                print(self._how_to_return())
            finally:
                if self._watching is not None:
                    self._watching.cancel()

    async def _turn(self) -> None:
        """Ask for a cell, and run it."""
        self._watch()
        await self._count_cells()
        await self._show_unseen()
        proposed, self._proposed = self._proposed, ""
        print()
        code = (await self._prompt.prompt_async(default=proposed)).rstrip()
        words = code.split()
        if not words:
            return
        if code.strip() in _LEAVE:
            raise EOFError
        if words[0] == ATTACH:
            await self._attach_named(words[1] if len(words) > 1 else "")
            return
        exec_id = new_exec_id()
        notice = asyncio.create_task(self._note_if_queued())
        await self._view(exec_id, self._client.execute(code, session=self._session, exec_id=exec_id), rich=False)
        notice.cancel()

    async def _attach_named(self, name: str) -> None:
        """Show the execution whose id begins with a name; if it is empty, the one that runs or was the last to."""
        begun = [execution for execution in await self._executions() if execution.started is not None]
        found = [execution for execution in begun if execution.exec_id.startswith(name)]
        if found:
            await self._attach(found[-1])
        else:
            print(f"There is no execution {name!r}." if name else "Nothing has run yet.")

    async def _attach(self, execution: Execution) -> None:
        """Show all of an execution until it ends."""
        print(dim(line(execution, execution.state)))
        await self._view(execution.exec_id, self._client.follow(execution.exec_id), rich=execution.rich)

    async def _view(self, exec_id: str, events: AsyncIterator[ExecutionEvent], *, rich: bool) -> None:
        self._activity.shown.add(exec_id)
        view = ExecutionView(self._client, exec_id, rich=rich, terminal=self._prompt.input, inputs=self._inputs)
        result = await view.show(events)
        self._proposed = (result and result.next_input) or ""
        self._activity.has_ended(exec_id)

    async def _note_if_queued(self) -> None:
        await asyncio.sleep(_QUEUED_SECONDS)
        if self._activity.others is not None:
            print(dim(line(self._activity.others, "runs first")))

    def _message(self) -> StyleAndTextTuples:
        # While the prompt is open; what is left on the screen afterwards should not say that something runs.
        others = None if self._prompt.app.is_done else self._activity.others
        above = [] if others is None else [("class:activity", f"{line(others, 'running')}\n")]
        return [*above, ("class:in", "In ["), ("class:number", f"{self._number}"), ("class:in", "]: ")]

    async def _executions(self) -> list[Execution]:
        # Those of an earlier version have no code.
        found = await self._client.executions(self._session)
        return [msgspec.convert({"code": "", **execution}, Execution) for execution in found]

    async def _find_session(self) -> "SessionJson | None":
        return next((each for each in await self._client.sessions() if each["id"] == self._session), None)

    async def _count_cells(self) -> None:
        found = await self._find_session()
        self._number = 1 if found is None else found["executionCount"] + 1

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():  # it ends if the session does not exist
            self._watching = asyncio.create_task(self._watch_session())

    async def _watch_session(self) -> None:
        """Show what others run in the session above the prompt, and end the prompt when the runtime ends."""
        try:
            while True:
                async for event in self._client.session_events(self._session):
                    if not isinstance(event, Execution):
                        self._unseen.append(event)
                    elif text := self._activity.take(event):
                        self._unseen.append(text)
                    await self._refresh()
                await self._find_session()  # raises an error if the runtime has ended
                self._unseen.append(f"the session {self._session!r} was deleted: its variables are gone")
                await self._refresh()
        except RequestError:
            return  # the session does not exist, or the server is of an earlier version
        except ServiceError as error:
            app = get_app_or_none()
            if app is not None and not app.is_done:
                app.exit(exception=error)

    async def _refresh(self) -> None:
        """Draw the prompt again, if it is open, below what has happened."""
        if self._prompt.app.is_running:
            await self._count_cells()
            await self._show_unseen()
            self._prompt.app.invalidate()

    async def _show_unseen(self) -> None:
        """Print what has happened since the last prompt."""
        if not self._unseen:
            return
        async with in_terminal():
            unseen, self._unseen = self._unseen, []
            for event in unseen:
                if isinstance(event, str):
                    print(dim(event))
                else:
                    await self._idle_output.show(event)
            if isinstance(event, Text) and not event.content.endswith("\n"):
                print()

    def _how_to_return(self) -> str:
        session = "" if self._session == DEFAULT_SESSION else f" --session {shlex.quote(self._session)}"
        runtime_id = self._client.runtime_id
        return f"The runtime {runtime_id!r} goes on. To return: mrmd-python --console {runtime_id}{session}"
