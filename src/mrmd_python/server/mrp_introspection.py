"""MRP's endpoints for a session's variables, and for what a name in code stands for.

None of them creates a session or waits long for one: where there is none, or it is blocked, the answer is empty.
"""

import sys
from collections.abc import Mapping
from typing import Any

from mrmd_python.server.endpoint import FLAG, NUMBER, TEXT, TEXTS, Route, Schema
from mrmd_python.server.exchange import (
    JsonText,
    RefusedError,
    Reply,
    Request,
    flag_field,
    list_field,
    number_field,
    object_field,
    text_field,
)
from mrmd_python.server.positions import PLACE, Place
from mrmd_python.server.sessions import DEFAULT, Sessions

_MOST_CHILDREN = 10_000
_LONGEST_VALUE = 1_000_000
_LONGEST_PATH = 100
_INSPECTION = (
    *("source", "name", "kind", "type", "signature", "docstring"),
    *("sourceCode", "file", "line", "value", "children"),
)
_HOVER = ("name", "type", "value", "signature", "docstring", "documentation")


async def variables(sessions: Sessions, request: Request) -> Reply | JsonText:
    """POST /variables.

    `filter.namePattern` is a shell's pattern if it has ``*``, ``?`` or ``[`` in it, and else any part of the name; case
    does not matter. Names that begin with an underscore are shown only if `filter.excludePrivate` is false.
    """
    wanted = object_field(request.body, "filter")
    types = list_field(wanted, "types")
    if not all(isinstance(name, str) for name in types):
        raise RefusedError(400, "wrong_type", "the field 'types' must be a list of strings")
    answer = await sessions.query_raw(
        _session(request.body),
        "variables",
        types=types,
        namePattern=text_field(wanted, "namePattern", ""),
        excludePrivate=flag_field(wanted, "excludePrivate", True),
    )
    if answer is not None:
        return JsonText(answer)
    return Reply({"variables": [], "count": 0, "truncated": _has_worker(sessions, request.body)})


async def variable(sessions: Sessions, request: Request) -> Reply:
    """POST /variables/{name}."""
    name, body = request.path["name"], request.body
    path = _path(body)
    answer = await sessions.query(
        _session(body),
        "variable",
        name=name,
        path=path,
        maxChildren=min(max(number_field(body, "maxChildren", 100), 0), _MOST_CHILDREN),
        maxValueLength=min(max(number_field(body, "maxValueLength", 1000), 1), _LONGEST_VALUE),
        offset=min(max(number_field(body, "offset", 0), 0), sys.maxsize),
    )
    if answer is None and _has_worker(sessions, body):
        return Reply(_blocked(name))
    if answer is None or "unknown" in answer:
        way = f" with the path {path}" if path else ""
        raise RefusedError(404, "unknown_variable", f"there is no variable {name!r}{way}")
    return Reply(answer)


async def inspect(sessions: Sessions, request: Request) -> Reply:
    """POST /inspect."""
    place = Place.of_body(request.body)
    detail = number_field(request.body, "detail", 1)
    answer = await sessions.query(
        _session(request.body), "inspect", code=place.code, cursor=place.cursor, detail=detail
    )
    return Reply({**dict.fromkeys(_INSPECTION), **(answer or {"found": False})})


async def hover(sessions: Sessions, request: Request) -> Reply:
    """POST /hover."""
    place = Place.of_body(request.body)
    answer = await sessions.query(_session(request.body), "hover", code=place.code, cursor=place.cursor)
    return Reply({**dict.fromkeys(_HOVER), **(answer or {"found": False})})


_FILTER: Schema = {
    "type": ["object", "null"],
    "properties": {"types": TEXTS, "namePattern": TEXT, "excludePrivate": FLAG},
}
_STEP: Schema = {
    "type": ["string", "integer", "object"],
    "properties": {"position": {"type": "integer", "minimum": 0, "maximum": sys.maxsize - 1}},
    "required": ["position"],
}
_PART: dict[str, Schema] = {
    "path": {"type": ["array", "null"], "items": _STEP, "maxItems": _LONGEST_PATH},
    "maxChildren": NUMBER,
    "maxValueLength": NUMBER,
    "offset": NUMBER,
    "session": TEXT,
}
ROUTES: list[Route] = [
    Route("POST", "/variables", variables, {"filter": _FILTER, "session": TEXT}),
    Route("POST", "/variables/{name}", variable, _PART),
    Route("POST", "/inspect", inspect, {**PLACE, "detail": NUMBER, "session": TEXT}, ("code",)),
    Route("POST", "/hover", hover, {**PLACE, "session": TEXT}, ("code",)),
]


def _session(body: Mapping[str, Any]) -> str:
    return text_field(body, "session", DEFAULT)


def _has_worker(sessions: Sessions, body: Mapping[str, Any]) -> bool:
    """Return whether there is a process that could have answered."""
    session = sessions.get(_session(body))
    return session is not None and session.pid is not None


def _path(body: Mapping[str, Any]) -> list[Any]:
    path = list_field(body, "path")
    if not all(_is_step(step) for step in path):
        raise RefusedError(
            400, "wrong_type", "the field 'path' must be a list of strings, whole numbers and {\"position\": number}"
        )
    if len(path) > _LONGEST_PATH:
        raise RefusedError(400, "path_too_long", f"the field 'path' must have {_LONGEST_PATH} steps at most")
    return path


def _is_step(step: object) -> bool:
    if isinstance(step, dict):
        return type(step.get("position")) is int and 0 <= step["position"] < sys.maxsize
    return type(step) in (str, int)


def _blocked(name: str) -> dict[str, Any]:
    """Return the answer about a variable whose session is blocked."""
    texts = dict.fromkeys(("type", "value", "fullValue"), "")
    unknown = dict.fromkeys(("size", "shape", "dtype", "length", "keys"))
    empty: dict[str, Any] = {"children": [], "methods": [], "attributes": []}
    return {"name": name, **texts, **unknown, **empty, "expandable": False, "truncated": True}
