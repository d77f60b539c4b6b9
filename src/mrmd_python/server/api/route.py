"""A route: what serves it, and the types that describe it."""

from typing import Any, NamedTuple

from aiohttp import web

from mrmd_python.server.api.error import Handler
from mrmd_python.server.api.request import Fields
from mrmd_python.server.sessions import Sessions

SESSIONS = web.AppKey("sessions", Sessions)


# The answers that are not JSON.
EVENT_STREAM = "text/event-stream"
FILE = "*/*"


class Route(NamedTuple):
    """A method at a path, and the types that /openapi.json describes it by."""

    method: str
    # Below MRP's prefix, with its variable parts in braces.
    path: str
    handler: Handler
    # The type of the answer's JSON, or the media type of one that is not JSON.
    answer: Any
    body: type[Fields] | None = None
    query: type[Fields] | None = None
    headers: type[Fields] | None = None
