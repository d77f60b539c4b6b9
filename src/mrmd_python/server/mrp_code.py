"""MRP's endpoints for whoever writes code: completion, is-it-complete, formatting, history."""

import asyncio
from typing import Any, Literal

from mrmd_python.server.endpoint import ANYTHING, NUMBER, TEXT, Route
from mrmd_python.server.exchange import RefusedError, Reply, Request, number_field, text_field
from mrmd_python.server.history import History
from mrmd_python.server.positions import PLACE, Place
from mrmd_python.server.session import Session
from mrmd_python.server.sessions import DEFAULT, Sessions

_ANSWER_SECONDS = 4.0
"""How long a completion may take: clients give up after five seconds."""
_WORK_SECONDS = 4.0
_CONTEXT_CHARACTERS = 50_000
"""How much of the code that has run goes into inference from the code alone."""


async def complete(sessions: Sessions, request: Request) -> Reply:
    """POST /complete: from what an idle session holds, else from the code alone.

    A busy session is not to be disturbed; it is asked nonetheless, for where inference has nothing or is not in time.
    """
    place = Place.of_body(request.body)
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    sessions.inference.prepare()
    deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
    looking = asyncio.create_task(_look(session, place))
    if session is not None and session.state == "idle":
        found = await looking
        if found is not None:
            return _completion(place, found, "runtime")
    inferred = await _infer(sessions, session, place, deadline - asyncio.get_running_loop().time())
    found = await looking
    if found is not None and not (inferred and inferred["matches"]):
        return _completion(place, found, "runtime")
    nothing = {"matches": [], "cursorStart": place.cursor, "cursorEnd": place.cursor}
    return _completion(place, inferred or nothing, "static")


async def is_complete(sessions: Sessions, request: Request) -> Reply:
    """POST /is_complete."""
    answer = await sessions.syntax.ask(_WORK_SECONDS, "is_complete", _code(request))
    return Reply(answer or {"status": "unknown", "indent": ""})


async def format_code(sessions: Sessions, request: Request) -> Reply:
    """POST /format."""
    code = _code(request)
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    environment = sessions.environment if session is None else session.environment
    answer = await sessions.syntax.ask(_WORK_SECONDS, "format", code, cwd=environment.cwd)
    fault = f"the code could not be formatted within {_WORK_SECONDS:g} seconds"
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


async def _look(session: Session | None, place: Place) -> dict[str, Any] | None:
    """Return what the session itself proposes, None if it does not say."""
    if session is None:
        return None
    answer = await session.look("complete", code=place.code, cursor=place.cursor)
    if answer is None or not isinstance(answer.get("matches"), list):
        return None
    # A cell may have written to the worker's socket.
    return answer if all(isinstance(answer.get(name), int) for name in ("cursorStart", "cursorEnd")) else None


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


def _completion(place: Place, found: dict[str, Any], source: Literal["runtime", "static"]) -> Reply:
    return Reply(
        {
            "matches": found["matches"],
            "cursorStart": place.as_client_counts(found["cursorStart"]),
            "cursorEnd": place.as_client_counts(found["cursorEnd"]),
            "source": source,
        }
    )


def _code(request: Request) -> str:
    if "code" not in request.body:
        raise RefusedError(400, "missing_code", "the field 'code' is missing")
    return text_field(request.body, "code", "")
