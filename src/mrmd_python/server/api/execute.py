"""Running code, sending it input, and interrupting it."""

import re
from collections.abc import Callable
from typing import Annotated, ClassVar, TypedDict, TypeVar

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

_F = TypeVar("_F", bound=Fields)

_LONGEST_CLIENT = 256
# The name of the first product in a User-Agent (RFC 9110, sections 5.6.2 and 10.1.5).
_PRODUCT = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ExecuteRequest(Cell, Fields):
    """Code to run, and options."""

    codes: ClassVar = {"session": "bad_session"}

    session: SessionId = DEFAULT
    client: Annotated[str, msgspec.Meta(max_length=_LONGEST_CLIENT)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_session_id("session", self.session)
        if self.client is not None and not self.client.isprintable():
            raise FieldError("wrong_type", f"the field 'client' must be at most {_LONGEST_CLIENT} printable characters")
        check_path("assetDir", self.asset_dir)


class StreamRequest(ExecuteRequest):
    """Code to run, and options of its event stream."""

    allow_stdin: bool = True
    accumulated: bool = True


async def execute(request: web.Request) -> web.StreamResponse:
    """POST /execute."""
    cell = await read_body(request, ExecuteRequest)
    return await json_stream(request, result(_submit(request, cell)))


async def execute_stream(request: web.Request) -> web.StreamResponse:
    """POST /execute/stream."""
    cell = await read_body(request, StreamRequest)
    execution = _submit(request, cell)
    return await event_stream_response(request, event_stream(execution, 0, accumulated=cell.accumulated))


def _submit(request: web.Request, cell: Cell) -> Execution:
    """Queue a cell, or return its execution if it has been queued before."""
    sessions = request.app[SESSIONS]
    if cell.client is None:
        product = _PRODUCT.match(request.headers.get("User-Agent", ""))
        cell.client = product[0][:_LONGEST_CLIENT] if product else None
    existing = sessions.execution(cell.exec_id)
    if existing is not None:
        _, execution = existing
        if (execution.cell.code, execution.cell.session) == (cell.code, cell.session):
            return execution  # the client has repeated its request after a network error
        raise RefusedError(
            409, "exec_id_in_use", f"the execId {cell.exec_id!r} is in use for other code or another session"
        )
    try:
        return sessions.get_or_create(cell.session).submit(cell)
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    except QueueFullError as error:
        raise RefusedError(429, "queue_full", str(error)) from None


class InputRequest(Fields):
    """An execution that waits for input."""

    exec_id: str = ""
    # Some clients send execId, others exec_id.
    exec_id_alias: str = msgspec.field(default="", name="exec_id")

    @property
    def execution(self) -> str:
        """The id of the execution."""
        return self.exec_id_alias or self.exec_id


class InputLine(InputRequest):
    """A line of input."""

    text: str = ""


class InterruptRequest(Fields):
    """The session to interrupt."""

    session: str = DEFAULT


async def answer_input(request: web.Request) -> web.StreamResponse:
    """POST /input."""
    return await _attempt(
        request, InputLine, "accepted", lambda sessions, body: _answer(sessions, body, body.text.removesuffix("\n"))
    )


async def cancel_input(request: web.Request) -> web.StreamResponse:
    """POST /input/cancel."""
    return await _attempt(request, InputRequest, "cancelled", lambda sessions, body: _answer(sessions, body, None))


async def interrupt(request: web.Request) -> web.StreamResponse:
    """POST /interrupt."""
    return await _attempt(
        request, InterruptRequest, "interrupted", lambda sessions, body: _interrupt(sessions, body.session)
    )


async def _attempt(
    request: web.Request, kind: type[_F], name: str, action: Callable[[Sessions, _F], str | None]
) -> web.Response:
    """Answer whether an action, which returns why it is not possible or None, was done.

    Clients read the field of that name, so a refusal has status 200, too.
    """
    try:
        problem = action(request.app[SESSIONS], await read_body(request, kind))
    except FieldError as error:
        problem = str(error)
    return json_response({name: True} if problem is None else {name: False, "error": problem})


def _answer(sessions: Sessions, body: InputRequest, text: str | None) -> str | None:
    """Send a line of input to an execution, or cancel its input if `text` is None; return the problem, if any."""
    found = sessions.execution(body.execution)
    if found is None:
        return f"there is no execution {body.execution!r}"
    session, execution = found
    return None if session.answer(execution, text) else f"the execution {body.execution!r} is not waiting for input"


def _interrupt(sessions: Sessions, session_id: str) -> str | None:
    """Interrupt a session; return the problem, if any."""
    session = sessions.get(session_id)
    if session is None:
        return f"there is no session {session_id!r}"
    return None if session.interrupt() else f"nothing is running in session {session_id!r}"


class _Problem(TypedDict, total=False):
    error: str


class Accepted(_Problem):
    """Whether the input was accepted."""

    accepted: bool


class Cancelled(_Problem):
    """Whether the input was cancelled."""

    cancelled: bool


class Interrupted(_Problem):
    """Whether something was interrupted."""

    interrupted: bool


ROUTES = [
    Route("POST", "/execute", execute, ExecuteResult, ExecuteRequest),
    Route("POST", "/execute/stream", execute_stream, EVENT_STREAM, StreamRequest),
    Route("POST", "/input", answer_input, Accepted, InputLine),
    Route("POST", "/input/cancel", cancel_input, Cancelled, InputRequest),
    Route("POST", "/interrupt", interrupt, Interrupted, InterruptRequest),
]
