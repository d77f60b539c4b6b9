"""MRP's endpoints for whoever writes code: completion, is-it-complete, formatting, history."""

import asyncio
from typing import Any

from mrmd_python.server.endpoint import ANYTHING, NUMBER, TEXT, Route
from mrmd_python.server.exchange import RefusedError, Reply, Request, number_field, text_field
from mrmd_python.server.history import History
from mrmd_python.server.positions import PLACE, Place
from mrmd_python.server.session import Session
from mrmd_python.server.sessions import DEFAULT, Sessions

_ANSWER_SECONDS = 4.0
"""How long a completion may take: clients give up after five seconds."""
_BUSY_ANSWER_SECONDS = 0.3
_FORMAT_SECONDS = 4.0
_LONGEST_CHECKED = 100_000
_CONTEXT_CHARACTERS = 50_000
"""How much of the code that has run goes into inference from the code alone."""
_UNKNOWN_STATUS = {"status": "unknown", "indent": ""}


async def complete(sessions: Sessions, request: Request) -> Reply:
    """POST /complete: from what the session holds, or else from the code alone."""
    place = Place.of_body(request.body)
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    sessions.inference.prepare()
    deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
    live = asyncio.create_task(_complete_live(session, place))
    # C code may keep a busy session from answering for as long as it runs.
    is_busy = session is not None and session.state == "busy"
    await asyncio.wait({live}, timeout=_BUSY_ANSWER_SECONDS if is_busy else None)
    found = live.result() if live.done() else None
    # The code that runs may be about to make what a busy session does not have yet.
    if found is None or (is_busy and not found["matches"]):
        inferred = await _infer(sessions, session, place, deadline - asyncio.get_running_loop().time())
        if inferred is not None and inferred["matches"]:
            return _completion(place, inferred)
        found = await live or inferred
    return _completion(place, found or {"matches": [], "cursorStart": place.cursor, "cursorEnd": place.cursor})


async def is_complete(sessions: Sessions, request: Request) -> Reply:
    """POST /is_complete."""
    code = _code(request)
    if len(code) > _LONGEST_CHECKED:
        return Reply(_UNKNOWN_STATUS)
    return Reply(await asyncio.to_thread(_check_complete, code))


async def format_code(sessions: Sessions, request: Request) -> Reply:
    """POST /format."""
    code = _code(request)
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    environment = sessions.environment if session is None else session.environment
    answer = await sessions.syntax.ask(_FORMAT_SECONDS, "format", code, cwd=environment.cwd)
    fault = f"the code could not be formatted within {_FORMAT_SECONDS:g} seconds"
    return Reply(answer or {"formatted": code, "changed": False, "error": fault})


async def history(sessions: Sessions, request: Request) -> Reply:
    """POST /history."""
    count = max(number_field(request.body, "n", 20), 0)
    pattern = text_field(request.body, "pattern", "")
    before = None if request.body.get("before") is None else number_field(request.body, "before", 0)
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    kept = History() if session is None else session.history.snapshot()
    page = await asyncio.to_thread(kept.page, count, pattern, before)
    entries = [{"historyIndex": entry.index, "code": entry.code} for entry in page.entries]
    return Reply({"entries": entries, "hasMore": page.has_more})


ROUTES: list[Route] = [
    Route(
        "POST",
        "/complete",
        complete,
        {**PLACE, "session": TEXT, "triggerKind": ANYTHING, "triggerCharacter": ANYTHING},
        ("code",),
    ),
    Route("POST", "/is_complete", is_complete, {"code": TEXT, "session": ANYTHING}, ("code",)),
    Route("POST", "/format", format_code, {"code": TEXT, "session": TEXT}, ("code",)),
    Route("POST", "/history", history, {"n": NUMBER, "pattern": TEXT, "before": NUMBER, "session": TEXT}),
]


def _check_complete(code: str) -> dict[str, str]:
    from IPython.core.inputtransformer2 import TransformerManager  # takes a while, and few clients ask

    try:
        status, indent = TransformerManager().check_complete(code)
    except (RecursionError, MemoryError):
        return _UNKNOWN_STATUS
    return {"status": status, "indent": " " * (indent or 0)}


async def _complete_live(session: Session | None, place: Place) -> dict[str, Any] | None:
    """Return what the session itself proposes, None if it cannot tell."""
    if session is None:
        return None
    return await session.query("complete", code=place.code, cursor=place.cursor)


async def _infer(sessions: Sessions, session: Session | None, place: Place, seconds: float) -> dict[str, Any] | None:
    environment = sessions.environment if session is None else session.environment
    context = [] if session is None else session.history.tail(_CONTEXT_CHARACTERS)
    if session is not None and session.running is not None:
        context.append(session.running.cell.code[:_CONTEXT_CHARACTERS])
    return await sessions.inference.ask(
        seconds,
        "complete",
        place.code,
        cursor=place.cursor,
        context=context,
        executable=environment.executable,
        cwd=environment.cwd,
    )


def _completion(place: Place, found: dict[str, Any]) -> Reply:
    return Reply(
        {
            "matches": found["matches"],
            "cursorStart": place.as_client_counts(found["cursorStart"]),
            "cursorEnd": place.as_client_counts(found["cursorEnd"]),
            "source": found.get("source", "static"),
        }
    )


def _code(request: Request) -> str:
    if "code" not in request.body:
        raise RefusedError(400, "missing_code", "the field 'code' is missing")
    return text_field(request.body, "code", "")
