"""An execution on the screen of the console: prints it, asks for its input, and acts on Ctrl-C and Ctrl-D."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.formatted_text import ANSI, fragment_list_width, to_formatted_text
from prompt_toolkit.history import DummyHistory, History
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.keys import Keys

from mrmd_python.clients.client import Client
from mrmd_python.clients.events import Error, ExecutionEvent, InputRequest, Result, Text
from mrmd_python.clients.terminal import keyboard
from mrmd_python.clients.terminal.interrupt import interrupt
from mrmd_python.clients.terminal.printer import Printer
from mrmd_python.runtime import ServiceError

# How much of a line of output is shown again as the prompt of an input.
_LONGEST_PROMPT = 4096
# How long the last line that the user has typed may take to reach the runtime.
_SEND_SECONDS = 5.0


class ExecutionView:
    """One execution, until it ends or the user leaves."""

    def __init__(self, client: Client, exec_id: str, *, rich: bool, terminal: Input, inputs: History) -> None:
        """View an execution.

        Args:
            client: the client of the runtime.
            exec_id: the execution.
            rich: whether it was requested with `rich`.
            terminal: where keys come from.
            inputs: the lines that were typed as input before.
        """
        self._client = client
        self._exec_id = exec_id
        self._printer = Printer(client.record, exec_id, rich=rich)
        self._terminal = terminal
        self._inputs = inputs
        # The incomplete line of the output.
        self._line = ""
        self._printing: asyncio.Task[Result | None]
        self._catch_up: Callable[[], None]
        self._asking: asyncio.Task[None] | None = None
        # The prompt of the input that it waits for.
        self._question: PromptSession[str] | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self._has_left = False

    async def show(self, events: AsyncIterator[ExecutionEvent]) -> Result | None:
        """Print its events; return its result, or None if it has failed.

        Raises:
            EOFError: the user leaves.
            ServiceError: the runtime has ended, or does not answer.
        """
        self._printing = asyncio.create_task(self._print(events))
        actions = {Keys.ControlC: self._interrupt, Keys.ControlD: self._leave}
        with keyboard.watched(self._terminal, actions, closed=self._leave) as catch_up:
            self._catch_up = catch_up
            try:
                return await self._printing
            except asyncio.CancelledError:
                if self._has_left:
                    raise EOFError from None
                raise
            finally:
                await self._stop_asking()
                if self._line:
                    print()

    async def _print(self, events: AsyncIterator[ExecutionEvent]) -> Result | None:
        result = None
        async for event in events:
            match event:
                case InputRequest():
                    await self._stop_asking()
                    self._asking = asyncio.create_task(self._ask(event))
                    continue
                case Text():
                    if self._asking is not None and not await self._client.awaits_input(self._exec_id):
                        await self._stop_asking()  # another client has answered
                    line = f"{self._line}{event.content}".rpartition("\n")[2].rpartition("\r")[2]
                    self._line = line[-_LONGEST_PROMPT:]
                case Result() | Error():
                    await self._stop_asking()
                    if self._interrupting is not None:
                        self._interrupting.cancel()
                    result = event if isinstance(event, Result) else None
                case _:
                    self._line = ""
            async with in_terminal():  # above the line that is asked for
                await self._printer.show(event)
        return result

    async def _ask(self, request: InputRequest) -> None:
        """Ask the user for a line, and send it."""
        with suppress(ServiceError):  # if the runtime has ended, the stream says so
            await self._answer(request)

    async def _answer(self, request: InputRequest) -> None:
        if not await self._client.awaits_input(self._exec_id):
            return  # it was answered before this console opened
        self._question = PromptSession(
            self._begin_prompt(),
            is_password=request.password,
            history=DummyHistory() if request.password else self._inputs,
        )
        try:
            text = await self._question.prompt_async()
        except KeyboardInterrupt:
            self._interrupt()
            return
        except EOFError:
            self._leave()
            return
        finally:
            self._line = ""  # the prompt has ended it
        self._catch_up()
        if not request.password:
            self._printer.expect_echo(text)
        if not await self._client.answer(self._exec_id, text):
            self._printer.forget_echo()

    def _begin_prompt(self) -> ANSI:
        """Return the incomplete line, which the prompt draws again as its own, with the cursor where it begins."""
        line = ANSI(self._line)
        width = fragment_list_width(to_formatted_text(line))
        fits = width < shutil.get_terminal_size().columns
        sys.stdout.write("\r" if fits else "\n")
        return line if fits else ANSI("")

    async def _stop_asking(self) -> None:
        """Close the prompt, if it is open; a line that has been entered is sent."""
        if self._asking is None:
            return
        if self._question is None or self._question.app.is_running:
            self._asking.cancel()
        await asyncio.wait({self._asking}, timeout=_SEND_SECONDS)
        self._asking = self._question = None

    def _interrupt(self) -> None:
        clear_typeahead(self._terminal)
        self._interrupting = asyncio.create_task(interrupt(self._client, self._exec_id))

    def _leave(self) -> None:
        self._has_left = True
        self._printing.cancel()
