"""The output of an execution as an agent gets it: text, pictures, and where to read on."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent

from mrmd_python.clients.events import (
    Asset,
    ClearOutput,
    Display,
    Error,
    ExecutionEvent,
    InputRequest,
    Result,
    Start,
    Text,
)
from mrmd_python.clients.mcp import pictures
from mrmd_python.clients.mcp.results import CodeError, ExecutionOutput
from mrmd_python.clients.mcp.text import LongText, readable, shortened
from mrmd_python.runtime import ServiceError

if TYPE_CHECKING:
    from mrmd_python.server.execution import State

# What a model can read of a display without a picture, the best first.
_TEXT_TYPES = ("text/markdown", "text/plain", "text/latex", "text/html", "image/svg+xml", "application/json")
# The repr of objects that are their other forms, such as IPython.display.HTML.
_NO_TEXT = "<IPython.core.display."
_DISPLAY_CHARACTERS = 5_000
_ERROR_CHARACTERS = 10_000
_PICTURES = 8
# A request for input that has been answered is followed by other events: the answer is echoed.
_ANSWERED_SECONDS = 0.3


class Output:
    """The output of one execution from a position on, in bounded memory however long it is."""

    def __init__(
        self,
        exec_id: str,
        *,
        position: int = 0,
        state: "State" = "queued",
        rich: bool = True,
        read_asset: Callable[[str], Awaitable[bytes]],
    ) -> None:
        """Collect the output of an execution.

        Args:
            exec_id: the execution.
            position: where to begin.
            state: its state at that moment, as MRP says it.
            rich: whether its displays, result and errors are left out of its text.
            read_asset: returns the content of an asset by its URL.
        """
        self._exec_id = exec_id
        self._position = position
        self._state: State = state
        self._rich = rich
        self._read_asset = read_asset
        self._text = LongText()
        self._pictures: list[ImageContent] = []
        self._outcome: Result | Error | None = None
        self._asked: InputRequest | None = None
        self._asked_at = 0.0
        self._clear_before_output = False
        # The last form of each display that was updated.
        self._updated: dict[str, Display | Asset] = {}

    async def read(self, events: AsyncIterator[ExecutionEvent]) -> None:
        """Read events until the execution has ended."""
        async for event in events:
            await self._add(event)
            self._position = event.number

    @property
    def waits_for_input(self) -> bool:
        """Whether the code waits for input."""
        return self._asked is not None and time.monotonic() - self._asked_at > _ANSWERED_SECONDS

    @property
    def last_line(self) -> str:
        """The last line so far."""
        return self._text.last_line

    async def answer(self, problem: ServiceError | None = None) -> CallToolResult:
        """Return the output so far: a tool error if the code has failed or cannot go on, because of a problem."""
        for event in self._updated.values():
            await self._show(event)
        asked = self._asked if self.waits_for_input else None
        found = ExecutionOutput(
            execution_id=self._exec_id,
            state="lost" if problem is not None else "waiting_for_input" if asked is not None else self._state,
            result=self._result(),
            output=self._joined(),
            error=self._error(),
            prompt=asked.prompt if asked is not None else None,
            position=self._position,
            left_out_at=self._text.cut_at if self._text.left_out else None,
        )
        content: list[ContentBlock] = [TextContent(text=_as_text(found, problem)), *self._pictures]
        # Some agents show a model the structured content alone, and then it does not see the pictures:
        # https://github.com/anthropics/claude-code/issues/54737, https://github.com/openai/codex/issues/38287
        structured = None if self._pictures else found.model_dump(mode="json", exclude_none=True)
        is_error = problem is not None or self._state == "error"
        return CallToolResult(content=content, structured_content=structured, is_error=is_error)

    async def _add(self, event: ExecutionEvent) -> None:
        self._asked = None
        match event:
            case Text():
                self._append(event)
            case Display() | Asset():
                await self._display(event)
            case ClearOutput():
                self._clear_before_output = True
                if not event.wait:
                    self._clear()
            case InputRequest():
                self._asked, self._asked_at = event, time.monotonic()
            case Start():
                self._state = "running"
            case Result() | Error():
                self._state = "done" if isinstance(event, Result) else "error"
                self._outcome = event

    async def _display(self, event: Display | Asset) -> None:
        if not event.update or event.display_id is None:
            await self._show(event)
            return
        self._updated.pop(event.display_id, None)
        self._updated[event.display_id] = event
        if len(self._updated) > _PICTURES:
            del self._updated[next(iter(self._updated))]

    def _clear(self) -> None:
        """Remove all output if new output is to replace it."""
        if self._clear_before_output:
            self._clear_before_output = False
            self._text = LongText()
            self._pictures.clear()
            self._updated.clear()

    def _append(self, event: Text) -> None:
        self._clear()
        text = event.content
        begin = event.number - len(text.encode())
        if begin < self._position:  # in the middle of this text
            text = text.encode()[self._position - begin :].decode(errors="ignore")
        self._text.append(text, event.number)

    async def _show(self, event: Display | Asset) -> None:
        self._clear()
        bundle = event.data if isinstance(event, Display) else await self._with_content(event)
        text = self._described(bundle, self._position)
        start = "" if self._text.ends_line else "\n"
        self._text.append_whole(f"{start}{text}\n", self._position)

    async def _with_content(self, asset: Asset) -> Mapping[str, Any]:
        """Return the forms of a display that became a file."""
        if asset.mime_type in pictures.FORMATS:
            try:
                return {asset.mime_type: await self._read_asset(asset.url)}
            except ServiceError:  # the file was removed
                pass
        return {"text/plain": f"[{asset.mime_type} in {asset.path}]"}

    def _described(self, bundle: Mapping[str, Any], start: int) -> str:
        """Return text for what is displayed at a position: itself, or a mark for a picture, which is kept."""
        if any(mime_type in bundle for mime_type in pictures.FORMATS):
            if len(self._pictures) == _PICTURES:
                return f"[a picture: {_read_output(self._exec_id, start)} returns it]"
            picture = pictures.picture_of(bundle)
            if picture is not None:
                self._pictures.append(picture)
                return f"[picture {len(self._pictures)}]"
        texts = [str(bundle[mime_type]) for mime_type in _TEXT_TYPES if mime_type in bundle]
        text = next((text for text in texts if not text.startswith(_NO_TEXT)), f"[{', '.join(bundle)}]")
        return shortened(text, _DISPLAY_CHARACTERS)

    def _joined(self) -> str:
        head, tail = self._text.ends()
        if self._text.left_out and self._text.cut_at is not None:
            how = _read_output(self._exec_id, self._text.cut_at)
            head += f"\n[... {self._text.left_out} characters left out; {how} returns them ...]\n"
        return readable(head + tail)

    def _result(self) -> str | None:
        """Return the last expression; None if there is none, or if it is part of the text."""
        if isinstance(self._outcome, Result) and self._outcome.data and self._rich:
            return self._described(self._outcome.data, self._position)
        return None

    def _error(self) -> CodeError | None:
        error = self._outcome
        if not isinstance(error, Error):
            return None
        traceback = "\n".join(error.traceback) or f"{error.type}: {error.message}"
        return CodeError(
            type=error.type,
            message=shortened(error.message, _ERROR_CHARACTERS),
            # That of others is part of the text.
            traceback=readable(shortened(traceback, _ERROR_CHARACTERS)) if self._rich or not error.traceback else None,
        )


def _read_output(exec_id: str, position: int) -> str:
    return f'read_output(execution_id="{exec_id}", position={position})'


def _as_text(found: ExecutionOutput, problem: ServiceError | None) -> str:
    """Return the output as one text, with a last line on the state."""
    on = _read_output(found.execution_id, found.position)
    how = f'answer_input(execution_id="{found.execution_id}", position={found.position}, text=...)'
    states = {
        "queued": f"waits behind other code of the session; {on} returns its output",
        "running": f"still running; {on} returns what follows",
        "waiting_for_input": f"waits for input, and asks {found.prompt!r}; {how} answers",
        "done": "done",
        "error": "failed",
        "lost": str(problem),
    }
    traceback = found.error.traceback if found.error is not None else None
    parts = (found.output, found.result, traceback, f"[{states[found.state]}]")
    return "\n".join(part.removesuffix("\n") for part in parts if part)
