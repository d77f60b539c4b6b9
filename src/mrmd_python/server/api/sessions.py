"""Sessions: listing, creating, resetting and deleting them."""

import secrets
from functools import partial
from typing import Annotated, ClassVar, TypedDict

import msgspec
from aiohttp import web

from mrmd_python.server.api.environment import Environment
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.request import FieldError, Fields, read_body, read_query
from mrmd_python.server.api.response import Success, event_stream_response, json_response
from mrmd_python.server.api.route import EVENT_STREAM, SESSIONS, Route
from mrmd_python.server.api.stream_position import PositionHeaders, PositionQuery, first_position
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.event_stream import activity_stream
from mrmd_python.server.file_thread import FileThread
from mrmd_python.server.session import Session, SessionJson
from mrmd_python.server.sessions import DEFAULT, EnvironmentConflictError, Sessions, TooManySessionsError
from mrmd_python.server.upgrade import upgrade
from mrmd_python.server.worker_start import SessionStartError

LANGUAGES = ["python", "py", "python3"]

_MAX_ID_LENGTH = 256
SessionId = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_ID_LENGTH)]


def check_session_id(field: str, session_id: str) -> None:
    """Raise a FieldError if a session id has characters that cannot be printed in a log."""
    if not session_id.isprintable():
        raise FieldError("bad_session", f"the field {field!r} must be 1 to {_MAX_ID_LENGTH} printable characters")


class SessionRequest(Fields):
    """The session to create, and what it requires."""

    codes: ClassVar = {"id": "bad_session"}

    id: SessionId = msgspec.field(default_factory=lambda: f"session-{secrets.token_hex(8)}")
    language: str = "python"
    environment: Environment = Environment()
    dependencies: tuple[str, ...] = ()
    python_version: str = ""

    def __post_init__(self) -> None:
        check_session_id("id", self.id)


class ResetRequest(Fields):
    """The session to reset."""

    session: str = DEFAULT


class SessionList(TypedDict):
    """All sessions."""

    sessions: list[SessionJson]


async def list_sessions(request: web.Request) -> web.StreamResponse:
    """GET /sessions."""
    return json_response(SessionList(sessions=[session.as_json() for session in request.app[SESSIONS]]))


async def get_session(request: web.Request) -> web.StreamResponse:
    """GET /sessions/{id}."""
    return json_response(_existing(request).as_json())


async def stream_activity(request: web.Request) -> web.StreamResponse:
    """GET /sessions/{id}/events."""
    session = _existing(request)
    position = first_position(request, read_query(request, PositionQuery))
    return await event_stream_response(request, activity_stream(session.activity, position))


async def create_session(request: web.Request) -> web.StreamResponse:
    """POST /sessions: return the session of that id, or create and start it."""
    sessions = request.app[SESSIONS]
    body = await read_body(request, SessionRequest)
    if body.language.lower() not in LANGUAGES:
        raise RefusedError(422, "unknown_language", f"this runtime runs Python, not {body.language!r}")
    try:
        environment = await FileThread().call(partial(body.environment.resolved, sessions.environment))
    except TimeoutError:
        raise RefusedError(422, "no_such_directory", "a path in the environment does not respond") from None
    try:
        if sessions.get(body.id) is not None:
            environment = sessions.get_or_create(body.id, environment).environment
        await _check_requirements(body, environment or sessions.environment)
        is_new = sessions.get(body.id) is None
        session = sessions.get_or_create(body.id, environment)
    except EnvironmentConflictError as error:
        raise RefusedError(409, "session_exists", str(error)) from None
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    if is_new:
        await _start(sessions, session)
    return json_response(session.as_json())


async def delete_session(request: web.Request) -> web.StreamResponse:
    """DELETE /sessions/{id}."""
    try:
        existed = await request.app[SESSIONS].delete(request.match_info["id"])
    except SessionStartError as error:
        raise RefusedError(409, "session_start_failed", str(error)) from None
    if not existed:
        raise _unknown_session(request)
    return json_response(Success(success=True))


async def reset_session(request: web.Request) -> web.StreamResponse:
    """POST /sessions/{id}/reset."""
    await read_body(request, Fields)
    await _existing(request).reset()
    return json_response(Success(success=True))


async def reset(request: web.Request) -> web.StreamResponse:
    """POST /reset. Without such a session, there is nothing to do."""
    body = await read_body(request, ResetRequest)
    session = request.app[SESSIONS].get(body.session)
    if session is not None:
        await session.reset()
    return json_response(Success(success=True))


async def _check_requirements(body: SessionRequest, environment: SessionEnvironment) -> None:
    """Check that an environment has the Python version and the packages that a session requires."""
    version = body.python_version.strip()
    if not version and not body.dependencies:
        return
    upgraded = upgrade()
    if upgraded is not None:
        raise RefusedError(422, "session_start_failed", upgraded)
    # This imports packaging, which would slow down the start of a runtime.
    from mrmd_python.server.requirements import BadRequirementError, PackageListError, unmet_requirements

    try:
        unmet = await unmet_requirements(version, body.dependencies, environment)
    except BadRequirementError as error:
        raise FieldError("bad_requirement", str(error)) from None
    except PackageListError as error:
        raise RefusedError(422, "python_failed", str(error)) from None
    if unmet:
        missing = f"the session's environment does not have {', '.join(map(str, unmet))}: install it there first"
        raise RefusedError(422, "unmet_requirements", missing, unmet=[each._asdict() for each in unmet])


async def _start(sessions: Sessions, session: Session) -> None:
    try:
        await session.start()
    except SessionStartError as error:
        if sessions.get(session.id) is session:  # else it did not start because it was deleted meanwhile
            await sessions.delete(session.id)
        raise RefusedError(422, "session_start_failed", str(error)) from None


def _existing(request: web.Request) -> Session:
    session = request.app[SESSIONS].get(request.match_info["id"])
    if session is None:
        raise _unknown_session(request)
    return session


def _unknown_session(request: web.Request) -> RefusedError:
    return RefusedError(404, "unknown_session", f"there is no session {request.match_info['id']!r}")


ROUTES = [
    Route("GET", "/sessions", list_sessions, SessionList),
    Route("POST", "/sessions", create_session, SessionJson, SessionRequest),
    Route("GET", "/sessions/{id}", get_session, SessionJson),
    Route(
        "GET",
        "/sessions/{id}/events",
        stream_activity,
        EVENT_STREAM,
        query=PositionQuery,
        headers=PositionHeaders,
    ),
    Route("DELETE", "/sessions/{id}", delete_session, Success),
    Route("POST", "/sessions/{id}/reset", reset_session, Success, Fields),
    Route("POST", "/reset", reset, Success, ResetRequest),
]
