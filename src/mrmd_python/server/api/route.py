"""A route: its path, its handler, and the types of its request and response."""

from typing import Any, NamedTuple

from aiohttp import web

from mrmd_python.server.access import Access
from mrmd_python.server.api.error import Handler
from mrmd_python.server.api.request import Fields
from mrmd_python.server.sessions import Sessions

SESSIONS = web.AppKey("sessions", Sessions)
ACCESS = web.AppKey("access", Access)


# The media types of responses that are not JSON.
EVENT_STREAM = "text/event-stream"
FILE = "*/*"


class Route(NamedTuple):
    """A method and path, its handler, and the types that /openapi.json describes."""

    method: str
    # Relative to MRP's prefix, with variable parts in braces.
    path: str
    handler: Handler
    # The type of the JSON in the response, or the media type of another response.
    answer: Any
    body: type[Fields] | None = None
    query: type[Fields] | None = None
    headers: type[Fields] | None = None
