"""create_app: an application that forwards MRP to a child process or to the service named `default`."""

import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.client import DRAWING, Client, Json
from tests.machine import Machine, wait_until
from tests.programs import CHILD, SERVICE, served

_START_DETACHED = "import os, subprocess; detached = subprocess.Popen(['sleep', '1000'], start_new_session=True)"


@pytest.fixture(params=[CHILD, SERVICE], ids=["child", "service"])
def arguments(request: pytest.FixtureRequest) -> str:
    """The arguments of create_app, for each kind of runtime."""
    arguments: str = request.param
    return arguments


def _server_pid(here: Machine, client: Client) -> int:
    """Return the pid of the runtime that an application forwards to."""
    pids = [child.pid for child in psutil.Process(client.pid).children() if "--managed" in child.cmdline()]
    return pids[0] if pids else here.client("default").pid


def test_application_behaves_like_a_runtime(here: Machine, arguments: str) -> None:
    with served(here, arguments) as client:
        assert client.get("/capabilities")["environment"]["cwd"] == str(here.home)
        assert client.request("GET", "/sessions/s")[0] == 404
        assert client.post("/interrupt", {"session": "s"})["interrupted"] is False
        assert client.post("/reset", {"session": "s"}) == {"success": True}
        assert "s" not in {session["id"] for session in client.get("/sessions")["sessions"]}, "no session was created"
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
    assert client.execute("kept", session="t")["error"]["type"] == "NameError", "sessions share variables"
    assert client.get("/sessions/s")["id"] == "s"
    assert {"s", "t"} <= {session["id"] for session in client.get("/sessions")["sessions"]}
    long = client.execute("print('é' * 3_000_000)", session="s")
    assert long["stdout"] == "é" * 3_000_000 + "\n"


def _check_streams(client: Client) -> None:
    with client.streaming("print('before'); print(input('name? ')); 1 / 0", session="s", execId="asks") as events:
        request = next(event for event in events if event.name == "stdin_request")
        assert request.data == {"prompt": "name? ", "password": False, "execId": "asks"}
        assert client.get("/sessions/s")["state"] == "busy", "the event arrived only after the cell had ended"
        assert client.post("/input", {"exec_id": "asks", "text": "Ada\n"}) == {"accepted": True}
        rest = list(events)
    assert [event.name for event in rest][-2:] == ["error", "done"]
    assert client.post("/input", {"exec_id": "asks", "text": ""})["accepted"] is False
    unknown = client.post("/input/cancel", {"exec_id": "unknown"})
    assert unknown == {"cancelled": False, "error": "there is no execution 'unknown'"}

    with client.streaming("import time; print('x'); time.sleep(1000)", session="s") as events:
        assert [next(events).name, next(events).name] == ["start", "stdout"]
        assert client.post("/interrupt", {"session": "s"}) == {"interrupted": True}
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]

    with client.streaming("line = input(); continued = True", session="s", execId="left") as events:
        assert [next(events).name, next(events).name] == ["start", "stdin_request"]
    assert client.post("/input", {"exec_id": "left", "text": ""}) == {"accepted": True}, (
        "the input request did not survive the client's disconnect"
    )
    assert client.value("continued", session="s") == "True"


def _check_assets(client: Client) -> None:
    asset = client.execute(DRAWING, session="s")["assets"][0]
    content = Path(asset["path"]).read_bytes()
    status, headers, body = client.fetch("GET", asset["url"])
    assert (status, headers["content-type"], body) == (200, "image/svg+xml", content)
    assert headers["content-security-policy"].startswith("sandbox allow-scripts; ")
    assert headers["x-content-type-options"] == "nosniff"
    assert client.fetch("HEAD", asset["url"])[1]["content-length"] == str(len(content))
    for byte_range, part in (("1-3", content[1:4]), ("5-", content[5:]), ("-4", content[-4:]), ("0-99999", content)):
        status, headers, body = client.fetch("GET", asset["url"], Range=f"bytes={byte_range}")
        assert (status, body) == (206, part), byte_range
        assert headers["content-range"].endswith(f"/{len(content)}")
    for byte_range in ("99999-", "3-1", "-", "a-b", "9" * 5000 + "-"):
        assert client.fetch("GET", asset["url"], Range=f"bytes={byte_range}")[0] == 416, byte_range
    for tag in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
        status, _, body = client.fetch("GET", asset["url"], If_None_Match=tag)
        assert (status, body) == (304, b""), tag
    assert client.fetch("GET", asset["url"], If_None_Match='"other"')[0] == 200
    assert client.fetch("GET", "/mrp/v1/assets/..%2f.bashrc")[0] == 404


_BAD_REQUESTS: list[tuple[str, str, bytes | None, dict[str, str]]] = [
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
    for method, path, content, headers in _BAD_REQUESTS:
        found = client.fetch(method, f"/mrp/v1{path}", content, **{"Content-Type": "application/json", **headers})
        compared = found.headers.get("content-type"), found.headers.get("allow")
        answers.append((found.status, *compared, json.loads(found.body)))
    return answers


def test_application_rejects_bad_requests_like_a_runtime(here: Machine) -> None:
    expected = _answers_to_bad_requests(here.start("a"))
    assert {status for status, *_ in expected} == {200, 400, 403, 404, 405, 413, 415}
    here.mrmd("--kill", "a")
    for arguments in (CHILD, SERVICE):
        with served(here, arguments) as client:
            for bad, wanted, got in zip(_BAD_REQUESTS, expected, _answers_to_bad_requests(client), strict=True):
                assert got == wanted, (arguments, bad[:2], bad[3])
            json_in_gzip = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            assert client.fetch("POST", "/mrp/v1/execute", b"not gzip", **json_in_gzip).status == 400


def test_refused_request_starts_no_runtime(here: Machine) -> None:
    for arguments in (f"{SERVICE}, token='secret'", f"{CHILD}, token='secret'"):
        with served(here, arguments, options="lifespan='off'") as client:
            assert client.fetch("GET", "/mrp/v1/capabilities").status == 401
            assert client.fetch("GET", "/mrp/v1/capabilities", Host="evil.example").status == 403
            assert client.fetch("GET", "/", Authorization="Bearer secret").status == 404
            assert psutil.Process(client.pid).children() == []
    assert here.mrmd("--list").stdout.startswith("No runtimes")


def test_application_accepts_body_in_several_pieces(here: Machine) -> None:
    with served(here, CHILD) as client:
        code = f"'{'é' * 300_000}'[-1]"
        content = json.dumps({"code": code}, ensure_ascii=False).encode()
        for length in ({}, {"Content-Length": str(len(content))}):
            connection = client.connect()
            pieces = (content[start : start + 50_000] for start in range(0, len(content), 50_000))
            headers = {"Content-Type": "application/json", **length}
            connection.request("POST", "/mrp/v1/execute", pieces, headers, encode_chunked=not length)
            assert json.loads(connection.getresponse().read())["result"] == "'é'"
            connection.close()


def test_hop_by_hop_headers_are_not_forwarded(here: Machine) -> None:
    """RFC 9110, section 7.6.1: Connection and the headers that it names."""
    with served(here, CHILD) as client:
        url = client.execute(DRAWING)["assets"][0]["url"]
        answer = client.fetch("GET", url)
        tag = answer.headers["etag"]
        assert client.fetch("GET", url, If_None_Match=tag, Connection="keep-alive").status == 304
        assert client.fetch("GET", url, If_None_Match=tag, Connection="close, If-None-Match").status == 200
        names = [name for name, _ in _raw_headers(client, url)]
        assert len(names) == len(set(names)), "a header comes from both the runtime and the ASGI server"
        assert "keep-alive" not in names


def _raw_headers(client: Client, target: str) -> list[tuple[str, str]]:
    connection = client.connect()
    try:
        connection.request("GET", target)
        return [(name.lower(), value) for name, value in connection.getresponse().getheaders()]
    finally:
        connection.close()


def test_only_the_program_knows_the_token_of_its_child(here: Machine) -> None:
    with served(here, CHILD) as client:
        assert client.value("import os; 'MRMD_TOKEN' in os.environ") == "False"
        server = psutil.Process(_server_pid(here, client))
        token = server.environ()["MRMD_TOKEN"]
        [port] = {each.laddr.port for each in server.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        assert Client.at(port).request("GET", "/sessions")[0] == 401
        assert Client.at(port).request("GET", "/sessions", None, {"Authorization": f"Bearer {token}"})[0] == 200
        words = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
        assert not [word for word in words if token in word]
        assert not [path for path in here.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


_END_ON_REQUEST = """
import os
async def ending(scope, receive, send, app=app):
    if scope.get("path") == "/end":
        exec(scope["query_string"])
    await app(scope, receive, send)
app = ending
"""


@pytest.mark.parametrize(
    ("end", "options"),
    [
        ("TERM", ""),
        ("TERM", "lifespan='off'"),
        ("INT", ""),
        ("KILL", ""),
        ("os._exit(1)", "lifespan='off'"),
        ("os.execvp('sleep',['sleep','1000'])", ""),
    ],
)
def test_child_runtime_ends_with_its_program(here: Machine, options: str, end: str) -> None:
    with served(here, CHILD, more=_END_ON_REQUEST, options=options) as client:
        code = f"{_START_DETACHED}; [os.getpid(), os.getppid(), detached.pid]"
        pids: list[int] = [*json.loads(client.value(code)), *json.loads(client.value(code, session="s"))]
        pids.append(_server_pid(here, client))
        assert here.alive(pids) == sorted(pids)
        assert here.mrmd("--list").stdout.startswith("No runtimes")
        with client.streaming("import time; time.sleep(1000)") as events:
            next(events)
            if end.isalpha():
                here.kill(end, client.pid)
                pids.append(client.pid)
            else:
                with socket.create_connection(("127.0.0.1", client.port)) as connection:
                    connection.sendall(f"GET /end?{end} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: here.alive(pids) == [], f"{pids} have ended")


def test_forked_child_of_the_program_does_not_keep_the_runtime_alive(here: Machine) -> None:
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
    with served(here, CHILD, more=fork) as client:
        pids: list[int] = json.loads(client.value(f"{_START_DETACHED}; [os.getpid(), os.getppid(), detached.pid]"))
        pids.append(_server_pid(here, client))
        child = int(client.fetch("GET", "/fork")[2])
        try:
            here.kill("KILL", client.pid)
            wait_until(lambda: here.alive(pids) == [], f"{pids} have ended")
            assert here.alive([child]) == [child], "the forked child, with its copy of all descriptors, was killed too"
        finally:
            here.kill("KILL", child)


def test_killing_a_reaper_ends_only_its_session(here: Machine) -> None:
    more = "import subprocess; child = subprocess.Popen(['sleep', '1000'])"
    with served(here, CHILD, more=more) as client:
        others = [child.pid for child in psutil.Process(client.pid).children() if child.name() == "sleep"]
        assert len(others) == 1
        client.execute("kept = 42", session="other")
        reaper, *pids = json.loads(client.value(f"{_START_DETACHED}; [os.getppid(), os.getpid(), detached.pid]"))
        here.kill("KILL", reaper)
        wait_until(lambda: here.alive(pids) == [], f"{pids} have ended")
        assert client.value("kept", session="other") == "42"
        assert "fresh session" in client.execute("1")["stderr"]
        assert here.alive(others) == others
        here.kill("KILL", others[0])


def test_allowed_origin_may_frame_displayed_documents(here: Machine) -> None:
    with served(here, f"{CHILD}, allow_origins=['https://editor.example']") as client:
        url = client.execute(DRAWING)["assets"][0]["url"]
        answer = client.fetch("GET", url, Origin="https://editor.example")
        assert answer.headers["content-security-policy"].endswith(" https://editor.example")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_service_outlives_the_program(here: Machine) -> None:
    with served(here, f"{SERVICE}, assets_dir='images'") as client:
        pid = json.loads(client.value("kept = 42; import os; os.getpid()", session="vllm"))
        client.execute(DRAWING)
        here.kill("KILL", client.pid)
    [listed] = json.loads(here.mrmd("--list", "--json").stdout)
    assert (listed["id"], listed["status"]) == ("default", "running")
    assert listed["assets_dir"] == str(here.home / "images")
    assert here.client("default").value("kept", session="vllm") == "42"
    with served(here, SERVICE) as client:
        assert {"default", "vllm"} == {session["id"] for session in client.get("/sessions")["sessions"]}
        assert client.value("kept", session="vllm") == "42", "another program did not find the session of the service"
        [image] = (here.home / "images").iterdir()
        assert client.fetch("GET", f"/mrp/v1/assets/{image.name}")[2] == image.read_bytes()
        assert here.mrmd("--kill", "default").returncode == 0
        assert here.alive([pid]) == []
        assert client.execute("kept", session="vllm")["error"]["type"] == "NameError", (
            "the service kept its variables over a restart"
        )
    assert here.states() == {"default": "running"}, "the service ended with the program"


def test_application_forwards_execution_endpoints(here: Machine, arguments: str) -> None:
    with served(here, arguments) as client:
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


def test_crashed_runtime_is_reported_and_started_again(here: Machine, arguments: str) -> None:
    with served(here, arguments) as client:
        client.execute("kept = 42", session="s")
        with (
            client.streaming("print('x'); input()", session="s", execId="e") as events,
            client.watching("s") as activity,
        ):
            seen = list(itertools.takewhile(lambda event: event.name != "stdin_request", events))
            waiting = client.connect()
            body = json.dumps({"code": "1", "session": "s"})
            waiting.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
            wait_until(lambda: client.get("/sessions/s")["queued"] == 1, "the second execution is queued")
            server = _server_pid(here, client)
            here.kill("KILL", server)
            answer = waiting.getresponse()
            assert (answer.status, json.loads(answer.read())["code"]) == (503, "runtime_gone")
            waiting.close()
            error, done = events
            happened: list[str] = []
            with contextlib.suppress(http.client.IncompleteRead):
                happened += (event.name for event in activity)
            assert set(happened) <= {"queued", "started", "ended"}, "the activity has an error"
        assert (error.name, error.data["type"], done.name) == ("error", "RuntimeDied", "done")
        assert [event.id for event in [*seen, error, done]] == sorted({event.id for event in [*seen, error, done]})
        wait_until(lambda: here.alive([server]) == [], "the killed server and its sockets are gone")
        assert client.post("/interrupt", {"session": "s"})["interrupted"] is False
        assert client.post("/input", {"exec_id": "e", "text": ""})["accepted"] is False
        assert client.request("GET", "/sessions/s")[0] == 404
        assert client.execute("kept", session="s")["error"]["type"] == "NameError"
        assert _server_pid(here, client) != server


def test_simultaneous_first_executions_start_one_runtime(here: Machine, arguments: str) -> None:
    with served(here, arguments, options="lifespan='off'") as client:
        connections = [client.connect() for _ in range(8)]
        for connection in connections:
            body = json.dumps({"code": "import os; os.getpid()", "session": "s"})
            connection.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
        assert len({json.loads(connection.getresponse().read())["result"] for connection in connections}) == 1
        for connection in connections:
            connection.close()


def test_application_can_be_mounted(here: Machine) -> None:
    """Older ASGI servers strip the mount point from `path`; newer ones keep it, and repeat it in `root_path`."""
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
    with served(here, CHILD, more=mount) as client:
        status, _, body = client.fetch("GET", "/cut/mrp/v1/sessions/without%20raw")
        assert (status, json.loads(body)["error"]) == (404, "there is no session 'without raw'")
        for prefix in ("", "/cut", "/a%20mount"):
            assert client.fetch("GET", f"{prefix}/mrp/v1/capabilities")[0] == 200, prefix
            status, _, body = client.fetch("GET", f"{prefix}/mrp/v1/sessions/a%2Fb%20c")
            assert (status, json.loads(body)["error"]) == (404, "there is no session 'a/b c'"), prefix
            assert client.fetch("GET", f"{prefix}{prefix or '/x'}/mrp/v1/capabilities")[0] == 404


def test_create_app_rejects_invalid_arguments(here: Machine) -> None:
    for arguments, word in (("cwd='/nowhere'", "does not exist"), ("venv='/nowhere'", "create it with")):
        code = f"from mrmd_python import create_app; create_app({arguments})"
        done = here.run(sys.executable, "-c", code)
        assert done.returncode == 1
        assert word in done.stderr.splitlines()[-1]


def test_application_startup_fails_if_the_runtime_cannot_start(here: Machine, arguments: str) -> None:
    here.script("bad/bin/python", "exit 3")
    with served(here, f"{arguments}, venv='bad'") as client:
        wait_until(lambda: here.alive([client.pid]) == [], "uvicorn has exited")
    with served(here, f"{arguments}, venv='bad'", options="lifespan='off'") as client:
        for _ in range(2):
            status, answer = client.request("GET", "/capabilities")
            assert (status, answer["code"]) == (503, "session_start_failed")
            assert "exited with status 3" in answer["error"]


def test_command_does_not_import_the_server() -> None:
    code = "import sys, mrmd_python.cli.main; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_application_closes_both_connections_when_a_client_leaves(here: Machine, arguments: str) -> None:
    with served(here, arguments) as client:
        program = psutil.Process(client.pid)
        with client.streaming("line = input()", execId="left") as events:
            assert [next(events).name, next(events).name] == ["start", "stdin_request"]
            assert [each.status for each in program.net_connections("tcp")].count("ESTABLISHED") == 2
        wait_until(
            lambda: all(each.status != "ESTABLISHED" for each in program.net_connections("tcp")),
            "the connections to the client and to the runtime are closed",
        )
        assert client.post("/input", {"exec_id": "left", "text": "y"}) == {"accepted": True}
        assert client.value("line") == "'y'"


def test_application_does_not_buffer_unread_output(here: Machine) -> None:
    with served(here, CHILD) as client:
        client.execute("1")
        program = psutil.Process(client.pid)
        before = program.memory_info().rss
        with client.streaming("for _ in range(300_000): print('x' * 99)", execId="long") as events:
            next(events)
            wait_until(lambda: client.get("/executions/long")["state"] == "done", "the cell has printed all its output")
            growth = program.memory_info().rss - before
            assert growth < 15e6, f"the application has grown by {growth / 1e6:.0f} MB for 30 MB of unread output"


def test_application_forwards_to_a_runtime_of_any_id_and_adds_its_token(here: Machine) -> None:
    here.start("vllm", "--token").refused(401, "POST", "/execute", {"code": "1"})
    with served(here, "runtime='vllm'") as client:
        client.execute("x = 41")
        assert client.value("x + 1") == "42"
        assert here.mrmd("--restart", "vllm").returncode == 0
        assert client.execute("x")["error"]["type"] == "NameError"
        here.kill("KILL", here.info("vllm")["pid"])
        assert "'vllm' does not answer" in client.refused(503, "POST", "/execute", {"code": "1"})["error"]
        assert here.mrmd("--kill", "vllm").returncode == 0
        assert "mrmd-python --id vllm" in client.refused(503, "POST", "/execute", {"code": "1"})["error"]


def test_runtime_that_runs_already_has_its_own_options(here: Machine) -> None:
    done = here.run(sys.executable, "-c", "import mrmd_python; mrmd_python.create_app(runtime='a', daemon_mode=True)")
    assert "ValueError: runtime= is a runtime that runs already" in done.stderr
