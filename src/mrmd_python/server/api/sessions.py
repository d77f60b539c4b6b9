"""The sessions themselves."""

import secrets
from dataclasses import asdict
from typing import Annotated, ClassVar, TypedDict

import msgspec
from aiohttp import web

from mrmd_python.server.api.environment import Environment
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.request import FieldError, Fields, read_body
from mrmd_python.server.api.response import Success, json_response
from mrmd_python.server.api.route import SESSIONS, Route
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.session import Session, SessionJson
from mrmd_python.server.sessions import DEFAULT, EnvironmentConflictError, Sessions, TooManySessionsError
from mrmd_python.server.worker_start import SessionStartError

LANGUAGES = ["python", "py", "python3"]

_LONGEST_SESSION_ID = 256
SessionId = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_SESSION_ID)]


def check_session_id(field: str, session_id: str) -> None:
    """Raise an error for an id that cannot be shown in logs and status lines.

    Raises:
        FieldError: it has other than printable characters.
    """
    if not session_id.isprintable():
        raise FieldError("bad_session", f"the field {field!r} must be 1 to {_LONGEST_SESSION_ID} printable characters")


class SessionRequest(Fields):
    """The session that is wanted, and what must hold in it."""

    codes: ClassVar = {"id": "bad_session"}

    id: SessionId = msgspec.field(default_factory=lambda: f"session-{secrets.token_hex(8)}")
    language: str = "python"
    environment: Environment = Environment()
    dependencies: tuple[str, ...] = ()
    python_version: str = ""

    def __post_init__(self) -> None:
        check_session_id("id", self.id)


class ResetRequest(Fields):
    """Which session to reset."""

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


async def create_session(request: web.Request) -> web.StreamResponse:
    """POST /sessions: the session of that id, new if there was none, with its process."""
    sessions = request.app[SESSIONS]
    wanted = await read_body(request, SessionRequest)
    if wanted.language.lower() not in LANGUAGES:
        raise RefusedError(422, "unknown_language", f"this runtime runs Python, not {wanted.language!r}")
    environment = wanted.environment.resolved(sessions.environment)
    try:
        if sessions.get(wanted.id) is not None:
            environment = sessions.obtain(wanted.id, environment).environment
        await _check_requirements(wanted, environment or sessions.environment)
        is_new = sessions.get(wanted.id) is None
        session = sessions.obtain(wanted.id, environment)
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
    """POST /reset: a session that does not exist needs no reset."""
    body = await read_body(request, ResetRequest)
    session = request.app[SESSIONS].get(body.session)
    if session is not None:
        await session.reset()
    return json_response(Success(success=True))


async def _check_requirements(wanted: SessionRequest, environment: SessionEnvironment) -> None:
    """Refuse a session whose requirements an environment does not meet.

    Raises:
        RefusedError: so it is, or a requirement is malformed, or the environment's Python does not start.
    """
    version = wanted.python_version.strip()
    if not version and not wanted.dependencies:
        return
    # It imports packaging, which a runtime's start need not wait for.
    from mrmd_python.server.requirements import BadRequirementError, CannotTellError, unmet_requirements

    try:
        unmet = await unmet_requirements(version, wanted.dependencies, environment)
    except BadRequirementError as error:
        raise FieldError("bad_requirement", str(error)) from None
    except CannotTellError as error:
        raise RefusedError(422, "python_failed", str(error)) from None
    if unmet:
        missing = f"the session's environment does not have {', '.join(map(str, unmet))}: install that there first"
        raise RefusedError(422, "unmet_requirements", missing, unmet=[asdict(each) for each in unmet])


async def _start(sessions: Sessions, session: Session) -> None:
    try:
        await session.start()
    except SessionStartError as error:
        if sessions.get(session.id) is session:  # not deleted meanwhile, which is why it did not start
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
    Route("DELETE", "/sessions/{id}", delete_session, Success),
    Route("POST", "/sessions/{id}/reset", reset_session, Success, Fields),
    Route("POST", "/reset", reset, Success, ResetRequest),
]
