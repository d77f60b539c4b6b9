"""What the server publishes of itself, held against what it does, and requests made up from it."""

import json
import urllib.parse
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

from mrmd_python.server.endpoint import Route
from mrmd_python.server.mrp import PREFIX, ROUTES
from mrmd_python.server.openapi import description
from tests.client import Client
from tests.fuzzing import examples

_ANSWER_SECONDS = 30.0
_DOCUMENT = description(PREFIX, ROUTES)
_REFUSED_BY_200 = ("/input", "/input/cancel", "/interrupt")
"""Their clients read a field of the answer."""

_SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(_DOCUMENT)))


def test_the_document_is_published(shared: Client) -> None:
    assert shared.get("/openapi.json") == json.loads(json.dumps(_DOCUMENT))


def test_every_method_of_every_path_is_there_and_no_other(shared: Client) -> None:
    for path, operations in shared.get("/openapi.json")["paths"].items():
        named = path.replace("{execId}", "none").replace("{id}", "none").replace("{name}", "none")
        allowed = {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        answer = shared.fetch("PUT", f"/mrp/v1{named}")
        assert answer.status == 405
        assert set(answer.headers["allow"].replace(" ", "").split(",")) == allowed
        for method in allowed - {"HEAD"}:
            status, found = shared.request(method, named, {} if method == "POST" else None)
            assert status != 405
            assert not (status == 404 and found["code"] == "not_found"), "there is no such route"


_WRONG = {"string": 1, "integer": "1", "boolean": "true", "array": {}, "object": []}


def test_every_field_has_the_type_that_it_is_said_to_have(shared: Client) -> None:
    for path, operations in shared.get("/openapi.json")["paths"].items():
        if "post" not in operations or path in _REFUSED_BY_200:
            continue
        body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
        for name, field in body["properties"].items():
            valid = dict.fromkeys(body["required"], "1")
            for kind in set(field.get("type", ())) - {"null"}:
                status, answer = shared.request("POST", path.replace("{id}", "x"), {**valid, name: _WRONG[kind]})
                assert status == 400, (path, name)
                assert name in answer["error"]
        for name in body["required"]:
            status, answer = shared.request("POST", path, {})
            assert (status, name in answer["error"]) == (400, True)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@given(data=st.data())
@examples(12)
def test_made_up_requests_are_answered_as_described(shared_runtime: Client, route: Route, data: st.DataObject) -> None:
    """None hangs, none has an answer that the document does not describe, none is a failure of the server's."""
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    case = data.draw(_SCHEMA[route.path][route.method].as_strategy(generation_mode=mode))
    _tame(case)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    # What stands in a URL is text, whatever it was made from.
    if route.method == "POST" and route.path not in _REFUSED_BY_200:
        checks.append(negative_data_rejection)
    response = case.call(
        base_url=f"http://127.0.0.1:{shared_runtime.port}{PREFIX}", timeout=_ANSWER_SECONDS, allow_redirects=False
    )
    case.validate_response(response, checks=checks)


def _tame(case: "schemathesis.Case[Any]") -> None:
    """Have what is executed be harmless, and sessions few; what is no code and no id stays as it is."""
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
            body["execId"] = "made-up"
    for name, known in (("id", "other"), ("execId", "made-up"), ("name", "made-up_0001.svg")):
        given = (case.path_parameters or {}).get(name)
        if isinstance(given, str) and len(given) % 2:
            case.path_parameters[name] = urllib.parse.quote(known)
