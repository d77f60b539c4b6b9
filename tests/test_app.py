"""create_app: MRP in another program, under ASGI and under aiohttp, with sessions of its own and with runtimes."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.client import DRAWING, Client, Json
from tests.machine import Machine, wait_until
from tests.programs import FRONTS, OWN, RUNTIMES, served

_ABANDON = "import os, subprocess; detached = subprocess.Popen(['sleep', '1000'], start_new_session=True)"


@pytest.mark.parametrize("arguments", [OWN, RUNTIMES])
@pytest.mark.parametrize("front", FRONTS)
def test_a_client_finds_what_it_finds_at_a_runtime(here: Machine, front: str, arguments: str) -> None:
    with served(here, front, arguments) as client:
        assert client.get("/capabilities")["environment"]["cwd"] == str(here.home)
        assert client.request("GET", "/sessions/s")[0] == 404
        assert client.post("/interrupt", {"session": "s"})["interrupted"] is False
        assert client.post("/reset", {"session": "s"}) == {"success": True}
        assert "s" not in {session["id"] for session in client.get("/sessions")["sessions"]}, "none was made by asking"
        _check_execution(client)
        _check_streams(client)
        _check_assets(client)
        assert client.request("POST", "/sessions/s/reset") == (200, {"success": True})
        assert client.execute("kept", session="s")["error"]["type"] == "NameError"
        pid = client.get("/sessions/s")["pid"]
        assert client.request("DELETE", "/sessions/s") == (200, {"success": True})
        assert here.alive([pid]) == []
        assert client.request("GET", "/sessions/s")[0] == 404


def _check_execution(client: Client) -> None:
    assert client.execute("kept = 41", session="s", execId="first")["execId"] == "first"
    assert client.value("kept + 1", session="s") == "42"
    assert client.execute("kept", session="t")["error"]["type"] == "NameError", "sessions are apart"
    assert client.get("/sessions/s")["id"] == "s"
    assert {"s", "t"} <= {session["id"] for session in client.get("/sessions")["sessions"]}
    long = client.execute("print('é' * 3_000_000)", session="s")
    assert long["stdout"] == "é" * 3_000_000 + "\n"


def _check_streams(client: Client) -> None:
    with client.streaming("print('before'); print(input('name? ')); 1 / 0", session="s", execId="asks") as events:
        asked = next(event for event in events if event.name == "stdin_request")
        assert asked.data == {"prompt": "name? ", "password": False, "execId": "asks"}
        assert client.get("/sessions/s")["state"] == "busy", "events come while it runs"
        assert client.post("/input", {"exec_id": "asks", "text": "Ada\n"}) == {"accepted": True}
        rest = list(events)
    assert [event.name for event in rest][-2:] == ["error", "done"]
    assert client.post("/input", {"exec_id": "asks", "text": ""})["accepted"] is False
    nobody = client.post("/input/cancel", {"exec_id": "nobody"})
    assert nobody == {"cancelled": False, "error": "there is no execution 'nobody'"}

    with client.streaming("import time; print('x'); time.sleep(1000)", session="s") as events:
        assert [next(events).name, next(events).name] == ["start", "stdout"]
        assert client.post("/interrupt", {"session": "s"}) == {"interrupted": True}
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]

    with client.streaming("line = input(); went_on = True", session="s", execId="left") as events:
        assert [next(events).name, next(events).name] == ["start", "stdin_request"]
    assert client.post("/input", {"exec_id": "left", "text": ""}) == {"accepted": True}, "it waits still"
    assert client.value("went_on", session="s") == "True"


def _check_assets(client: Client) -> None:
    asset = client.execute(DRAWING, session="s")["assets"][0]
    content = Path(asset["path"]).read_bytes()
    status, headers, body = client.fetch("GET", asset["url"])
    assert (status, headers["content-type"], body) == (200, "image/svg+xml", content)
    assert headers["content-security-policy"] == "sandbox allow-scripts"
    assert headers["x-content-type-options"] == "nosniff"
    assert client.fetch("HEAD", asset["url"])[1]["content-length"] == str(len(content))
    for wanted, part in (("1-3", content[1:4]), ("5-", content[5:]), ("-4", content[-4:]), ("0-99999", content)):
        status, headers, body = client.fetch("GET", asset["url"], Range=f"bytes={wanted}")
        assert (status, body) == (206, part), wanted
        assert headers["content-range"].endswith(f"/{len(content)}")
    for wanted in ("99999-", "3-1", "-", "a-b", "9" * 5000 + "-"):
        assert client.fetch("GET", asset["url"], Range=f"bytes={wanted}")[0] == 416, wanted
    for tag in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
        status, _, body = client.fetch("GET", asset["url"], If_None_Match=tag)
        assert (status, body) == (304, b""), tag
    assert client.fetch("GET", asset["url"], If_None_Match='"other"')[0] == 200
    assert client.fetch("GET", "/mrp/v1/assets/..%2f.bashrc")[0] == 404


_BAD: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("GET", "/capabilities", None, {"Host": "evil.example"}),
    ("GET", "/capabilities", None, {"Origin": "https://evil.example"}),
    ("GET", "/capabilities", None, {"Origin": "null"}),
    ("GET", "/nowhere", None, {"Host": "evil.example"}),
    ("GET", "/nowhere", None, {}),
    ("GET", "/sessions/", None, {}),
    ("GET", "/sessions/a%2Fb", None, {}),
    ("GET", "/sessions/a/b", None, {}),
    ("GET", "/sessions/%C3%A4%20%25%2e%2e", None, {}),
    ("GET", "/execute", None, {}),
    ("PUT", "/sessions/x", None, {}),
    ("OPTIONS", "/execute", None, {}),
    ("GET", "/assets/no.png", None, {}),
    ("POST", "/execute", b"code=1", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("POST", "/execute", b'{"code": 1}', {"Content-Type": "application/json; charset=utf-8"}),
    ("POST", "/execute", b"{", {}),
    ("POST", "/execute", b"\xff", {}),
    ("POST", "/execute", b"[1]", {}),
    ("POST", "/execute", b"[" * 100_000, {}),
    ("POST", "/execute", b"", {}),
    ("POST", "/execute", None, {}),
    ("POST", "/execute/stream", b'{"code": "1", "session": 1}', {}),
    ("POST", "/execute", b'{"code": "1", "session": ""}', {}),
    ("POST", "/execute", b'"%s"' % (b"x" * (64 * 2**20)), {}),
    ("POST", "/input", b'{"exec_id": 1}', {}),
    ("POST", "/input", b'{"exec_id": "no", "text": ""}', {}),
    ("POST", "/interrupt", b'{"session": 1}', {}),
    ("POST", "/interrupt", b'{"session": "no such \\ud800"}', {}),
    ("POST", "/reset", b'{"session": []}', {}),
    ("DELETE", "/sessions/no", None, {}),
    ("POST", "/sessions/no/reset", None, {}),
]


def _answers_to_bad_requests(client: Client) -> list[tuple[int, str | None, str | None, Json]]:
    answers = []
    for method, path, content, headers in _BAD:
        found = client.fetch(method, f"/mrp/v1{path}", content, **{"Content-Type": "application/json", **headers})
        told = found.headers.get("content-type"), found.headers.get("allow")
        answers.append((found.status, *told, json.loads(found.body)))
    return answers


def test_refusals_are_those_of_a_runtime(here: Machine) -> None:
    expected = _answers_to_bad_requests(here.start("a"))
    assert {status for status, *_ in expected} == {200, 400, 403, 404, 405, 413, 415}
    here.mrmd("--kill", "a")
    for front in FRONTS:
        for arguments in (OWN, RUNTIMES):
            with served(here, front, arguments) as client:
                for bad, wanted, got in zip(_BAD, expected, _answers_to_bad_requests(client), strict=True):
                    assert got == wanted, (front, arguments, bad[:2], bad[3])
                json_in_gzip = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
                assert client.fetch("POST", "/mrp/v1/execute", b"not gzip", **json_in_gzip).status == 400
    assert here.mrmd("--list").stdout.startswith("No runtimes"), "no bad request has started one"


@pytest.mark.parametrize("name", ["TERM", "INT", "KILL"])
@pytest.mark.parametrize(("front", "options"), [("uvicorn", ""), ("uvicorn", "lifespan='off'"), ("aiohttp", "")])
def test_own_sessions_end_with_the_program(here: Machine, front: str, options: str, name: str) -> None:
    with served(here, front, OWN, options=options) as client:
        code = f"{_ABANDON}; [os.getpid(), os.getppid(), detached.pid]"
        pids: list[int] = [*json.loads(client.value(code)), *json.loads(client.value(code, session="s"))]
        assert here.alive(pids) == sorted(pids)
        assert here.mrmd("--list").stdout.startswith("No runtimes")
        with client.streaming("import time; time.sleep(1000)") as events:
            next(events)
            here.kill(name, client.pid)
            wait_until(lambda: here.alive([client.pid, *pids]) == [], f"the program and {pids} have ended")


def test_a_forked_child_of_the_program_holds_no_session(here: Machine) -> None:
    fork = """
import os, time
async def forking(scope, receive, send, app=app):
    if scope.get("path") == "/fork":
        child = os.fork()
        if child == 0:
            time.sleep(1000)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % child})
    else:
        await app(scope, receive, send)
app = forking
"""
    with served(here, "uvicorn", OWN, more=fork) as client:
        pids: list[int] = json.loads(client.value(f"{_ABANDON}; [os.getpid(), os.getppid(), detached.pid]"))
        child = int(client.fetch("GET", "/fork")[2])
        try:
            here.kill("KILL", client.pid)
            wait_until(lambda: here.alive(pids) == [], f"{pids} have ended")
            assert here.alive([child]) == [child], "though a copy of all descriptors was left"
        finally:
            here.kill("KILL", child)


def test_a_killed_reaper_costs_its_session_and_no_child_of_the_program(here: Machine) -> None:
    """The program is no subreaper: what the reaper leaves is init's, and the program's own children are not ours."""
    more = "import subprocess; child = subprocess.Popen(['sleep', '1000'])"
    with served(here, "uvicorn", OWN, more=more) as client:
        own = [child.pid for child in psutil.Process(client.pid).children() if child.name() == "sleep"]
        assert len(own) == 1
        client.execute("kept = 42", session="other")
        reaper, *pids = json.loads(client.value(f"{_ABANDON}; [os.getppid(), os.getpid(), detached.pid]"))
        here.kill("KILL", reaper)
        wait_until(lambda: here.alive(pids) == [], f"{pids} have ended")
        assert client.value("kept", session="other") == "42"
        assert "fresh session" in client.execute("1")["stderr"]
        assert here.alive(own) == own
        here.kill("KILL", own[0])


def test_runtimes_outlive_the_program(here: Machine) -> None:
    with served(here, "uvicorn", f"{RUNTIMES}, assets_dir='pictures'") as client:
        pid = json.loads(client.value("kept = 42; import os; os.getpid()", session="vllm"))
        client.execute(DRAWING, session="other")
        here.kill("KILL", client.pid)
    listed = {record["id"]: record for record in json.loads(here.mrmd("--list", "--json").stdout)}
    assert {name: record["status"] for name, record in listed.items()} == {"other": "running", "vllm": "running"}
    assert listed["vllm"]["assets_dir"] == str(here.home / "pictures")
    assert here.client("vllm").value("kept") == "42"
    with served(here, "aiohttp", RUNTIMES) as client:
        assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["other", "vllm"]
        assert client.value("kept", session="vllm") == "42", "another program finds it"
        [picture] = (here.home / "pictures").iterdir()
        assert client.fetch("GET", f"/mrp/v1/assets/{picture.name}")[2] == picture.read_bytes()
        assert here.mrmd("--kill", "vllm").returncode == 0
        assert here.alive([pid]) == []
        assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["other"]
        assert client.execute("kept", session="vllm")["error"]["type"] == "NameError", "it is started again"


@pytest.mark.parametrize("arguments", [OWN, RUNTIMES])
@pytest.mark.parametrize("front", FRONTS)
def test_executions_are_found_again(here: Machine, front: str, arguments: str) -> None:
    with served(here, front, arguments) as client:
        assert client.get("/executions") == {"executions": []}
        client.execute("1", session="other", execId="one")
        events = client.stream("print('x' * 300_000)", session="s", execId="two")
        found = {(each["execId"], each["session"]) for each in client.get("/executions")["executions"]}
        assert found == {("one", "other"), ("two", "s")}
        assert [each["execId"] for each in client.get("/executions?session=s")["executions"]] == ["two"]
        two = client.get("/executions/two")
        assert (two["session"], two["result"]["stdout"]) == ("s", "x" * 300_000 + "\n")
        for url, headers in ((f"?after={events[-2].id - 1}", {}), ("", {"Last_Event_ID": str(events[-3].id)})):
            status, _, body = client.fetch("GET", f"/mrp/v1/executions/two/stream{url}", **headers)
            assert status == 200
            assert [line for line in body.decode().splitlines() if line.startswith("event:")][-2:] == [
                "event: result",
                "event: done",
            ]
        status, answer = client.request("GET", "/executions/two/stream?after=x")
        assert (status, answer["code"]) == (400, "bad_event_id")
        assert client.request("DELETE", "/executions/two") == (200, {"success": True})
        assert client.request("GET", "/executions/two")[0] == 404
        assert client.request("GET", "/executions/two/stream")[1]["code"] == "unknown_execution"


def test_a_runtime_is_made_with_an_environment_of_its_own(here: Machine) -> None:
    (here.home / "sub").mkdir()
    with served(here, "uvicorn", RUNTIMES) as client:
        environment = {"cwd": "sub", "env": {"OWN": "a b"}}
        made = client.post("/sessions", {"id": "s", "environment": environment})
        assert (made["id"], made["environment"]["cwd"]) == ("s", str(here.home / "sub"))
        assert (
            client.value("import os; f\"{os.environ['OWN']} {os.getcwd()}\"", session="s") == f"'a b {here.home}/sub'"
        )
        assert client.post("/sessions", {"id": "s"})["pid"] == made["pid"]
        status, answer = client.request("POST", "/sessions", {"id": "s", "environment": {"cwd": str(here.home)}})
        assert (status, answer["code"]) == (409, "session_exists")
        status, answer = client.request("POST", "/sessions", {"id": "t", "dependencies": ["no-such-package"]})
        assert status == 422
        assert answer["unmet"]
        status, answer = client.request("POST", "/sessions", {"id": "a b"})
        assert (status, answer["code"]) == (400, "bad_session")
        assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["s"]
        assert client.post("/sessions", {})["id"].startswith("session-")


@pytest.mark.parametrize("front", FRONTS)
def test_a_runtime_that_dies_is_told_and_started_again(here: Machine, front: str) -> None:
    with served(here, front, RUNTIMES) as client:
        client.execute("kept = 42", session="s")
        with client.streaming("print('x'); input()", session="s", execId="e") as events:
            seen = list(itertools.takewhile(lambda event: event.name != "stdin_request", events))
            waiting = client.connect()
            body = json.dumps({"code": "1", "session": "s"})
            waiting.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
            wait_until(lambda: client.get("/sessions/s")["queued"] == 1, "the second waits")
            server = here.client("s").pid
            here.kill("KILL", server)
            answer = waiting.getresponse()
            assert (answer.status, json.loads(answer.read())["code"]) == (503, "runtime_gone")
            waiting.close()
            error, done = events
        assert (error.name, error.data["type"], done.name) == ("error", "RuntimeDied", "done")
        assert [event.id for event in [*seen, error, done]] == sorted({event.id for event in [*seen, error, done]})
        wait_until(lambda: here.alive([server]) == [], "its sockets are closed first")
        assert client.post("/interrupt", {"session": "s"})["interrupted"] is False
        assert client.post("/input", {"exec_id": "e", "text": ""})["accepted"] is False
        assert client.request("GET", "/sessions/s")[0] == 404
        assert client.execute("kept", session="s")["error"]["type"] == "NameError"


def test_first_executions_at_the_same_time_start_one_runtime(here: Machine) -> None:
    with served(here, "uvicorn", RUNTIMES) as client:
        connections = [client.connect() for _ in range(8)]
        for connection in connections:
            body = json.dumps({"code": "import os; os.getpid()", "session": "s"})
            connection.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
        assert len({json.loads(connection.getresponse().read())["result"] for connection in connections}) == 1
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("session", ["a b", "../x", ".x", "é", "x" * 129])
def test_a_session_that_can_be_no_runtime_is_refused(here: Machine, session: str) -> None:
    with served(here, "uvicorn", RUNTIMES) as client:
        status, answer = client.request("POST", "/execute", {"code": "1", "session": session})
        assert (status, answer["code"]) == (400, "bad_session")
        assert client.post("/interrupt", {"session": session})["interrupted"] is False


def test_a_mount_point(here: Machine) -> None:
    """Old servers cut the mount point off `path`; newer ones leave it, and say in `root_path` what it is."""
    mount = """
async def mounting(scope, receive, send, app=app):
    scope = dict(scope)
    if scope["type"] == "lifespan": return
    if scope["path"].startswith("/cut"):
        scope["path"] = scope["path"].removeprefix("/cut")
        scope["root_path"] = "/cut"
        if scope["path"].endswith("without raw"): del scope["raw_path"]
    elif scope["path"].startswith("/a mount"):
        scope["root_path"] = "/a mount"
    await app(scope, receive, send)
app = mounting
"""
    with served(here, "uvicorn", OWN, more=mount) as client:
        status, _, body = client.fetch("GET", "/cut/mrp/v1/sessions/without%20raw")
        assert (status, json.loads(body)["error"]) == (404, "there is no session 'without raw'")
        for prefix in ("", "/cut", "/a%20mount"):
            assert client.fetch("GET", f"{prefix}/mrp/v1/capabilities")[0] == 200, prefix
            status, _, body = client.fetch("GET", f"{prefix}/mrp/v1/sessions/a%2Fb%20c")
            assert (status, json.loads(body)["error"]) == (404, "there is no session 'a/b c'"), prefix
            assert client.fetch("GET", f"{prefix}{prefix or '/x'}/mrp/v1/capabilities")[0] == 404


def test_what_cannot_be_is_told_when_the_application_is_made(here: Machine) -> None:
    for arguments, word in (("cwd='/nowhere'", "does not exist"), ("venv='/nowhere'", "create it with")):
        code = f"from mrmd_python import create_app; create_app({arguments})"
        done = here.run(sys.executable, "-c", code)
        assert done.returncode == 1
        assert word in done.stderr.splitlines()[-1]


def test_a_default_session_that_cannot_start_fails_the_startup(here: Machine) -> None:
    here.script("bad/bin/python", "exit 3")
    with served(here, "uvicorn", f"{OWN}, venv='bad'") as client:
        wait_until(lambda: here.alive([client.pid]) == [], "uvicorn has given up")
    with served(here, "uvicorn", f"{OWN}, venv='bad'", options="lifespan='off'") as client:
        for _ in range(2):
            status, answer = client.request("GET", "/capabilities")
            assert (status, answer["code"]) == (503, "session_start_failed")
            assert "exited with status 3" in answer["error"]


def test_the_command_does_not_import_the_server() -> None:
    code = "import sys, mrmd_python.cli.main; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_client_that_goes_away_is_let_go_of(here: Machine) -> None:
    with served(here, "uvicorn", RUNTIMES) as client:
        program = psutil.Process(client.pid)
        with client.streaming("line = input()", execId="left") as events:
            assert [next(events).name, next(events).name] == ["start", "stdin_request"]
            assert [each.status for each in program.net_connections("tcp")].count("ESTABLISHED") == 2
        wait_until(
            lambda: all(each.status != "ESTABLISHED" for each in program.net_connections("tcp")),
            "neither the client nor the runtime is connected to",
        )
        assert client.post("/input", {"exec_id": "left", "text": "y"}) == {"accepted": True}
        assert client.value("line") == "'y'"
