"""The variables of a session, and the object under the cursor.

None of these requests creates a session, or waits long for one. Without a session, or if it is blocked, the answer is
empty.
"""

import json
import sys
from typing import Annotated, ClassVar, TypedDict

import msgspec
from aiohttp import web

from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.positions import Position
from mrmd_python.server.api.request import Fields, read_body
from mrmd_python.server.api.response import json_response, raw_json_response
from mrmd_python.server.api.route import SESSIONS, Route
from mrmd_python.server.sessions import DEFAULT, Sessions

_MAX_CHILDREN = 10_000
_MAX_VALUE_LENGTH = 1_000_000


class ItemPosition(msgspec.Struct, frozen=True):
    """A step in a path: the item that is child number `position` of a value."""

    position: Annotated[int, msgspec.Meta(ge=0, lt=sys.maxsize)]


class VariableFilter(msgspec.Struct, rename="camel", frozen=True):
    """Which variables to list."""

    types: list[str] | None = None
    # A glob if it has *, ? or [, else a substring of the name; case is ignored.
    name_pattern: str | None = None
    # Whether to exclude names that start with an underscore; true if absent.
    exclude_private: bool | None = None


class VariablesRequest(Fields):
    """Which variables to list, and of which session."""

    filter: VariableFilter = VariableFilter()
    session: str = DEFAULT


class VariableRequest(Fields):
    """Which part of a variable to show, and how much of it."""

    codes: ClassVar = {"path": "path_too_long"}

    path: Annotated[tuple[str | int | ItemPosition, ...], msgspec.Meta(max_length=100)] = ()
    max_children: int = 100
    max_value_length: int = 1000
    offset: int = 0
    session: str = DEFAULT


class InspectRequest(Position):
    """A position in code, and the level of detail: 1 adds the documentation, 2 the source."""

    detail: int = 1


class Variable(TypedDict):
    """A summary of a value."""

    name: str
    type: str
    value: str
    size: str | None
    expandable: bool
    shape: list[int] | None
    dtype: str | None
    length: int | None
    keys: list[str] | None


class Child(Variable):
    """A part of another value, and the step of the path to it."""

    path: str | int | ItemPosition


class ExpandedVariable(Variable):
    """A value and its parts."""

    fullValue: str
    children: list[Child]
    methods: list[str]
    attributes: list[str]
    truncated: bool


class Variables(TypedDict):
    """The variables of a session."""

    variables: list[Variable]
    count: int
    truncated: bool


class Inspection(TypedDict):
    """Details of the object under the cursor."""

    found: bool
    source: str | None
    name: str | None
    kind: str | None
    type: str | None
    signature: str | None
    docstring: str | None
    sourceCode: str | None
    file: str | None
    line: int | None
    value: str | None
    children: list[Child] | None


class Hover(TypedDict):
    """A summary of the object under the cursor."""

    found: bool
    name: str | None
    type: str | None
    value: str | None
    signature: str | None
    docstring: str | None
    documentation: str | None


async def variables(request: web.Request) -> web.StreamResponse:
    """POST /variables."""
    body = await read_body(request, VariablesRequest)
    sessions = request.app[SESSIONS]
    answer = await sessions.query(
        body.session,
        "variables",
        types=body.filter.types or [],
        namePattern=body.filter.name_pattern or "",
        excludePrivate=body.filter.exclude_private is not False,
    )
    if answer is not None:
        return raw_json_response(answer)
    return json_response(Variables(variables=[], count=0, truncated=_has_worker(sessions, body.session)))


async def variable(request: web.Request) -> web.StreamResponse:
    """POST /variables/{name}."""
    body = await read_body(request, VariableRequest)
    sessions, name = request.app[SESSIONS], request.match_info["name"]
    path = list(msgspec.to_builtins(body.path))
    answer = await sessions.query(
        body.session,
        "variable",
        name=name,
        path=path,
        maxChildren=min(max(body.max_children, 0), _MAX_CHILDREN),
        maxValueLength=min(max(body.max_value_length, 1), _MAX_VALUE_LENGTH),
        offset=min(max(body.offset, 0), sys.maxsize),
    )
    if answer is None and _has_worker(sessions, body.session):
        return json_response(_blocked(name))
    found = {} if answer is None else json.loads(answer)
    if "name" not in found:
        suffix = f" with the path {path}" if path else ""
        raise RefusedError(404, "unknown_variable", f"there is no variable {name!r}{suffix}")
    return json_response(found)


async def inspect(request: web.Request) -> web.StreamResponse:
    """POST /inspect."""
    at = await read_body(request, InspectRequest)
    return await _describe_object(request, at, "inspect", Inspection, detail=at.detail)


async def hover(request: web.Request) -> web.StreamResponse:
    """POST /hover."""
    return await _describe_object(request, await read_body(request, Position), "hover", Hover)


async def _describe_object(
    request: web.Request, at: Position, op: str, kind: type, **fields: int
) -> web.StreamResponse:
    answer = await request.app[SESSIONS].query(at.session, op, code=at.code, cursor=at.offset, **fields)
    return json_response({**dict.fromkeys(kind.__annotations__), "found": False, **json.loads(answer or "{}")})


def _has_worker(sessions: Sessions, name: str) -> bool:
    """Return whether the session has a worker, which then did not answer in time."""
    session = sessions.get(name)
    return session is not None and session.pid is not None


def _blocked(name: str) -> ExpandedVariable:
    """Return the answer for a variable of a blocked session."""
    return {
        "name": name,
        "type": "",
        "value": "",
        "size": None,
        "expandable": False,
        "shape": None,
        "dtype": None,
        "length": None,
        "keys": None,
        "fullValue": "",
        "children": [],
        "methods": [],
        "attributes": [],
        "truncated": True,
    }


ROUTES = [
    Route("POST", "/variables", variables, Variables, VariablesRequest),
    Route("POST", "/variables/{name}", variable, ExpandedVariable, VariableRequest),
    Route("POST", "/inspect", inspect, Inspection, InspectRequest),
    Route("POST", "/hover", hover, Hover, Position),
]
