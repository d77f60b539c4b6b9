"""Writing code: completion, whether a cell is complete, formatting, history."""

import asyncio
import json
from typing import Any, Literal, TypedDict

from aiohttp import web

from mrmd_python.server.api.positions import Position
from mrmd_python.server.api.request import Fields, read_body
from mrmd_python.server.api.response import json_response, raw_json_response
from mrmd_python.server.api.route import SESSIONS, Route
from mrmd_python.server.history import History
from mrmd_python.server.session import Session
from mrmd_python.server.sessions import DEFAULT, Sessions

_ANSWER_SECONDS = 4.0  # clients give up after five
_BUSY_ANSWER_SECONDS = 0.3
_FORMAT_SECONDS = 4.0
# IPython's check parses all lines again for each magic or shell command: 600 of them take seconds. The process that
# does it can be killed.
_CHECK_SECONDS = 4.0
# How much of the code of earlier cells is used for inference.
_CONTEXT_CHARACTERS = 50_000


class CompleteRequest(Position):
    """Where to complete, and what triggered the request."""

    trigger_kind: Any = None
    trigger_character: Any = None


class CodeRequest(Fields):
    """Code, and the session it is for."""

    code: str
    session: str = DEFAULT


class HistoryRequest(Fields):
    """Which cells of a session's history."""

    n: int = 20
    # A glob for the whole cell if it has * or ?, else a substring.
    pattern: str = ""
    before: int | None = None
    session: str = DEFAULT


class Match(TypedDict):
    """One completion."""

    label: str
    insertText: str
    kind: str
    detail: str | None
    documentation: str | None
    valuePreview: str | None
    type: str | None
    sortText: str


class Completion(TypedDict):
    """The completions for the text between two positions."""

    matches: list[Match]
    cursorStart: int
    cursorEnd: int
    source: Literal["runtime", "static"]


class Completeness(TypedDict):
    """Whether a cell is complete, and if not, the indent of its next line."""

    status: Literal["complete", "incomplete", "invalid", "unknown"]
    indent: str


class _Problem(TypedDict, total=False):
    error: str


class Formatted(_Problem):
    """Code as black formats it."""

    formatted: str
    changed: bool


class HistoryEntry(TypedDict):
    """A cell that has run."""

    historyIndex: int
    code: str


class HistoryPage(TypedDict):
    """A part of a history, oldest first."""

    entries: list[HistoryEntry]
    hasMore: bool


async def complete(request: web.Request) -> web.StreamResponse:
    """POST /complete: from the session's objects, else from the code."""
    at = await read_body(request, CompleteRequest)
    sessions = request.app[SESSIONS]
    session = sessions.get(at.session)
    deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
    live = asyncio.create_task(_complete_live(session, at))
    # While C code holds the GIL, a busy session cannot answer.
    is_busy = session is not None and session.state == "busy"
    await asyncio.wait({live}, timeout=_BUSY_ANSWER_SECONDS if is_busy else None)
    answer = live.result() if live.done() else None
    # A first completion often means that more will come. The process starts after the response has been sent.
    sessions.inference.prepare()
    if answer is not None and not is_busy and not at.has_wide_units:
        return raw_json_response(answer)
    found = None if answer is None else json.loads(answer)
    # A busy session may not have a name yet that the running code is about to define.
    if found is None or (is_busy and not found["matches"]):
        inferred = await _complete_static(sessions, session, at, deadline - asyncio.get_running_loop().time())
        if inferred is not None and inferred["matches"]:
            return _completion(at, inferred)
        found = json.loads(await live or "null") or inferred
    return _completion(at, found or {"matches": [], "cursorStart": at.offset, "cursorEnd": at.offset})


async def is_complete(request: web.Request) -> web.StreamResponse:
    """POST /is_complete."""
    body = await read_body(request, CodeRequest)
    answer = await request.app[SESSIONS].syntax.query(_CHECK_SECONDS, "is_complete", body.code)
    return json_response(answer or Completeness(status="unknown", indent=""))


async def format_code(request: web.Request) -> web.StreamResponse:
    """POST /format."""
    body = await read_body(request, CodeRequest)
    sessions = request.app[SESSIONS]
    session = sessions.get(body.session)
    environment = sessions.environment if session is None else session.environment
    answer = await sessions.syntax.query(_FORMAT_SECONDS, "format", body.code, cwd=environment.cwd)
    problem = f"the code could not be formatted within {_FORMAT_SECONDS:g} seconds"
    return json_response(answer or Formatted(formatted=body.code, changed=False, error=problem))


async def history(request: web.Request) -> web.StreamResponse:
    """POST /history."""
    body = await read_body(request, HistoryRequest)
    session = request.app[SESSIONS].get(body.session)
    snapshot = History() if session is None else session.history.snapshot()
    page = await asyncio.to_thread(snapshot.page, max(body.n, 0), body.pattern, body.before)
    entries = [HistoryEntry(historyIndex=entry.number, code=entry.code) for entry in page.entries]
    return json_response(HistoryPage(entries=entries, hasMore=page.has_more))


async def _complete_live(session: Session | None, at: Position) -> bytes | None:
    """Return completions from the session's objects in JSON, or None if it cannot answer."""
    if session is None:
        return None
    return await session.query("complete", code=at.code, cursor=at.offset)


async def _complete_static(
    sessions: Sessions, session: Session | None, at: Position, seconds: float
) -> dict[str, Any] | None:
    """Return completions inferred from the code, or None if inference takes longer than `seconds`."""
    environment = sessions.environment if session is None else session.environment
    context = [] if session is None else session.history.tail(_CONTEXT_CHARACTERS)
    if session is not None and session.running is not None:
        context.append(session.running.cell.code[:_CONTEXT_CHARACTERS])
    return await sessions.inference.query(
        seconds,
        "complete",
        at.code,
        cursor=at.offset,
        context=context,
        executable=environment.executable,
        cwd=environment.cwd,
    )


def _completion(at: Position, found: dict[str, Any]) -> web.Response:
    answer: Completion = {
        "matches": found["matches"],
        "cursorStart": at.for_client(found["cursorStart"]),
        "cursorEnd": at.for_client(found["cursorEnd"]),
        "source": found.get("source", "static"),
    }
    return json_response(answer)


ROUTES = [
    Route("POST", "/complete", complete, Completion, CompleteRequest),
    Route("POST", "/is_complete", is_complete, Completeness, CodeRequest),
    Route("POST", "/format", format_code, Formatted, CodeRequest),
    Route("POST", "/history", history, HistoryPage, HistoryRequest),
]
