"""All routes of MRP."""

from typing import Any

from aiohttp import web

from mrmd_python.server.api import assets, code, execute, executions, introspection, runtime, sessions
from mrmd_python.server.api.openapi import document
from mrmd_python.server.api.response import json_response
from mrmd_python.server.api.route import Route

PREFIX = "/mrp/v1"


async def openapi(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json."""
    return json_response(document(PREFIX, ROUTES))


ROUTES: list[Route] = [
    Route("GET", "/openapi.json", openapi, dict[str, Any]),
    *runtime.ROUTES,
    *sessions.ROUTES,
    *execute.ROUTES,
    *executions.ROUTES,
    *code.ROUTES,
    *introspection.ROUTES,
    *assets.ROUTES,
]
