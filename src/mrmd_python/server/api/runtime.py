"""The runtime itself."""

from typing import TypedDict

from aiohttp import web

from mrmd_python import __version__
from mrmd_python.server.api.response import json_response
from mrmd_python.server.api.route import SESSIONS, Route
from mrmd_python.server.api.sessions import LANGUAGES
from mrmd_python.server.environment import EnvironmentJson
from mrmd_python.server.sessions import DEFAULT, MAX_SESSIONS

_FEATURES = (
    "execute",
    "executeStream",
    "interrupt",
    "complete",
    "inspect",
    "hover",
    "variables",
    "variableExpand",
    "reset",
    "isComplete",
    "format",
    "assets",
    "history",
    "reattach",
    "activity",
)


class Capabilities(TypedDict):
    """The runtime, its version and its features."""

    runtime: str
    version: str
    languages: list[str]
    features: dict[str, bool]
    defaultSession: str
    maxSessions: int
    lspFallback: None
    environment: EnvironmentJson
    pythonVersion: str | None


async def capabilities(request: web.Request) -> web.StreamResponse:
    """GET /capabilities."""
    sessions = request.app[SESSIONS]
    default = sessions.get(DEFAULT)
    found: Capabilities = {
        "runtime": "mrmd-python",
        "version": __version__,
        "languages": LANGUAGES,
        "features": dict.fromkeys(_FEATURES, True),
        "defaultSession": DEFAULT,
        "maxSessions": MAX_SESSIONS,
        "lspFallback": None,
        "environment": sessions.environment.as_json(),
        "pythonVersion": default.python_version if default is not None else None,
    }
    return json_response(found)


ROUTES = [Route("GET", "/capabilities", capabilities, Capabilities)]
