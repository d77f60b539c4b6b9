"""MRP, "Rules for every endpoint"."""

import pytest

from tests.client import Client, Json
from tests.machine import wait_until

_POSTS = ["/execute", "/execute/stream", "/complete", "/inspect", "/hover", "/variables", "/is_complete", "/format"]
_C_BLOCK = "import ctypes; ctypes.PyDLL(None).sleep(600)"
_BLOCKS = ["while True: pass", "import time; time.sleep(600)", _C_BLOCK]


@pytest.mark.row("POST bodies are application/json objects; unknown fields are ignored; a missing body is {}")
def test_body_must_be_json_and_may_have_unknown_fields(server: Client, session: str) -> None:
    assert server.post("/execute", {"code": "1", "session": session, "unheardOf": [1]})["success"]
    assert server.call("POST", "/interrupt").json()["interrupted"] is False
    assert server.call("POST", "/variables").status == 200
    for path in _POSTS:
        server.refused(415, "POST", path, b'{"code": "1"}', Content_Type="text/plain")
        server.refused(415, "POST", path, b"code=1", Content_Type="application/x-www-form-urlencoded")


@pytest.mark.row("An error response is JSON: error and code; 400 malformed JSON, missing or null code, wrong type")
def test_malformed_requests_are_refused(server: Client, session: str) -> None:
    for path in _POSTS:
        for body in (b"{", b"[]", b'"code"', b"\xff\xfe", b"[" * 100_000):
            server.refused(400, "POST", path, body, Content_Type="application/json")
    for path in _POSTS:
        if path != "/variables":
            assert "code" in server.refused(400, "POST", path, {"session": session, "code": None})["error"]
    for path in ("/execute", "/execute/stream"):
        assert "code" in server.refused(400, "POST", path, {"session": session})["error"]
        for fields in (
            {"code": 1},
            {"code": "1", "session": 1},
            {"code": "1", "silent": "no"},
            {"code": "1", "execId": {}},
        ):
            name = next(name for name, value in fields.items() if value != "1")
            assert name in server.refused(400, "POST", path, fields)["error"]
    assert server.call("GET", f"/sessions/{session}").status == 404, "a refused request created a session"


@pytest.mark.row("An error response is JSON: 404 unknown session, execution, asset, variable")
def test_unknown_resources_get_404(server: Client, session: str) -> None:
    for method, path in (
        ("GET", f"/sessions/{session}"),
        ("DELETE", f"/sessions/{session}"),
        ("POST", f"/sessions/{session}/reset"),
        ("GET", "/executions/none"),
        ("GET", "/executions/none/stream"),
        ("DELETE", "/executions/none"),
        ("GET", "/assets/none.png"),
        ("GET", "/no/such/endpoint"),
    ):
        server.refused(404, method, path)
    server.refused(404, "POST", "/variables/none", {"session": session})


@pytest.mark.row("403 Host/Origin")
def test_foreign_hosts_and_origins_are_refused(server: Client) -> None:
    server.refused(403, "GET", "/capabilities", Host="evil.example")
    server.refused(403, "GET", "/capabilities", Origin="https://evil.example")
    server.refused(403, "GET", "/capabilities", Origin="null")
    for origin in ("http://localhost:3000", "http://127.0.0.1:1", "file://", "vscode-webview://abc"):
        assert server.call("GET", "/capabilities", headers={"Origin": origin}).status == 200


@pytest.mark.row("405 and 500 are JSON too")
def test_wrong_method_is_refused(server: Client) -> None:
    server.refused(405, "GET", "/execute")


@pytest.mark.row(
    "/input, /input/cancel, /interrupt refuse with 200 and accepted|cancelled|interrupted: false plus error"
)
def test_input_and_interrupt_refuse_with_status_200(server: Client, session: str) -> None:
    for body in ({}, {"exec_id": "none", "text": "x"}, {"execId": "none", "text": 1}, {"execId": 1}):
        for path, name in (("/input", "accepted"), ("/input/cancel", "cancelled")):
            answer = server.post(path, body)
            assert answer[name] is False
            assert answer["error"]
    for wanted in (session, 1):
        answer = server.post("/interrupt", {"session": wanted})
        assert answer["interrupted"] is False
        assert answer["error"]


@pytest.mark.row(
    '`session` defaults to "default"; /execute* creates one; read-only endpoints answer as an empty session'
)
def test_only_execute_creates_a_session(server: Client, session: str) -> None:
    requests: list[tuple[str, Json]] = [
        ("/complete", {"code": "pri", "cursor": 3}),
        ("/inspect", {"code": "x", "cursor": 1}),
        ("/hover", {"code": "x", "cursor": 1}),
        ("/variables", {}),
        ("/is_complete", {"code": "x"}),
        ("/format", {"code": "x"}),
        ("/history", {}),
        ("/reset", {}),
        ("/interrupt", {}),
    ]
    for path, body in requests:
        server.post(path, {**body, "session": session})
        assert server.call("GET", f"/sessions/{session}").status == 404, f"{path} created a session"
    assert server.post("/variables", {"session": session})["variables"] == []
    assert server.post("/history", {"session": session})["entries"] == []
    server.post("/execute", {"code": "here = 1", "session": session})
    assert server.get(f"/sessions/{session}")["id"] == session
    server.post("/execute", {"code": f"name_{session[-6:]} = 1"})
    assert server.get("/sessions/default")["executionCount"] >= 1


@pytest.mark.row("Deadlines: /interrupt 2 s, /complete /hover /inspect 5 s, /capabilities 2 s, also while a cell runs")
@pytest.mark.parametrize("code", _BLOCKS)
def test_deadlines_hold_while_a_cell_runs(server: Client, session: str, code: str) -> None:
    """The cell computes, sleeps, or blocks in C with the GIL held."""
    with server.streaming(code, session=session) as events:
        next(events)
        wait_until(lambda: bool(server.get(f"/sessions/{session}")["state"] == "busy"), "the cell runs")
        assert server.call("GET", "/capabilities", timeout=2).status == 200
        for path in ("/complete", "/hover", "/inspect"):
            assert server.post(path, {"code": "import o", "cursor": 8, "session": session}, timeout=5)
        for path, body in (("/variables", {}), ("/is_complete", {"code": "x"}), ("/format", {"code": "x"})):
            assert server.post(path, {**body, "session": session}, timeout=5)
        assert server.post("/interrupt", {"session": session}, timeout=2) == {"interrupted": True}
        if code == _C_BLOCK:  # C code does not see the interrupt until it returns
            assert server.call("DELETE", f"/sessions/{session}").status == 200
        assert [event.name for event in events][-2:] == ["error", "done"]


@pytest.mark.row('Positions are UTF-16 code units; "positionEncoding": "utf-32" switches; out of range is clamped')
def test_positions_are_utf16_unless_utf32_is_requested(server: Client, session: str) -> None:
    server.post("/execute", {"code": "1", "session": session})
    code = "'😀😀'; prin"
    cases: list[tuple[str | None, int, int]] = [(None, 8, 12), ("utf-16", 8, 12), ("utf-32", 6, 10)]
    for encoding, start, end in cases:
        body = {"code": code, "session": session, "positionEncoding": encoding}
        for cursor in (end, end + 1000):
            found = server.post("/complete", {**body, "cursor": cursor})
            assert (found["cursorStart"], found["cursorEnd"]) == (start, end)
            assert "print" in [match["insertText"] for match in found["matches"]]
        assert server.post("/complete", {**body, "cursor": -5})["cursorEnd"] == 0
    assert server.post("/hover", {"code": "'😀'; print", "cursor": 8, "session": session})["found"]
    assert server.post("/inspect", {"code": "'😀'; print", "cursor": 8, "session": session})["name"] == "print"


@pytest.mark.row("JSON in SSE data is ASCII")
def test_streams_are_ascii(server: Client, session: str) -> None:
    """The test client decodes event lines as ASCII, so it fails on anything else."""
    events = server.stream("print('é\\u2028😀\\x85')", session=session)
    assert "".join(event.data["content"] for event in events if event.name == "stdout") == "é\u2028😀\x85\n"
