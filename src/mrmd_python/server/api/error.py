"""Refusals and failures in MRP's form: a status, and JSON with a sentence and a code."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypedDict

from aiohttp import web

from mrmd_python.server.api.response import json_response

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorJson(TypedDict):
    """The body of every refusal."""

    error: str
    code: str


class RefusedError(Exception):
    """A request that is refused: an HTTP status, MRP's code, a sentence for the user, and what else the answer has."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self._body = {"error": message, "code": code, **fields}

    def as_json(self) -> Mapping[str, object]:
        """Return the body of the answer."""
        return self._body


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in MRP's form whatever error a handler raises."""
    try:
        return await handler(request)
    except RefusedError as error:
        return json_response(error.as_json(), error.status, error.headers)
    except web.HTTPException as error:  # no such path, or no such method there
        reason = HTTPStatus(error.status).phrase
        body: ErrorJson = {
            "error": f"{request.method} {request.path}: {reason}",
            "code": reason.lower().replace(" ", "_"),
        }
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return json_response(body, error.status, allow)
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return json_response({"error": "the server failed; its log says more", "code": "internal"}, 500)
