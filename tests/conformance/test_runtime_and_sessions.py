"""MRP, "Runtime and sessions"."""

import re
from datetime import datetime, timedelta

import pytest

from tests.client import Client, Json

_FEATURES = {
    *("execute", "executeStream", "interrupt", "complete", "inspect", "hover", "variables", "variableExpand", "reset"),
    *("isComplete", "format", "assets", "history", "reattach", "activity"),
}


def _assert_is_session(session: Json, name: str) -> None:
    assert session["id"] == name
    assert session["language"] == "python"
    for moment in ("created", "lastActivity"):
        assert datetime.fromisoformat(session[moment]).utcoffset() == timedelta(0)
    for count in ("executionCount", "variableCount", "queued"):
        assert type(session[count]) is int
    assert set(session["environment"]) == {"cwd", "virtualenv", "executable"}
    assert session["state"] in ("starting", "idle", "busy", "dead")
    assert session["pid"] is None or type(session["pid"]) is int


@pytest.mark.row("GET /capabilities")
def test_capabilities_have_every_field(server: Client) -> None:
    found = server.get("/capabilities")
    assert found["runtime"] == "mrmd-python"
    assert re.match(r"\d+\.\d+", found["version"])
    assert found["languages"] == ["python", "py", "python3"]
    assert dict.fromkeys(_FEATURES, True) == found["features"]
    assert found["defaultSession"] == "default"
    assert type(found["maxSessions"]) is int
    assert found["lspFallback"] is None
    assert set(found["environment"]) == {"cwd", "executable", "virtualenv"}
    assert re.match(r"3\.\d+\.\d+", found["pythonVersion"])


@pytest.mark.row("GET /sessions, GET /sessions/{id}: Session")
def test_sessions_report_their_state(server: Client, session: str) -> None:
    server.post("/execute", {"code": "a, b = 1, 2", "session": session})
    found = server.get(f"/sessions/{session}")
    _assert_is_session(found, session)
    assert (found["executionCount"], found["variableCount"], found["state"], found["queued"]) == (1, 2, "idle", 0)
    pid = server.post("/execute", {"code": "import os; os.getpid()", "session": session})["result"]
    assert pid == str(found["pid"])
    listed = {entry["id"]: entry for entry in server.get("/sessions")["sessions"]}
    assert {"default", session} <= listed.keys()
    _assert_is_session(listed[session], session)
    assert found["lastActivity"] <= listed[session]["lastActivity"]
    with server.streaming("import time; time.sleep(60)", session=session) as events:
        next(events)
        with server.streaming("1", session=session):
            assert (server.get(f"/sessions/{session}")["state"], server.get(f"/sessions/{session}")["queued"]) == (
                "busy",
                1,
            )
        server.post("/interrupt", {"session": session})
        list(events)


@pytest.mark.row("POST /sessions: Session; 409 if the id runs with another environment, the Session itself if the same")
def test_sessions_can_be_created(server: Client, session: str) -> None:
    environment = server.get("/capabilities")["environment"]
    made = server.post("/sessions", {"id": session, "language": "python", "environment": environment})
    _assert_is_session(made, session)
    assert made["environment"] == environment
    assert server.post("/sessions", {"id": session, "environment": environment})["created"] == made["created"]
    assert server.post("/sessions", {"id": session})["created"] == made["created"]
    server.refused(409, "POST", "/sessions", {"id": session, "environment": {**environment, "cwd": "/"}})
    server.call("DELETE", f"/sessions/{session}")
    server.post("/sessions", {"id": session, "environment": {"cwd": "/", "env": {"GIVEN": "é"}}})
    code = "import os; print(os.getcwd(), os.environ['GIVEN'])"
    assert server.post("/execute", {"code": code, "session": session})["stdout"] == "/ é\n"
    assert server.get(f"/sessions/{session}")["environment"]["cwd"] == "/"
    generated = server.post("/sessions")["id"]
    assert generated not in ("", "default", session)
    server.call("DELETE", f"/sessions/{generated}")


@pytest.mark.row("POST /sessions: 422 with the list of unmet dependencies/pythonVersion; nothing is installed")
def test_unmet_requirements_are_refused(server: Client, session: str) -> None:
    version = ".".join(server.get("/capabilities")["pythonVersion"].split(".")[:2])
    refusal = server.refused(
        422, "POST", "/sessions", {"id": session, "dependencies": ["no-such-distribution>=1"], "pythonVersion": "2.7"}
    )
    assert "no-such-distribution" in refusal["error"]
    assert any(isinstance(value, list) and len(value) == 2 for value in refusal.values())
    assert server.call("GET", f"/sessions/{session}").status == 404
    assert server.post("/sessions", {"id": session, "dependencies": [], "pythonVersion": version})["id"] == session


@pytest.mark.row('DELETE /sessions/{id}: {"success": true}; default is replaced by a fresh one')
def test_deleted_session_is_replaced_by_a_fresh_one(server: Client, session: str) -> None:
    server.post("/execute", {"code": "kept = 1", "session": session})
    assert server.call("DELETE", f"/sessions/{session}").json() == {"success": True}
    assert session not in [entry["id"] for entry in server.get("/sessions")["sessions"]]
    fresh = server.post("/execute", {"code": "'kept' in globals()", "session": session})
    assert (fresh["result"], fresh["executionCount"]) == ("False", 1)


@pytest.mark.row('POST /sessions/{id}/reset, POST /reset: {"success": true}; a running cell is interrupted first')
def test_reset_clears_session_and_interrupts_running_cell(server: Client, session: str) -> None:
    for path, body in ((f"/sessions/{session}/reset", {}), ("/reset", {"session": session})):
        server.post(
            "/execute", {"code": "import os, sys; os.chdir('/'); sys.path.append('x'); kept = 1", "session": session}
        )
        with server.streaming("while True: pass", session=session) as events:
            next(events)
            assert server.post(path, body) == {"success": True}
            assert [event.name for event in events][-2:] == ["error", "done"]
        code = "import os, sys; print('kept' in globals(), 'x' in sys.path, os.getcwd() == '/')"
        assert server.post("/execute", {"code": code, "session": session})["stdout"] == "False False False\n"
