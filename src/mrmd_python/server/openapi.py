"""The description of MRP that the server publishes, made of its routes (https://spec.openapis.org/oas/v3.1.0)."""

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from mrmd_python import __version__
from mrmd_python.server.endpoint import Route, Schema
from mrmd_python.server.exchange import EventStream, File

_REFUSAL = {
    "type": "object",
    "properties": {"error": {"type": "string", "minLength": 1}, "code": {"type": "string", "pattern": "^[a-z_]+$"}},
    "required": ["error", "code"],
}


def description(prefix: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of `routes`, which are below `prefix`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "MRMD Runtime Protocol", "version": "1", "x-server": f"mrmd-python {__version__}"},
        "servers": [{"url": prefix}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Refusal": {"description": "It is not carried out.", "content": _content("application/json", _REFUSAL)}
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    in_path = {name: {"type": "string"} for name in re.findall(r"{(\w+)}", route.path)}
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": schema}
        for place, named in (("path", in_path), ("query", route.query), ("header", route.headers))
        for name, schema in named.items()
    ]
    operation: dict[str, Any] = {
        "operationId": getattr(route.endpoint, "__name__", route.path),
        "summary": (route.endpoint.__doc__ or "").partition("\n")[0],
        "responses": {
            "200": {"description": "It is carried out.", "content": _answer(route)},
            "default": {"$ref": "#/components/responses/Refusal"},
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if route.method == "POST":
        body = {"type": "object", "properties": route.body, "required": list(route.required)}
        operation["requestBody"] = {"required": bool(route.required), "content": _content("application/json", body)}
    return operation


def _answer(route: Route) -> Mapping[str, Any]:
    answer = typing.get_type_hints(route.endpoint)["return"]
    if answer is EventStream:
        return _content("text/event-stream", {})
    return _content("*/*", {}) if answer is File else _content("application/json", {"type": "object"})


def _content(kind: str, schema: Schema) -> dict[str, Any]:
    return {kind: {"schema": schema}}
