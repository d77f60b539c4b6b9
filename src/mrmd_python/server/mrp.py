"""MRP's endpoints, apart from any HTTP library: a `Request` in, a `Reply` out."""

from collections.abc import Mapping
from typing import Any

from mrmd_python import __version__
from mrmd_python.server import mrp_code, mrp_executions, mrp_introspection, mrp_sessions
from mrmd_python.server.assets import content_type
from mrmd_python.server.endpoint import ANYTHING, FLAG, TEXT, Route, Schema
from mrmd_python.server.event_stream import event_stream, result
from mrmd_python.server.exchange import (
    EventStream,
    File,
    JsonStream,
    RefusedError,
    Reply,
    Request,
    flag_field,
    path_field,
    text_field,
)
from mrmd_python.server.execution import Cell, Execution, new_execution_id
from mrmd_python.server.mrp_sessions import LANGUAGES, SESSION_ID, session_id_field
from mrmd_python.server.openapi import description
from mrmd_python.server.session import QueueFullError
from mrmd_python.server.sessions import (
    DEFAULT,
    MAX_SESSIONS,
    Sessions,
    TooManySessionsError,
)

PREFIX = "/mrp/v1"

_FEATURES = {
    "execute": True,
    "executeStream": True,
    "interrupt": True,
    "complete": True,
    "inspect": True,
    "hover": True,
    "variables": True,
    "variableExpand": True,
    "reset": True,
    "isComplete": True,
    "format": True,
    "assets": True,
    "history": True,
    "reattach": True,
}


async def capabilities(sessions: Sessions, request: Request) -> Reply:
    """GET /capabilities."""
    default = sessions.get(DEFAULT)
    return Reply(
        {
            "runtime": "mrmd-python",
            "version": __version__,
            "languages": LANGUAGES,
            "features": _FEATURES,
            "defaultSession": DEFAULT,
            "maxSessions": MAX_SESSIONS,
            "lspFallback": None,
            "environment": sessions.environment.as_json(),
            "pythonVersion": default.python_version if default is not None else None,
        }
    )


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
    return File(path, content_type(path))


async def openapi(sessions: Sessions, request: Request) -> Reply:
    """GET /openapi.json."""
    return Reply(description(PREFIX, ROUTES))


_CELL: dict[str, Schema] = {
    "code": TEXT,
    "session": SESSION_ID,
    "execId": TEXT,
    "cellId": TEXT,
    "cellMeta": ANYTHING,
    "storeHistory": FLAG,
    "silent": FLAG,
    "allowStdin": FLAG,
    "assetDir": TEXT,
    "rich": FLAG,
    "stopOnError": FLAG,
}
_ABOUT_INPUT: dict[str, Schema] = {"execId": TEXT, "exec_id": TEXT}

ROUTES: list[Route] = [
    Route("GET", "/openapi.json", openapi),
    Route("GET", "/capabilities", capabilities),
    Route("POST", "/reset", reset, {"session": TEXT}),
    Route("GET", "/assets/{name}", get_asset),
    Route("POST", "/execute", execute, _CELL, ("code",)),
    Route("POST", "/execute/stream", execute_stream, _CELL | {"accumulated": FLAG}, ("code",)),
    Route("POST", "/input", answer_input, _ABOUT_INPUT | {"text": TEXT}),
    Route("POST", "/input/cancel", cancel_input, _ABOUT_INPUT),
    Route("POST", "/interrupt", interrupt, {"session": TEXT}),
    *mrp_code.ROUTES,
    *mrp_introspection.ROUTES,
    *mrp_executions.ROUTES,
    *mrp_sessions.ROUTES,
]


def parse_cell(body: Mapping[str, Any], *, allow_stdin: bool) -> Cell:
    """Return what a body asks to run; `allow_stdin` if it does not say.

    Raises:
        RefusedError: a field is missing or wrong.
    """
    if "code" not in body:
        raise RefusedError(400, "missing_code", "the field 'code' is missing")
    return Cell(
        code=text_field(body, "code", ""),
        session=session_id_field(body, "session", DEFAULT),
        exec_id=text_field(body, "execId", "") or new_execution_id(),
        cell_id=text_field(body, "cellId", "") or None,
        store_history=flag_field(body, "storeHistory", True),
        silent=flag_field(body, "silent", False),
        allow_stdin=flag_field(body, "allowStdin", allow_stdin),
        asset_dir=path_field(body, "assetDir"),
        rich=flag_field(body, "rich", False),
        stop_on_error=flag_field(body, "stopOnError", False),
    )


def _submit(sessions: Sessions, body: Mapping[str, Any], *, allow_stdin: bool) -> Execution:
    cell = parse_cell(body, allow_stdin=allow_stdin)
    try:
        earlier = sessions.execution(cell.exec_id)
        if earlier is None:
            return sessions.obtain(cell.session).submit(cell)
        if earlier[1].cell.code == cell.code and earlier[1].cell.session == cell.session:
            return earlier[1]  # a client sends it again after a network error
        raise RefusedError(
            409, "exec_id_in_use", f"the execId {cell.exec_id!r} was used for other code or in another session"
        )
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    except QueueFullError as error:
        raise RefusedError(429, "queue_full", str(error)) from None


def _answer(sessions: Sessions, body: Mapping[str, Any], text: str | None) -> str | None:
    """Answer the input that an execution waits for; return why that cannot be, or None."""
    exec_id = text_field(body, "exec_id", "") or text_field(body, "execId", "")
    found = sessions.execution(exec_id)
    if found is None:
        return f"there is no execution {exec_id!r}"
    session, execution = found
    return None if session.answer(execution, text) else f"the execution {exec_id!r} waits for no input"
