"""Where a stream of events starts: the parameter and the header that every stream takes."""

from typing import Annotated, ClassVar

import msgspec
from aiohttp import web

from mrmd_python.server.api.request import Fields, read_headers


class PositionQuery(Fields):
    """Where a stream starts."""

    codes: ClassVar = {"after": "bad_event_id"}

    # The number of an event. Up to 0, the stream starts with the first event.
    after: Annotated[str, msgspec.Meta(pattern="^-?[0-9]{1,1000}$")] = "0"


class PositionHeaders(Fields):
    """Where a stream starts, as a reconnecting browser sends it."""

    codes: ClassVar = {"Last-Event-ID": "bad_event_id"}

    last_event_id: Annotated[str, msgspec.Meta(pattern="^(-?[0-9]{1,1000})?$")] = msgspec.field(
        default="", name="Last-Event-ID"
    )


def first_position(request: web.Request, query: PositionQuery) -> int:
    """Return the number of the event after which the stream starts.

    Raises:
        FieldError: the header is invalid.
    """
    # The header takes precedence: a browser reconnects with the same URL.
    return max(0, int(read_headers(request, PositionHeaders).last_event_id or query.after))
