"""Error responses: an HTTP status, and JSON with a message and a code."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypedDict

from aiohttp import web

from mrmd_python.server.api.response import json_response

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorJson(TypedDict):
    """The body of every error response."""

    error: str
    code: str


class RefusedError(Exception):
    """A request is refused: the HTTP status, MRP's code, a message for the user, and more headers or fields."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self._body = {"error": message, "code": code, **fields}

    def as_json(self) -> Mapping[str, object]:
        """Return the body of the response."""
        return self._body


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception of a handler into an error response."""
    try:
        return await handler(request)
    except RefusedError as error:
        return json_response(error.as_json(), error.status, error.headers)
    except web.HTTPException as error:  # 404 or 405 from the router
        reason = HTTPStatus(error.status).phrase
        body: ErrorJson = {
            "error": f"{request.method} {request.path}: {reason}",
            "code": reason.lower().replace(" ", "_"),
        }
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return json_response(body, error.status, allow)
    except Exception:
        _log.exception("%s %.200a failed", request.method, request.path)
        return json_response({"error": "internal error; see the runtime's log", "code": "internal"}, 500)
