"""MRP's endpoints, apart from any HTTP library: a `Request` in, a `Reply` out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mrmd_python import __version__
from mrmd_python.server.event_stream import event_stream, result
from mrmd_python.server.exchange import (
    EventStream,
    File,
    JsonStream,
    RefusedError,
    Reply,
    Request,
    flag_field,
    text_field,
)
from mrmd_python.server.execution import Cell, Execution, new_execution_id
from mrmd_python.server.session import QueueFullError, Session, SessionStartError
from mrmd_python.server.sessions import (
    DEFAULT,
    MAX_SESSIONS,
    EnvironmentConflictError,
    Sessions,
    TooManySessionsError,
)

PREFIX = "/mrp/v1"

_LONGEST_SESSION_ID = 256

_FEATURES = {
    "execute": True,
    "executeStream": True,
    "interrupt": True,
    "complete": False,
    "inspect": False,
    "hover": False,
    "variables": False,
    "variableExpand": False,
    "reset": True,
    "isComplete": False,
    "format": False,
    "assets": True,
    "history": False,
    "reattach": False,
}


Endpoint = Callable[[Sessions, Request], Awaitable[Reply | JsonStream | File | EventStream]]


async def capabilities(sessions: Sessions, request: Request) -> Reply:
    """GET /capabilities."""
    default = sessions.get(DEFAULT)
    return Reply(
        {
            "runtime": "mrmd-python",
            "version": __version__,
            "languages": ["python", "py", "python3"],
            "features": _FEATURES,
            "defaultSession": DEFAULT,
            "maxSessions": MAX_SESSIONS,
            "lspFallback": None,
            "environment": sessions.environment.as_json(),
            "pythonVersion": default.python_version if default is not None else None,
        }
    )


async def list_sessions(sessions: Sessions, request: Request) -> Reply:
    """GET /sessions."""
    return Reply({"sessions": [_session_json(session) for session in sessions]})


async def get_session(sessions: Sessions, request: Request) -> Reply:
    """GET /sessions/{id}."""
    return Reply(_session_json(_existing(sessions, request.path["id"])))


async def delete_session(sessions: Sessions, request: Request) -> Reply:
    """DELETE /sessions/{id}."""
    try:
        existed = await sessions.delete(request.path["id"])
    except SessionStartError as error:
        raise RefusedError(409, "session_start_failed", str(error)) from None
    if not existed:
        raise _unknown_session(request.path["id"])
    return Reply({"success": True})


async def reset_session(sessions: Sessions, request: Request) -> Reply:
    """POST /sessions/{id}/reset."""
    await _existing(sessions, request.path["id"]).reset()
    return Reply({"success": True})


async def reset(sessions: Sessions, request: Request) -> Reply:
    """POST /reset: one that does not exist is as new as can be."""
    session = sessions.get(text_field(request.body, "session", DEFAULT))
    if session is not None:
        await session.reset()
    return Reply({"success": True})


async def execute(sessions: Sessions, request: Request) -> JsonStream:
    """POST /execute."""
    return JsonStream(result(_submit(sessions, request.body, allow_stdin=False)))


async def execute_stream(sessions: Sessions, request: Request) -> EventStream:
    """POST /execute/stream."""
    accumulated = flag_field(request.body, "accumulated", True)
    return EventStream(event_stream(_submit(sessions, request.body, allow_stdin=True), 0, accumulated=accumulated))


async def interrupt(sessions: Sessions, request: Request) -> Reply:
    """POST /interrupt. It refuses by status 200: clients read the field."""
    try:
        name = text_field(request.body, "session", DEFAULT)
    except RefusedError as error:
        return Reply({"interrupted": False, "error": str(error)})
    session = sessions.get(name)
    if session is None:
        return Reply({"interrupted": False, "error": f"there is no session {name!r}"})
    if not session.interrupt():
        return Reply({"interrupted": False, "error": f"nothing runs in session {name!r}"})
    return Reply({"interrupted": True})


async def answer_input(sessions: Sessions, request: Request) -> Reply:
    """POST /input. It refuses by status 200: clients read the field."""
    try:
        text = text_field(request.body, "text", "")
        fault = _answer(sessions, request.body, text.removesuffix("\n"))
    except RefusedError as error:
        fault = str(error)
    return Reply({"accepted": True} if fault is None else {"accepted": False, "error": fault})


async def cancel_input(sessions: Sessions, request: Request) -> Reply:
    """POST /input/cancel. It refuses by status 200: clients read the field."""
    try:
        fault = _answer(sessions, request.body, None)
    except RefusedError as error:
        fault = str(error)
    return Reply({"cancelled": True} if fault is None else {"cancelled": False, "error": fault})


async def get_asset(sessions: Sessions, request: Request) -> File:
    """GET /assets/{name}."""
    path = sessions.assets.find(request.path["name"])
    if path is None:
        raise RefusedError(404, "unknown_asset", f"there is no asset {request.path['name']!r}")
    return File(path)


ROUTES: list[tuple[str, str, Endpoint]] = [
    ("GET", "/capabilities", capabilities),
    ("GET", "/sessions", list_sessions),
    ("GET", "/sessions/{id}", get_session),
    ("DELETE", "/sessions/{id}", delete_session),
    ("POST", "/sessions/{id}/reset", reset_session),
    ("POST", "/reset", reset),
    ("GET", "/assets/{name}", get_asset),
    ("POST", "/execute", execute),
    ("POST", "/execute/stream", execute_stream),
    ("POST", "/input", answer_input),
    ("POST", "/input/cancel", cancel_input),
    ("POST", "/interrupt", interrupt),
]
"""Method, path below `PREFIX` with its variable parts in braces, endpoint."""


def parse_cell(body: Mapping[str, Any], *, allow_stdin: bool) -> Cell:
    """Return what a body asks to run; `allow_stdin` if it does not say.

    Raises:
        RefusedError: a field is missing or wrong.
    """
    if "code" not in body:
        raise RefusedError(400, "missing_code", "the field 'code' is missing")
    return Cell(
        code=text_field(body, "code", ""),
        session=_session_id(body),
        exec_id=text_field(body, "execId", "") or new_execution_id(),
        cell_id=text_field(body, "cellId", "") or None,
        store_history=flag_field(body, "storeHistory", True),
        silent=flag_field(body, "silent", False),
        allow_stdin=flag_field(body, "allowStdin", allow_stdin),
        asset_dir=text_field(body, "assetDir", "") or None,
    )


def _submit(sessions: Sessions, body: Mapping[str, Any], *, allow_stdin: bool) -> Execution:
    cell = parse_cell(body, allow_stdin=allow_stdin)
    try:
        session = sessions.obtain(cell.session)
        earlier = session.executions.get(cell.exec_id)
        if earlier is not None:
            if earlier.cell.code == cell.code:
                return earlier  # a client sends it again after a network error
            raise RefusedError(409, "exec_id_in_use", f"the execId {cell.exec_id!r} was used for other code")
        return session.submit(cell)
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    except QueueFullError as error:
        raise RefusedError(429, "queue_full", str(error)) from None
    except EnvironmentConflictError as error:
        raise RefusedError(409, "session_exists", str(error)) from None


def _answer(sessions: Sessions, body: Mapping[str, Any], text: str | None) -> str | None:
    """Answer the input that an execution waits for; return why that cannot be, or None."""
    exec_id = text_field(body, "exec_id", "") or text_field(body, "execId", "")
    for session in sessions:
        execution = session.executions.get(exec_id)
        if execution is not None:
            return None if session.answer(execution, text) else f"the execution {exec_id!r} waits for no input"
    return f"there is no execution {exec_id!r}"


def _existing(sessions: Sessions, session_id: str) -> Session:
    session = sessions.get(session_id)
    if session is None:
        raise _unknown_session(session_id)
    return session


def _unknown_session(session_id: str) -> RefusedError:
    return RefusedError(404, "unknown_session", f"there is no session {session_id!r}")


def _session_id(body: Mapping[str, Any]) -> str:
    session_id = text_field(body, "session", DEFAULT)
    # It stands in logs and status lines.
    if not (1 <= len(session_id) <= _LONGEST_SESSION_ID and session_id.isprintable()):
        raise RefusedError(
            400, "bad_session", f"the field 'session' must be 1 to {_LONGEST_SESSION_ID} printable characters"
        )
    return session_id


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "language": "python",
        "created": session.created,
        "lastActivity": session.last_activity,
        "executionCount": session.execution_count,
        "variableCount": session.variable_count,
        "environment": session.environment.as_json(),
        "state": session.state,
        "pid": session.pid,
        "queued": session.queued,
    }
