"""A session's variables, and what a name in code stands for.

None of these creates a session or waits long for one: where there is none, or it is blocked, the answer is empty.
"""

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

_MOST_CHILDREN = 10_000
_LONGEST_VALUE = 1_000_000


class ItemPosition(msgspec.Struct, frozen=True):
    """The item that was child `position` of a value."""

    position: Annotated[int, msgspec.Meta(ge=0, lt=sys.maxsize)]


class VariableFilter(msgspec.Struct, rename="camel", frozen=True):
    """Which variables to list."""

    types: list[str] | None = None
    # A shell's pattern if it has *, ? or [ in it, and else a part of the name; case does not matter.
    name_pattern: str | None = None
    # Whether to leave out names that begin with an underscore; true if absent.
    exclude_private: bool | None = None


class VariablesRequest(Fields):
    """Which variables to list, of which session."""

    filter: VariableFilter = VariableFilter()
    session: str = DEFAULT


class VariableRequest(Fields):
    """Which part of a variable, and how much of it."""

    codes: ClassVar = {"path": "path_too_long"}

    path: Annotated[tuple[str | int | ItemPosition, ...], msgspec.Meta(max_length=100)] = ()
    max_children: int = 100
    max_value_length: int = 1000
    offset: int = 0
    session: str = DEFAULT


class InspectRequest(Position):
    """A name in code, and how much to say about it: its signature, documentation (1), source (2)."""

    detail: int = 1


class Variable(TypedDict):
    """A value in short."""

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
    """A value that another consists of, and the step to it."""

    path: str | int | ItemPosition


class ExpandedVariable(Variable):
    """A value and what it consists of."""

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
    """All about a name."""

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
    """A name in brief."""

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
    answer = await sessions.query_raw(
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
        maxChildren=min(max(body.max_children, 0), _MOST_CHILDREN),
        maxValueLength=min(max(body.max_value_length, 1), _LONGEST_VALUE),
        offset=min(max(body.offset, 0), sys.maxsize),
    )
    if answer is None and _has_worker(sessions, body.session):
        return json_response(_blocked(name))
    if answer is None or "unknown" in answer:
        way = f" with the path {path}" if path else ""
        raise RefusedError(404, "unknown_variable", f"there is no variable {name!r}{way}")
    return json_response(answer)


async def inspect(request: web.Request) -> web.StreamResponse:
    """POST /inspect."""
    at = await read_body(request, InspectRequest)
    return await _about_name(request, at, "inspect", Inspection, detail=at.detail)


async def hover(request: web.Request) -> web.StreamResponse:
    """POST /hover."""
    return await _about_name(request, await read_body(request, Position), "hover", Hover)


async def _about_name(request: web.Request, at: Position, op: str, kind: type, **fields: int) -> web.StreamResponse:
    answer = await request.app[SESSIONS].query(at.session, op, code=at.code, cursor=at.offset, **fields)
    return json_response({**dict.fromkeys(kind.__annotations__), "found": False, **(answer or {})})


def _has_worker(sessions: Sessions, name: str) -> bool:
    """Return whether there is a process that could have answered."""
    session = sessions.get(name)
    return session is not None and session.pid is not None


def _blocked(name: str) -> ExpandedVariable:
    """Return the answer about a variable whose session is blocked."""
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
