"""MRP's endpoints for executions that exist: listing them, coming back to one, and being rid of it."""

import json
import re
from collections.abc import AsyncIterator, Mapping

from mrmd_python.server.endpoint import Route, Schema
from mrmd_python.server.event_stream import event_stream, result
from mrmd_python.server.exchange import EventStream, JsonStream, RefusedError, Reply, Request
from mrmd_python.server.execution import Execution
from mrmd_python.server.session import Session
from mrmd_python.server.sessions import Sessions


async def list_executions(sessions: Sessions, request: Request) -> Reply:
    """GET /executions."""
    wanted = request.query.get("session")
    found = [
        execution.as_json()
        for session in sessions
        for execution in session.executions.values()
        if wanted in (None, session.id)
    ]
    return Reply({"executions": sorted(found, key=lambda execution: execution["created"])})


async def get_execution(sessions: Sessions, request: Request) -> JsonStream:
    """GET /executions/{execId}."""
    _, execution = _existing(sessions, request.path["execId"])
    return JsonStream(_with_result(execution))


async def stream_execution(sessions: Sessions, request: Request) -> EventStream:
    """GET /executions/{execId}/stream. The header counts for more: a browser reconnects to the URL as it was."""
    _, execution = _existing(sessions, request.path["execId"])
    after = _event_number("after", request.query.get("after", "0"))
    if request.headers.get("last-event-id"):
        after = _event_number("Last-Event-ID", request.headers["last-event-id"])
    return EventStream(event_stream(execution, after, accumulated=_query_flag(request.query, "accumulated", True)))


async def delete_execution(sessions: Sessions, request: Request) -> Reply:
    """DELETE /executions/{execId}: end it early or, if it has ended, forget it."""
    session, execution = _existing(sessions, request.path["execId"])
    if execution.log.closed:
        session.forget(execution)
    else:
        session.cancel(execution)
    return Reply({"success": True})


_EVENT_NUMBER: Schema = {"type": "string", "pattern": "^-?[0-9]{1,1000}$"}
ROUTES: list[Route] = [
    Route("GET", "/executions", list_executions, query={"session": {"type": "string"}}),
    Route("GET", "/executions/{execId}", get_execution),
    Route(
        "GET",
        "/executions/{execId}/stream",
        stream_execution,
        query={"after": _EVENT_NUMBER, "accumulated": {"enum": ["true", "false"]}},
        headers={"Last-Event-ID": {"type": "string", "pattern": "^(-?[0-9]{1,1000})?$"}},
    ),
    Route("DELETE", "/executions/{execId}", delete_execution),
]


def _existing(sessions: Sessions, exec_id: str) -> tuple[Session, Execution]:
    found = sessions.execution(exec_id)
    if found is None:
        raise RefusedError(404, "unknown_execution", f"there is no execution {exec_id!r}, or it is not kept any more")
    return found


async def _with_result(execution: Execution) -> AsyncIterator[bytes]:
    """Yield an execution as JSON, with its ExecuteResult if it has ended."""
    described = json.dumps(execution.as_json()).encode("ascii")
    if not execution.log.closed:
        yield described + b"\n"
        return
    yield described[:-1] + b', "result": '
    async for piece in result(execution):
        yield piece
    yield b"}\n"


def _event_number(name: str, value: str) -> int:
    """Return the number of an event that a client has seen; one below 0 means that it has seen none.

    Raises:
        RefusedError: it is no number.
    """
    if not re.fullmatch(r"-?[0-9]{1,1000}", value):
        raise RefusedError(400, "bad_event_id", f"{name} must be the id of an event, a whole number")
    return max(0, int(value))


def _query_flag(query: Mapping[str, str], name: str, default: bool) -> bool:
    value = query.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise RefusedError(400, "wrong_type", f"the parameter {name!r} must be true or false")
    return value == "true"
