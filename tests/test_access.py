"""Which clients a runtime accepts, and the errors that the others get."""

import pytest

from tests.client import DRAWING, Client
from tests.machine import Machine

_ELECTRON = "Mozilla/5.0 mrmd/1.0 Electron/33.0"


@pytest.fixture
def client(shared: Client) -> Client:
    return shared


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:{port}", "[::1]:{port}", "localhost:1"])
def test_loopback_hosts_are_accepted(client: Client, host: str) -> None:
    assert client.request("GET", "/capabilities", headers={"Host": host.format(port=client.port)})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", "", "0.0.0.0", "[::ffff:127.0.0.1]"),
        *("evil.example@localhost", "localhost@evil.example", "localhost/", "localhost:x", "localhost, evil.example"),
    ],
)
def test_foreign_host_is_refused(client: Client, host: str) -> None:
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Host": host})
    assert (status, answer["code"]) == (403, "host_refused")
    assert client.execute("ran")["error"]["type"] == "NameError"


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:9", "file://", "vscode-webview://abc"]
)
def test_editor_origins_are_accepted_and_may_read_the_response(client: Client, origin: str) -> None:
    status, headers, _ = client.fetch("GET", "/mrp/v1/capabilities", Origin=origin)
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, origin, "Origin")
    status, headers, _ = client.fetch("GET", "/mrp/v1/sessions/none", Origin=origin)
    assert (status, headers["access-control-allow-origin"]) == (404, origin)
    assert "access-control-allow-credentials" not in headers


def test_editor_pages_may_read_streams_and_assets(client: Client) -> None:
    origin = "http://localhost:3000"
    url = client.execute(DRAWING, execId="drawn")["assets"][0]["url"].removeprefix("/mrp/v1")
    for path in ("/executions/drawn/stream", url, "/executions/drawn"):
        status, headers, _ = client.fetch("GET", f"/mrp/v1{path}", Origin=origin)
        assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, origin, "Origin")
        assert "access-control-allow-origin" not in client.fetch("GET", f"/mrp/v1{path}").headers


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "http://[",
            "data:x",
            "http://evil.example/",
        ),
        *("http://evil.example\\@localhost", "http://evil.example@localhost", "http://localhost, http://evil.example"),
    ],
)
def test_foreign_origins_are_refused(client: Client, origin: str) -> None:
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Origin": origin})
    assert (status, answer["code"]) == (403, "origin_refused")
    assert "access-control-allow-origin" not in client.fetch("GET", "/mrp/v1/capabilities", Origin=origin).headers
    assert client.execute("ran")["error"]["type"] == "NameError"


def test_null_origin_is_accepted_from_electron(client: Client) -> None:
    headers = {"Origin": "null", "User-Agent": _ELECTRON}
    assert client.request("GET", "/capabilities", headers=headers)[0] == 200


def test_null_origin_of_a_page_with_a_referer_is_refused(client: Client) -> None:
    """It is a document in a sandbox, such as one that a cell displayed; an editor's page is a file, which has none."""
    headers = {"Origin": "null", "User-Agent": _ELECTRON, "Referer": f"http://localhost:{client.port}/"}
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers=headers)
    assert (status, answer["code"]) == (403, "origin_refused")
    assert client.execute("ran")["error"]["type"] == "NameError"


@pytest.mark.parametrize(
    ("policy", "headers"),
    [
        ("same-site", {}),
        ("same-site", {"Sec-Fetch-Site": "same-site"}),
        ("same-site", {"Sec-Fetch-Site": "cross-site"}),
        ("same-site", {"Origin": "https://evil.example"}),
        ("cross-origin", {"Sec-Fetch-Site": "cross-site", "Referer": "http://localhost:3000/"}),
        ("cross-origin", {"Sec-Fetch-Site": "cross-site", "User-Agent": _ELECTRON}),
        ("cross-origin", {"Origin": "http://localhost:3000"}),
    ],
)
def test_only_editor_pages_may_embed_responses(client: Client, policy: str, headers: dict[str, str]) -> None:
    url = client.execute(DRAWING)["assets"][0]["url"]
    for target in (url, "/mrp/v1/sessions", "/nowhere", "/"):
        answer = client.fetch("GET", target, **headers)
        assert answer.headers["cross-origin-resource-policy"] == policy
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {}),
        (403, {"Referer": "https://evil.example/localhost"}),
        (403, {"Referer": "http://localhost!.evil.example/"}),
        (403, {"Referer": "http://localhost:80.evil.example/"}),
        (403, {"Referer": "http://localhost:99999999/"}),
        (403, {"Referer": "http://127.0.0.1*evil.example"}),
        (403, {"Referer": "http://[::1]evil.example/"}),
        (200, {"Referer": "http://localhost"}),
        (200, {"Referer": "http://[::1]:3000?x"}),
        (200, {"Referer": "http://localhost:3000/notebook"}),
        (200, {"User-Agent": _ELECTRON}),
        (403, {"User-Agent": _ELECTRON, "Referer": "https://evil.example/"}),
    ],
)
def test_requests_embedded_in_other_sites_are_refused(client: Client, status: int, headers: dict[str, str]) -> None:
    """Images, scripts, frames and links of another site."""
    assert client.request("GET", "/capabilities", headers={"Sec-Fetch-Site": "cross-site", **headers})[0] == status


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_requests_embedded_in_local_pages_are_accepted(client: Client, site: str) -> None:
    assert client.request("GET", "/capabilities", headers={"Sec-Fetch-Site": site})[0] == 200


_PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.mark.parametrize("path", ["/execute", "/execute/stream", "/executions/x", "/nowhere"])
def test_preflight_from_editor_is_accepted(client: Client, path: str) -> None:
    status, headers, _ = client.fetch("OPTIONS", f"/mrp/v1{path}", Origin="http://localhost:3000", **_PREFLIGHT)
    assert status == 204
    assert headers["access-control-allow-origin"] == "http://localhost:3000"
    assert headers["access-control-allow-headers"] == "content-type, authorization, last-event-id"
    assert headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
    assert "access-control-allow-private-network" not in headers


@pytest.mark.parametrize("more", [{}, {"Access-Control-Request-Private-Network": "true"}])
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_preflight_from_foreign_page_is_refused(client: Client, origin: str, more: dict[str, str]) -> None:
    status, headers, _ = client.fetch("OPTIONS", "/mrp/v1/execute", Origin=origin, **_PREFLIGHT, **more)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-")]


def test_private_network_preflight_from_editor_is_accepted(client: Client) -> None:
    more = {**_PREFLIGHT, "Access-Control-Request-Private-Network": "true"}
    status, headers, _ = client.fetch(
        "OPTIONS", "/mrp/v1/execute", **{"Origin": "null", "User-Agent": _ELECTRON}, **more
    )
    assert (status, headers["access-control-allow-private-network"]) == (204, "true")


def test_options_without_preflight_headers_is_not_allowed(client: Client) -> None:
    assert client.request("OPTIONS", "/execute")[0] == 405


def test_allowed_hosts_and_origins_are_accepted(here: Machine) -> None:
    options = ("--allow-host", "Kernel.example", "--allow-origin", "https://editor.example:8443")
    client = here.start("named", *options)
    url = client.execute(DRAWING)["assets"][0]["url"]
    policy = client.fetch("GET", url).headers["content-security-policy"]
    assert policy.endswith(" https://editor.example:8443"), "it may frame what cells display"
    for headers, status in (
        ({"Host": "kernel.example"}, 200),
        ({"Host": f"KERNEL.example:{client.port}"}, 200),
        ({"Host": "editor.example"}, 403),
        ({"Host": "kernel.example:80", "Origin": "http://kernel.example:80"}, 200),
        ({"Host": "kernel.example:80", "Origin": "https://kernel.example:80"}, 403),
        ({"Host": "kernel.example:80", "Origin": "http://kernel.example"}, 403),
        ({"Host": "editor.example", "Origin": "http://editor.example"}, 403),
        ({"Origin": "https://editor.example:8443"}, 200),
        ({"Origin": "https://editor.example"}, 403),
        ({"Origin": "http://editor.example:8443"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "https://editor.example:8443/x"}, 200),
    ):
        assert client.request("GET", "/capabilities", headers=headers)[0] == status, headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_content_type_other_than_json_is_refused(client: Client, kind: str) -> None:
    """A page may send these types to any site without a preflight request."""
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Content-Type": kind})
    assert (status, answer["code"]) == (415, "not_json")
    assert client.execute("ran")["error"]["type"] == "NameError"


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        ({}, 400, "missing_code", "'code'"),
        ({"code": None}, 400, "missing_code", "'code'"),
        ({"code": 1}, 400, "wrong_type", "'code'"),
        ({"code": "1", "session": 1}, 400, "wrong_type", "'session'"),
        ({"code": "1", "storeHistory": "yes"}, 400, "wrong_type", "'storeHistory'"),
        (["code"], 400, "malformed_json", "object"),
    ],
)
def test_invalid_bodies_are_refused(client: Client, body: object, status: int, code: str, word: str) -> None:
    for path in ("/execute", "/execute/stream"):
        answered, answer = client.request("POST", path, body)
        assert (answered, answer["code"]) == (status, code)
        assert word in answer["error"]


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"code": "1", "code": "2"}', "2"),
        (b'{"code": "1", "\\ud800": 1}', "1"),
        (b'{"code": "1", "cellMeta": [NaN, -Infinity, 1e999, 1' + b"0" * 400 + b"]}", "1"),
        (b'{"code": "1", "cellMeta": ' + b"[" * 500 + b"]" * 500 + b"}", "1"),
        (b'{"code": "1", "session": null, "silent": null, "cellMeta": null, "assetDir": null, "execId": null}', "1"),
    ],
    ids=[
        "a repeated name",
        "a name with a lone surrogate",
        "numbers beyond 64 bits",
        "deep nesting",
        "null means absent",
    ],
)
def test_unusual_json_is_accepted(client: Client, body: bytes, result: str) -> None:
    answer = client.fetch("POST", "/mrp/v1/execute", body, Content_Type="application/json")
    assert (answer.status, answer.json().get("result")) == (200, result)


@pytest.mark.parametrize("nesting", [b"[" * 100_000, b'{"cellMeta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_json_beyond_the_recursion_limit_is_refused(client: Client, nesting: bytes) -> None:
    answer = client.fetch("POST", "/mrp/v1/execute", nesting, Content_Type="application/json")
    assert (answer.status, answer.json()["code"]) == (400, "malformed_json")


def test_malformed_json_is_refused(client: Client) -> None:
    for content in (b"{", b"\xff", b"{'code': 1}"):
        answer = client.fetch("POST", "/mrp/v1/execute", content, Content_Type="application/json")
        assert answer.status == 400
        assert b"malformed_json" in answer.body


def test_unknown_paths_sessions_and_methods_get_json_errors(client: Client) -> None:
    assert client.request("GET", "/nowhere")[0] == 404
    assert client.request("GET", "/execute")[0] == 405
    for method, path in (("GET", "/sessions/x"), ("DELETE", "/sessions/x"), ("POST", "/sessions/x/reset")):
        status, answer = client.request(method, path)
        assert (status, answer["code"]) == (404, "unknown_session")
    assert client.post("/reset", {"session": "x"}) == {"success": True}
    assert "x" not in {session["id"] for session in client.get("/sessions")["sessions"]}, "no session was created"
