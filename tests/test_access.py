"""Who may speak to a runtime, and how what is refused is told."""

import pytest

from tests.client import Client
from tests.machine import Machine


@pytest.fixture
def client(here: Machine) -> Client:
    return here.start("a")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:{port}", "[::1]:{port}", "localhost:1"])
def test_loopback_hosts_pass(client: Client, host: str) -> None:
    assert client.request("GET", "/capabilities", headers={"Host": host.format(port=client.port)})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", ""])
def test_a_rebound_host_is_refused(client: Client, host: str) -> None:
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Host": host})
    assert (status, answer["code"]) == (403, "host_refused")
    assert client.execute("ran")["error"]["type"] == "NameError"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "file://", "vscode-webview://abc"])
def test_origins_of_editors_pass(client: Client, origin: str) -> None:
    assert client.request("GET", "/capabilities", headers={"Origin": origin})[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://[", "data:x"]
)
def test_foreign_origins_are_refused(client: Client, origin: str) -> None:
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Origin": origin})
    assert (status, answer["code"]) == (403, "origin_refused")
    assert client.execute("ran")["error"]["type"] == "NameError"


def test_the_null_origin_is_electrons(client: Client) -> None:
    headers = {"Origin": "null", "User-Agent": "Mozilla/5.0 mrmd/1.0 Electron/33.0"}
    assert client.request("GET", "/capabilities", headers=headers)[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_body_that_is_not_json_is_refused(client: Client, kind: str) -> None:
    """A page may send these to any site without asking first."""
    status, answer = client.request("POST", "/execute", {"code": "ran = 1"}, headers={"Content-Type": kind})
    assert (status, answer["code"]) == (415, "not_json")
    assert client.execute("ran")["error"]["type"] == "NameError"


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        ({}, 400, "missing_code", "code"),
        ({"code": 1}, 400, "wrong_type", "'code'"),
        ({"code": "1", "session": 1}, 400, "wrong_type", "'session'"),
        ({"code": "1", "storeHistory": "yes"}, 400, "wrong_type", "'storeHistory'"),
        (["code"], 400, "malformed_json", "object"),
    ],
)
def test_wrong_bodies_are_told(client: Client, body: object, status: int, code: str, word: str) -> None:
    for path in ("/execute", "/execute/stream"):
        answered, answer = client.request("POST", path, body)
        assert (answered, answer["code"]) == (status, code)
        assert word in answer["error"]


def test_what_is_not_json_at_all_is_told(client: Client) -> None:
    for content in (b"{", b"\xff", b"{'code': 1}"):
        connection = client.connect()
        connection.request("POST", "/mrp/v1/execute", content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 400
        assert b"malformed_json" in answer.read()
        connection.close()


def test_unknown_paths_sessions_and_methods_are_told_in_json(client: Client) -> None:
    assert client.request("GET", "/nowhere")[0] == 404
    assert client.request("GET", "/execute")[0] == 405
    for method, path in (("GET", "/sessions/x"), ("DELETE", "/sessions/x"), ("POST", "/sessions/x/reset")):
        status, answer = client.request(method, path)
        assert (status, answer["code"]) == (404, "unknown_session")
    assert client.post("/reset", {"session": "x"}) == {"success": True}
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"], "none was made by asking"


def test_capabilities_tell_what_there_is(client: Client) -> None:
    found = client.get("/capabilities")
    assert found["runtime"] == "mrmd-python"
    assert found["languages"] == ["python", "py", "python3"]
    assert found["defaultSession"] == "default"
    assert found["lspFallback"] is None
    assert set(found["environment"]) == {"cwd", "executable", "virtualenv"}
    assert found["features"]["execute"] is found["features"]["interrupt"] is found["features"]["reset"] is True
