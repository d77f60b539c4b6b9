"""Completion at the console's prompt: of code by the runtime, and of executions for %attach."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from mrmd_python.clients.client import Client
from mrmd_python.clients.terminal.activity import summary
from mrmd_python.runtime import ServiceError

ATTACH = "%attach"
_ANSWER_SECONDS = 5.0


class SessionCompleter(Completer):
    """Completes at the prompt of a session."""

    def __init__(self, client: Client, session: str) -> None:
        self._client = client
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return nothing: the runtime is asked asynchronously."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield what can stand at the cursor, each with the first line of its documentation."""
        code, cursor = document.text, document.cursor_position
        find = self._executions(code) if code.startswith(f"{ATTACH} ") else self._names(code, cursor)
        try:
            found = await asyncio.wait_for(find, _ANSWER_SECONDS)
        except (ServiceError, asyncio.TimeoutError):
            return
        for completion in found:
            yield completion

    async def _names(self, code: str, cursor: int) -> list[Completion]:
        found = await self._client.complete(code, cursor, self._session)
        return [
            Completion(
                match["insertText"],
                found["cursorStart"] - cursor,
                display=match["label"],
                display_meta=_first_line(match["documentation"]) or match["detail"] or match["valuePreview"] or "",
            )
            for match in found["matches"]
        ]

    async def _executions(self, code: str) -> list[Completion]:
        typed = code.removeprefix(ATTACH).lstrip()
        executions = await self._client.executions(self._session)
        return [
            Completion(found["execId"], -len(typed), display_meta=summary(found.get("client"), found.get("code", "")))
            for found in reversed(executions)
            if found["execId"].startswith(typed)
        ]


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
