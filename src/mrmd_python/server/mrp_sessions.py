"""MRP's endpoints for the sessions themselves."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mrmd_python.server.endpoint import TEXT, TEXTS, Route, Schema
from mrmd_python.server.environment_request import ENVIRONMENT, requested_environment
from mrmd_python.server.exchange import RefusedError, Reply, Request, list_field, text_field
from mrmd_python.server.requirements import BadRequirementError, CannotTellError, Requirements, Unmet
from mrmd_python.server.session import Session, SessionStartError
from mrmd_python.server.sessions import EnvironmentConflictError, Sessions, TooManySessionsError

LANGUAGES = ["python", "py", "python3"]
_LONGEST_SESSION_ID = 256
SESSION_ID: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": _LONGEST_SESSION_ID}


async def list_sessions(sessions: Sessions, request: Request) -> Reply:
    """GET /sessions."""
    return Reply({"sessions": [_session_json(session) for session in sessions]})


async def get_session(sessions: Sessions, request: Request) -> Reply:
    """GET /sessions/{id}."""
    return Reply(_session_json(_existing(sessions, request.path["id"])))


async def create_session(sessions: Sessions, request: Request) -> Reply:
    """POST /sessions: the session of that id, new if there was none, with its process."""
    session_id = session_id_field(request.body, "id", f"session-{secrets.token_hex(8)}")
    language = text_field(request.body, "language", "python")
    if language.lower() not in LANGUAGES:
        raise RefusedError(422, "unknown_language", f"this runtime runs Python, not {language!r}")
    requirements = _requirements(request.body)
    environment = requested_environment(request.body, sessions.environment)
    existing = sessions.get(session_id)
    try:
        if existing is not None:
            sessions.obtain(session_id, environment)
            environment = existing.environment
        unmet = await requirements.unmet_in(environment or sessions.environment)
        if unmet:
            return _refuse_unmet(unmet)
        is_new = sessions.get(session_id) is None
        session = sessions.obtain(session_id, environment)
    except EnvironmentConflictError as error:
        raise RefusedError(409, "session_exists", str(error)) from None
    except TooManySessionsError as error:
        raise RefusedError(429, "too_many_sessions", str(error)) from None
    except CannotTellError as error:
        raise RefusedError(422, "python_failed", str(error)) from None
    if is_new:
        await _start(sessions, session)
    return Reply(_session_json(session))


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


_SESSION: dict[str, Schema] = {
    "id": SESSION_ID,
    "language": TEXT,
    "environment": ENVIRONMENT,
    "dependencies": TEXTS,
    "pythonVersion": TEXT,
}
ROUTES: list[Route] = [
    Route("GET", "/sessions", list_sessions),
    Route("POST", "/sessions", create_session, _SESSION),
    Route("GET", "/sessions/{id}", get_session),
    Route("DELETE", "/sessions/{id}", delete_session),
    Route("POST", "/sessions/{id}/reset", reset_session),
]


def session_id_field(body: Mapping[str, Any], name: str, default: str) -> str:
    """Return the session id `name` of a body, or `default` if it is absent or null.

    Raises:
        RefusedError: it is no id: it stands in logs and status lines.
    """
    session_id = text_field(body, name, default)
    if not (1 <= len(session_id) <= _LONGEST_SESSION_ID and session_id.isprintable()):
        raise RefusedError(
            400, "bad_session", f"the field {name!r} must be 1 to {_LONGEST_SESSION_ID} printable characters"
        )
    return session_id


def _requirements(body: Mapping[str, Any]) -> Requirements:
    dependencies = list_field(body, "dependencies")
    if not all(isinstance(item, str) for item in dependencies):
        raise RefusedError(400, "wrong_type", "the field 'dependencies' must be a list of strings")
    try:
        return Requirements.parse(text_field(body, "pythonVersion", "").strip(), dependencies)
    except BadRequirementError as error:
        raise RefusedError(400, "bad_requirement", str(error)) from None


def _refuse_unmet(unmet: list[Unmet]) -> Reply:
    error = f"the session's environment does not have {', '.join(map(str, unmet))}: install that there first"
    return Reply({"error": error, "code": "unmet_requirements", "unmet": [asdict(item) for item in unmet]}, 422)


async def _start(sessions: Sessions, session: Session) -> None:
    try:
        await session.start()
    except SessionStartError as error:
        if sessions.get(session.id) is session:  # not deleted meanwhile, which is why it did not start
            await sessions.delete(session.id)
        raise RefusedError(422, "session_start_failed", str(error)) from None


def _existing(sessions: Sessions, session_id: str) -> Session:
    session = sessions.get(session_id)
    if session is None:
        raise _unknown_session(session_id)
    return session


def _unknown_session(session_id: str) -> RefusedError:
    return RefusedError(404, "unknown_session", f"there is no session {session_id!r}")


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
