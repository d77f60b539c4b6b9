"""Executions: listing them, reading one again, and cancelling or forgetting one."""

import json
from collections.abc import AsyncIterator
from typing import Literal, TypedDict

from aiohttp import web

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.request import Fields, read_query
from mrmd_python.server.api.response import Success, event_stream_response, json_response, json_stream
from mrmd_python.server.api.route import EVENT_STREAM, SESSIONS, Route
from mrmd_python.server.api.stream_position import PositionHeaders, PositionQuery, first_position
from mrmd_python.server.event_stream import ExecuteResult, event_stream, result
from mrmd_python.server.execution import Execution, ExecutionJson
from mrmd_python.server.session import Session


class Executions(TypedDict):
    """The executions that wait or run, and the last ones that have ended."""

    executions: list[ExecutionJson]


class _Result(TypedDict, total=False):
    result: ExecuteResult


class EndedExecution(ExecutionJson, _Result):
    """An execution and, once it has ended, its result."""


class ListQuery(Fields):
    """Which executions to list: all, or those of one session."""

    session: str | None = None


class StreamQuery(PositionQuery):
    """Where a stream starts, and whether its events have `accumulated`."""

    accumulated: Literal["true", "false"] = "true"


async def list_executions(request: web.Request) -> web.StreamResponse:
    """GET /executions."""
    session_id = read_query(request, ListQuery).session
    found = [
        execution.as_json()
        for session in request.app[SESSIONS]
        for execution in session.executions.values()
        if session_id in (None, session.id)
    ]
    return json_response(Executions(executions=sorted(found, key=lambda execution: execution["created"])))


async def get_execution(request: web.Request) -> web.StreamResponse:
    """GET /executions/{execId}."""
    _, execution = _existing(request)
    return await json_stream(request, _with_result(execution))


async def stream_execution(request: web.Request) -> web.StreamResponse:
    """GET /executions/{execId}/stream."""
    _, execution = _existing(request)
    query = read_query(request, StreamQuery)
    events = event_stream(execution, first_position(request, query), accumulated=query.accumulated == "true")
    return await event_stream_response(request, events)


async def delete_execution(request: web.Request) -> web.StreamResponse:
    """DELETE /executions/{execId}: cancel it or, if it has ended, forget it."""
    session, execution = _existing(request)
    if execution.log.closed:
        session.forget(execution)
    else:
        session.cancel(execution)
    return json_response(Success(success=True))


def _existing(request: web.Request) -> tuple[Session, Execution]:
    exec_id = request.match_info["execId"]
    found = request.app[SESSIONS].execution(exec_id)
    if found is None:
        raise RefusedError(
            404,
            "unknown_execution",
            f"there is no execution {exec_id!r}; the runtime keeps only the last ones of each session",
        )
    return found


async def _with_result(execution: Execution) -> AsyncIterator[bytes]:
    """Yield an execution as JSON, with its ExecuteResult if it has ended."""
    fields = json.dumps(execution.as_json()).encode("ascii")
    if not execution.log.closed:
        yield fields + b"\n"
        return
    yield fields[:-1] + b', "result": '
    async for piece in result(execution):
        yield piece
    yield b"}\n"


ROUTES = [
    Route("GET", "/executions", list_executions, Executions, query=ListQuery),
    Route("GET", "/executions/{execId}", get_execution, EndedExecution),
    Route(
        "GET",
        "/executions/{execId}/stream",
        stream_execution,
        EVENT_STREAM,
        query=StreamQuery,
        headers=PositionHeaders,
    ),
    Route("DELETE", "/executions/{execId}", delete_execution, Success),
]
