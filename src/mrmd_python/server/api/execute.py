"""Running code, and what goes on with it while it runs: input and interrupts."""

from typing import ClassVar, TypedDict

import msgspec
from aiohttp import web

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.request import FieldError, Fields, check_path, read_body
from mrmd_python.server.api.response import event_stream_response, json_response, json_stream
from mrmd_python.server.api.route import EVENT_STREAM, SESSIONS, Route
from mrmd_python.server.api.sessions import SessionId, check_session_id
from mrmd_python.server.event_stream import ExecuteResult, event_stream, result
from mrmd_python.server.execution import Cell, Execution
from mrmd_python.server.execution_queue import QueueFullError
from mrmd_python.server.sessions import DEFAULT, Sessions, TooManySessionsError


class ExecuteRequest(Cell, Fields):
    """What to run, and how."""

    codes: ClassVar = {"session": "bad_session"}

    session: SessionId = DEFAULT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_session_id("session", self.session)
        check_path("assetDir", self.asset_dir)


class StreamRequest(ExecuteRequest):
    """What to run, with events as it goes."""

    allow_stdin: bool = True
    accumulated: bool = True


async def execute(request: web.Request) -> web.StreamResponse:
    """POST /execute."""
    cell = await read_body(request, ExecuteRequest)
    return await json_stream(request, result(_submit(request.app[SESSIONS], cell)))


async def execute_stream(request: web.Request) -> web.StreamResponse:
    """POST /execute/stream."""
    cell = await read_body(request, StreamRequest)
    execution = _submit(request.app[SESSIONS], cell)
    return await event_stream_response(request, event_stream(execution, 0, accumulated=cell.accumulated))


def _submit(sessions: Sessions, cell: Cell) -> Execution:
    """Queue a cell, or return the execution that it has already."""
    earlier = sessions.execution(cell.exec_id)
    if earlier is not None:
        _, execution = earlier
        if (execution.cell.code, execution.cell.session) == (cell.code, cell.session):
            return execution  # a client sends it again after a network error
        raise RefusedError(
            409, "exec_id_in_use", f"the execId {cell.exec_id!r} was used for other code or in another session"
        )
    try:
        return sessions.obtain(cell.session).submit(cell)
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    except QueueFullError as error:
        raise RefusedError(429, "queue_full", str(error)) from None


class InputRequest(Fields):
    """An execution that waits for a line."""

    exec_id: str = ""
    # Clients use either name.
    exec_id_alias: str = msgspec.field(default="", name="exec_id")

    @property
    def execution(self) -> str:
        """The id of the execution."""
        return self.exec_id_alias or self.exec_id


class InputLine(InputRequest):
    """The line itself."""

    text: str = ""


class InterruptRequest(Fields):
    """What to interrupt."""

    session: str = DEFAULT


async def answer_input(request: web.Request) -> web.StreamResponse:
    """POST /input."""
    try:
        body = await read_body(request, InputLine)
        problem = _answer(request.app[SESSIONS], body, body.text.removesuffix("\n"))
    except FieldError as error:
        problem = str(error)
    return _outcome("accepted", problem)


async def cancel_input(request: web.Request) -> web.StreamResponse:
    """POST /input/cancel."""
    try:
        body = await read_body(request, InputRequest)
        problem = _answer(request.app[SESSIONS], body, None)
    except FieldError as error:
        problem = str(error)
    return _outcome("cancelled", problem)


async def interrupt(request: web.Request) -> web.StreamResponse:
    """POST /interrupt."""
    try:
        body = await read_body(request, InterruptRequest)
        problem = _interrupt(request.app[SESSIONS], body.session)
    except FieldError as error:
        problem = str(error)
    return _outcome("interrupted", problem)


def _answer(sessions: Sessions, wanted: InputRequest, text: str | None) -> str | None:
    """Answer the input that an execution waits for, None to cancel it; return why that is not possible, or None."""
    found = sessions.execution(wanted.execution)
    if found is None:
        return f"there is no execution {wanted.execution!r}"
    session, execution = found
    return None if session.answer(execution, text) else f"the execution {wanted.execution!r} does not wait for input"


def _interrupt(sessions: Sessions, name: str) -> str | None:
    session = sessions.get(name)
    if session is None:
        return f"there is no session {name!r}"
    return None if session.interrupt() else f"nothing runs in session {name!r}"


def _outcome(name: str, problem: str | None) -> web.Response:
    """Return whether something was done. Clients read the field, so a refusal has status 200, too."""
    return json_response({name: True} if problem is None else {name: False, "error": problem})


class _Problem(TypedDict, total=False):
    error: str


class Accepted(_Problem):
    """Whether code got a line."""

    accepted: bool


class Cancelled(_Problem):
    """Whether code was told that no line will come."""

    cancelled: bool


class Interrupted(_Problem):
    """Whether anything ran that was interrupted."""

    interrupted: bool


ROUTES = [
    Route("POST", "/execute", execute, ExecuteResult, ExecuteRequest),
    Route("POST", "/execute/stream", execute_stream, EVENT_STREAM, StreamRequest),
    Route("POST", "/input", answer_input, Accepted, InputLine),
    Route("POST", "/input/cancel", cancel_input, Cancelled, InputRequest),
    Route("POST", "/interrupt", interrupt, Interrupted, InterruptRequest),
]
