"""Random and invalid input: requests, cut streams, worker messages, asset data and registry files."""

import json
import socket

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from mrmd_python.cli.command import command
from mrmd_python.runtime import ServiceError
from tests.client import Client, Event, complete_events, text_of
from tests.fuzzing import examples
from tests.machine import Machine

_ANSWER_SECONDS = 60.0

_DOTS = ("..", ".", "%2e%2e", "%252e%252e", "..%2f..", "..%5c", "..\\", "%00", "secret.txt", "etc", "passwd", "")
_SEGMENT = st.one_of(
    st.sampled_from(
        ("mrp", "v1", "assets", "sessions", "executions", "variables", "default", "stream", "events", *_DOTS)
    ),
    st.text(max_size=8).map(lambda text: "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "replace"))),
    st.text("abc{}()*~'\"\\<>", max_size=4),
)
_PATH = st.one_of(
    st.lists(_SEGMENT, max_size=6).map(lambda parts: "/" + "/".join(parts)),
    st.lists(_SEGMENT, max_size=5).map(lambda parts: "/mrp/v1/" + "/".join(parts)),
    st.lists(_SEGMENT, max_size=4).map(lambda parts: "/mrp/v1/assets/" + "/".join(parts)),
)
_NAMES = (
    "Origin",
    "Authorization",
    "Range",
    "If-None-Match",
    "Last-Event-ID",
    "Content-Type",
    "Content-Length",
    "Host",
)
_HEADER = st.tuples(
    st.sampled_from((*_NAMES, "Transfer-Encoding", "Expect", "Referer", "X-Other")), st.text(max_size=20)
)
_METHOD = st.sampled_from(("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "TRACE", "CONNECT", "get", "Ü", ""))


@given(method=_METHOD, path=_PATH, headers=st.lists(_HEADER, max_size=3), body=st.binary(max_size=40))
@examples(150)
def test_no_request_causes_a_server_error(
    shared_runtime: Client, shared_machine: Machine, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    (shared_machine.home / "secret.txt").write_text("must not leak")
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    answer = _send(shared_runtime, "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + body)
    assert b" 500 " not in answer.partition(b"\r\n")[0], answer
    assert b"must not leak" not in answer
    assert b"root:x:" not in answer
    assert shared_runtime.request("GET", "/capabilities")[0] == 200


def _send(client: Client, content: bytes) -> bytes:
    """Send bytes that may be a request, close the sending side, and return the whole response."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=_ANSWER_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass  # the server may reject the request before it has read all of it
    return answer


_PIECE = st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "replace").decode())
_CUT = st.integers(min_value=1, max_value=3000)


@given(pieces=st.lists(_PIECE, min_size=1, max_size=8), cuts=st.lists(_CUT, max_size=6))
@examples(15)
def test_stream_cut_at_any_byte_can_be_resumed(shared_runtime: Client, pieces: list[str], cuts: list[int]) -> None:
    """A client whose stream breaks off at any byte resumes after the last event that it received in full."""
    code = "import sys, time\n" + "\n".join(
        f"sys.stdout.write({text!r}); sys.stdout.flush(); time.sleep(0.01)" for text in pieces
    )
    started = shared_runtime.execute(code)
    whole = _read(shared_runtime, started["execId"], None, None)
    seen: list[Event] = []
    for cut in cuts:
        seen += _read(shared_runtime, started["execId"], seen[-1].id if seen else None, cut)
    seen += _read(shared_runtime, started["execId"], seen[-1].id if seen else None, None)
    assert _content(seen) == _content(whole)
    assert _content(whole)[0] == "".join(pieces)


def _read(client: Client, exec_id: str, last: int | None, cut: int | None) -> list[Event]:
    """Read the stream of an execution after event `last`, at most `cut` bytes; return the complete events."""
    connection = client.connect()
    connection.request(
        "GET", f"/mrp/v1/executions/{exec_id}/stream", headers={} if last is None else {"Last-Event-ID": str(last)}
    )
    content = connection.getresponse().read(cut)
    connection.close()
    return complete_events(content)


def _content(events: list[Event]) -> tuple[str, list[str]]:
    """Return the text of the events and the names of the others: how text is split into events may differ."""
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    return text_of(events, "stdout"), [event.name for event in events if event.name != "stdout"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_WORKER = """#!/usr/bin/python3 -IS
import json, os, socket
control, replies, queries = (socket.socket(fileno=int(name)) for name in os.environ["MRMD_WORKER_FDS"].split())
for line in json.loads(os.environ["LINES"]):
    if line is None:
        control.recv(65536)
    else:
        control.sendall(line.encode() + b"\\n")
"""
_HELLO = json.dumps({"op": "hello", "pythonVersion": "3.11.0"})


@pytest.mark.parametrize(
    "lines",
    [
        ["not JSON"],
        ["[" * 100_000],
        ["[]"],
        ["{}"],
        [json.dumps({"op": "hello"})],
        [json.dumps({"op": "fallback", "pythonVersion": ["3"]})],
        [_HELLO, None, json.dumps({"op": "done"})],
        [_HELLO, None, json.dumps({"op": "done", "variables": 0})],
        [_HELLO, None, json.dumps({"op": "done", "variables": 0, "success": False})],
        [_HELLO, None, json.dumps({"op": "done", "variables": 0, "success": True, "value": {}})],
        [_HELLO, None, json.dumps({"op": "display", "mark": "1"})],
    ],
)
def test_invalid_worker_message_ends_only_that_session(
    shared_runtime: Client, shared_machine: Machine, lines: list[str | None]
) -> None:
    worker = shared_machine.home / "invalid"
    worker.write_text(_WORKER)
    worker.chmod(0o700)
    environment = {"executable": str(worker), "env": {"LINES": json.dumps(lines)}}
    status, answer = shared_runtime.request("POST", "/sessions", {"id": "invalid", "environment": environment})
    assert status in (200, 422), answer
    if status == 200:
        result = shared_runtime.execute("1", session="invalid")
        assert result["error"]["type"] in ("SessionDied", "SessionStartError"), result
        assert shared_runtime.request("DELETE", "/sessions/invalid") == (200, {"success": True})
    assert shared_runtime.value("40 + 2") == "42", "another session stopped working"
    log = (shared_machine.home / ".mrmd" / "logs" / "shared.log").read_text()
    assert "Exception in callback" not in log


def test_invalid_image_data_causes_no_server_error(shared: Client) -> None:
    code = "display({mime: chr(0xDC80) + 'ü', 'text/plain': kind}, raw=True)"
    for mime in ("image/png", "image/svg+xml", "text/html"):
        bound = f"mime = {mime!r}; kind = '<IPython.core.display.HTML object>'\n"
        assert shared.execute(bound + code)["success"], mime
    assert shared.value("1") == "1"


_RECORD = {
    "id": "random",
    "pid": 1,
    "port": 1,
    "host": "localhost",
    "url": "http://localhost:1/mrp/v1",
    "venv": "/venv",
    "cwd": "/",
    "assets_dir": None,
    "created": "",
    "lastActivity": "",
    "backend": "fork",
    "unit": None,
    "pid_started": "x",
    "version": "0",
    "log": "",
    "python": "/venv/bin/python",
    "venv_source": "own",
    "spec": {},
}
_CONTENT = st.one_of(
    st.binary(max_size=30),
    _JSON.map(json.dumps).map(str.encode),
    st.builds(
        lambda changes, missing: json.dumps(
            {name: value for name, value in {**_RECORD, **changes}.items() if name not in missing}
        ).encode(),
        st.dictionaries(st.sampled_from(sorted(_RECORD)), _JSON | st.integers(), max_size=2),
        st.sets(st.sampled_from(sorted(_RECORD)), max_size=1),
    ),
)


@given(content=_CONTENT)
@example(content=b"[" * 100_000)
@example(content=json.dumps({**_RECORD, "pid": 10**400}).encode())
@example(content=json.dumps({**_RECORD, "venv": "\ud800"}).encode())
@example(content=b"\xff\xfe{\x00}\x00")
@examples(60)
def test_record_with_any_content_causes_no_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    home = tmp_path_factory.mktemp("registry")
    path = home / "runtimes" / "random.json"
    path.parent.mkdir()
    path.write_bytes(content)
    runner = CliRunner(env={"MRMD_HOME": str(home), "MRMD_BACKEND": "fork", "XDG_CONFIG_HOME": str(home)})
    for arguments in (
        ["--list"],
        ["--list", "--json"],
        ["--info", "random"],
        ["--info", "random", "--json"],
        ["--kill", "random"],
    ):
        done = runner.invoke(command, arguments)
        assert done.exception is None or isinstance(done.exception, (ServiceError, OSError)), (arguments, done.exc_info)
        if arguments[0] == "--list":
            assert "random" in done.output
    # A record without start time, as 0.4.2 wrote it, is kept while a process with its pid exists.
    assert not path.exists() or "0.4.2 or older" in str(done.exception), "--kill did not remove the record"
