"""The served OpenAPI document agrees with the endpoints, also for requests generated from it."""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from mrmd_python.server.api.openapi import document
from mrmd_python.server.api.route import Route
from mrmd_python.server.api.routes import PREFIX, ROUTES
from tests.client import Client, Json
from tests.fuzzing import examples

_ANSWER_SECONDS = 30.0
# These report an error with status 200, in a field of the response.
_ERRORS_WITH_200 = ("/input", "/input/cancel", "/interrupt")

_SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(document(PREFIX, ROUTES))))


def test_openapi_lists_exactly_the_served_methods(shared: Client) -> None:
    for path, operations in shared.get("/openapi.json")["paths"].items():
        target = path.replace("{execId}", "none").replace("{id}", "none").replace("{name}", "none")
        allowed = {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        answer = shared.fetch("PUT", f"/mrp/v1{target}")
        assert answer.status == 405
        assert set(answer.headers["allow"].replace(" ", "").split(",")) == allowed
        for method in allowed - {"HEAD"}:
            status, found = shared.request(method, target, {} if method == "POST" else None)
            assert status != 405
            assert not (status == 404 and found["code"] == "not_found"), f"{method} {path} is not served"


def _bodies(document: Json) -> Iterator[tuple[str, Json]]:
    """Yield the path and the body schema of every POST endpoint that reports errors by status."""
    for path, operations in document["paths"].items():
        if "post" in operations and path not in _ERRORS_WITH_200:
            reference = operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            yield path.replace("{id}", "default"), document["components"]["schemas"][reference.rpartition("/")[2]]


_WRONG = {"string": 1, "integer": "1", "boolean": "true", "array": {}, "object": []}


def _types(field: Json, document: Json) -> Iterator[str]:
    if "$ref" in field:
        field = document["components"]["schemas"][field["$ref"].rpartition("/")[2]]
    if "anyOf" in field:
        for alternative in field["anyOf"]:
            yield from _types(alternative, document)
    elif "enum" in field:
        yield "string"
    elif field.get("type", "null") != "null":
        yield field["type"]


def test_error_names_the_field_of_wrong_type(shared: Client) -> None:
    document = shared.get("/openapi.json")
    for path, body in _bodies(document):
        valid = dict.fromkeys(body["required"], "1")
        for name, field in body["properties"].items():
            for kind in _types(field, document):
                status, answer = shared.request("POST", path, {**valid, name: _WRONG[kind]})
                assert (status, answer["code"]) == (400, "wrong_type"), (path, name)
                assert f"'{name}'" in answer["error"]


def test_null_means_absent(shared: Client) -> None:
    document = shared.get("/openapi.json")
    required = {"/execute", "/execute/stream", "/complete", "/is_complete", "/format", "/inspect", "/hover"}
    assert {path for path, body in _bodies(document) if body["required"]} == required
    for path, body in _bodies(document):
        for name in body["required"]:
            for fields in ({name: None}, {}):
                status, answer = shared.request("POST", path, fields)
                assert (status, answer["code"]) == (400, f"missing_{name}"), path
                assert f"'{name}'" in answer["error"]
        if body["required"] and path != "/execute/stream":
            nulls = dict.fromkeys(body["properties"].keys() - set(body["required"]))
            assert shared.request("POST", path, {**nulls, **dict.fromkeys(body["required"], "1")})[0] == 200, path
    assert shared.get("/sessions/default")["executionCount"] == 1, "a rejected request was executed"


def test_every_post_rejects_a_body_that_is_not_json(shared: Client) -> None:
    """A page may send text to any site without a preflight request."""
    for path, operations in shared.get("/openapi.json")["paths"].items():
        if "post" in operations:
            target = f"/mrp/v1{path.format(id='default', name='none')}"
            assert shared.fetch("POST", target, '{"code": "1"}', Content_Type="text/plain").status == 415, path
            assert shared.fetch("POST", target, "{", Content_Type="application/json").status == 400, path


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@given(data=st.data())
@examples(12)
def test_generated_requests_are_answered_as_documented(
    shared_runtime: Client, route: Route, data: st.DataObject
) -> None:
    """No request hangs, causes a server error or gets an undocumented response."""
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    case = data.draw(_SCHEMA[route.path][route.method].as_strategy(generation_mode=mode))
    _make_harmless(case)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    # Not for parameters in a URL: there every value becomes valid text.
    if route.method == "POST" and route.path not in _ERRORS_WITH_200:
        checks.append(negative_data_rejection)
    response = case.call(
        base_url=f"http://127.0.0.1:{shared_runtime.port}{PREFIX}", timeout=_ANSWER_SECONDS, allow_redirects=False
    )
    case.validate_response(response, checks=checks)


def _make_harmless(case: "schemathesis.Case[Any]") -> None:
    """Replace the code to execute by a string literal, and many of the ids by a few existing ones."""
    body = case.body
    if isinstance(body, dict):
        if case.path.startswith("/execute") and isinstance(body.get("code"), str):
            body["code"] = repr(body["code"])
        for name in ("session", "id"):
            value = body.get(name)
            if isinstance(value, str) and 1 <= len(value) <= 256 and value.isprintable():
                body[name] = ("default", "other")[len(value) % 2]
        value = body.get("execId")
        if isinstance(value, str) and len(value) % 2:
            body["execId"] = "random"
    for name, existing in (("id", "other"), ("execId", "random"), ("name", "random_0001.svg")):
        given = (case.path_parameters or {}).get(name)
        if isinstance(given, str) and len(given) % 2:
            case.path_parameters[name] = urllib.parse.quote(existing)
    if case.path == "/sessions/{id}/events":
        case.path_parameters["id"] = "none"  # the stream of a session that exists has no end
