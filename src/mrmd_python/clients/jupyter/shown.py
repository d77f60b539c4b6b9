"""An execution that a cell shows: the cell's own, or one that it has attached to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from mrmd_python.clients.client import Client
from mrmd_python.clients.events import Error, ExecutionEvent, InputRequest, Result, Start, Stdin
from mrmd_python.clients.jupyter.outputs import Outputs

# Asks the user for a line: given the prompt, and whether it is a password.
Ask = Callable[[str, bool], Awaitable[str]]


class ShownExecution:
    """An execution whose output goes to the front ends, and that they answer.

    Args:
        client: the client of its runtime.
        exec_id: the execution.
        rich: whether its text leaves out displays, the last expression and errors.
        has_begun: whether it has run before, so that its first events are not new.
    """

    def __init__(self, client: Client, exec_id: str, *, rich: bool, has_begun: bool) -> None:
        self.exec_id = exec_id
        self._client = client
        self._rich = rich
        self._has_begun = has_begun
        self._is_queued = not has_begun
        # A prompt that the front end shows instead of the text, and whether the front end has answered the last one.
        self._prompt = ""
        self._has_answered = False

    async def show(self, events: AsyncIterator[ExecutionEvent], outputs: Outputs, ask: Ask | None) -> Result | Error:
        """Show the events until the execution ends, and return the last one.

        Args:
            events: the events.
            outputs: where to show them.
            ask: asks the user for a line; None if the front end cannot.

        Raises:
            ServiceError: the runtime has ended, or cannot be reached.
        """
        question: asyncio.Task[None] | None = None
        try:
            async for event in events:
                if question is not None:
                    question.cancel()  # it was answered, or the code was interrupted
                    question = None
                if self._prompt:
                    outputs.write(self._prompt)  # it was answered elsewhere
                    self._prompt = ""
                match event:
                    case Start():
                        self._is_queued = False
                    case InputRequest():
                        self._prompt = outputs.take_prompt(event.prompt)
                        self._has_answered = False
                        question = None if ask is None else asyncio.create_task(self._answer(event, ask))
                    case Stdin() if not self._has_answered:
                        outputs.write(event.content)
                    case _:
                        await outputs.show(event, self._client, rich=self._rich)
                if isinstance(event, Result | Error):
                    return event
        finally:
            if question is not None:
                question.cancel()
        raise AssertionError("an execution ends with a result or an error")

    async def interrupt(self) -> None:
        """Interrupt it, or remove it from the queue: what runs before it is another client's."""
        if self._is_queued:
            await self._client.cancel(self.exec_id)
        else:
            await self._client.interrupt()

    async def _answer(self, request: InputRequest, ask: Ask) -> None:
        if self._has_begun and not await self._client.awaits_input(self.exec_id):
            return  # it was answered before
        line = await ask(request.prompt, request.password)
        self._prompt, self._has_answered = "", True
        await self._client.answer(self.exec_id, line)
