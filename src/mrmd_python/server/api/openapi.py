"""The OpenAPI document of MRP, generated from the types of its routes (https://spec.openapis.org/oas/v3.1.0)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mrmd_python import __version__
from mrmd_python.server.api.error import ErrorJson
from mrmd_python.server.api.request import Fields
from mrmd_python.server.api.route import Route

_Schema = dict[str, Any]

_JSON = "application/json"


def document(prefix: str, routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of `routes`, whose paths are below `prefix`."""
    named = (kind for route in routes for kind in (route.answer, route.body) if not isinstance(kind, str | None))
    types = list(dict.fromkeys((*named, ErrorJson)))
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, found, strict=True))
    for body in {route.body for route in routes if route.body is not None}:
        _allow_nulls(components[body.__name__])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "MRMD Runtime Protocol", "version": "1", "x-server": f"mrmd-python {__version__}"},
        "servers": [{"url": prefix}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {"description": "Error", "content": _content(_JSON, schemas[ErrorJson])}},
        },
    }


def _allow_nulls(body: _Schema) -> None:
    """Allow null in the schema of a body, where it means absent."""
    for name, field in body["properties"].items():
        if name not in body["required"]:
            body["properties"][name] = {"anyOf": [field, {"type": "null"}]}


def _operation(route: Route, schemas: Mapping[Any, _Schema]) -> _Schema:
    in_path = {name: {"type": "string"} for name in re.findall(r"{(\w+)}", route.path)}
    parameters = {"path": in_path, "query": _properties(route.query), "header": _properties(route.headers)}
    is_json = not isinstance(route.answer, str)
    answer = _content(_JSON, schemas[route.answer]) if is_json else _content(route.answer, {})
    operation: _Schema = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or "").partition("\n")[0],
        "parameters": [
            {"name": name, "in": place, "required": place == "path", "schema": schema}
            for place, named in parameters.items()
            for name, schema in named.items()
        ],
        "responses": {
            "200": {"description": "OK", "content": answer},
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if route.body is not None:
        is_required = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": is_required, "content": _content(_JSON, schemas[route.body])}
    return operation


def _properties(kind: type[Fields] | None) -> dict[str, _Schema]:
    if kind is None:
        return {}
    _, components = msgspec.json.schema_components([kind])
    properties: dict[str, _Schema] = components[kind.__name__]["properties"]
    return properties


def _content(media_type: str, schema: _Schema) -> _Schema:
    return {media_type: {"schema": schema}}
