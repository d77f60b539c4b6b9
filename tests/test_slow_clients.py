"""Clients that send slowly, vanish or never read: others are not affected, and their connections are closed in time."""

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.client import Client
from tests.machine import Machine, wait_until

_TCP_REPAIR = 19  # linux/tcp.h


@pytest.fixture
def client(here: Machine) -> Client:
    client = here.start("a")
    client.execute("kept = 42")
    return client


@contextlib.contextmanager
def _connected(client: Client, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(("127.0.0.1", client.port))) for _ in range(count)]


def _post(path: str, body: bytes, length: "int | None" = None) -> bytes:
    head = f"POST /mrp/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def _answer_of(connection: socket.socket) -> bytes:
    """Return everything that arrives until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(4096):
            answer += chunk
    return answer


def test_client_that_sends_a_byte_at_a_time_is_dropped(client: Client) -> None:
    before = psutil.Process(client.pid).num_fds()
    with _connected(client, 90) as slow, selectors.DefaultSelector() as waiting:
        silent, in_head, in_body = slow[:30], slow[30:60], slow[60:]
        for connection in in_head:
            connection.sendall(b"GET /mrp/v1/capabilities HTTP/1.1\r\nHost: localhost\r\nX: ")
        for connection in in_body:
            connection.sendall(_post("/execute", b'{"code": "', length=10_000_000))
        for connection in slow:
            waiting.register(connection, selectors.EVENT_READ)
        while len(waiting.get_map()) > 0:  # until the server has answered or closed all of them
            for key, _ in waiting.select(timeout=0.1):
                waiting.unregister(key.fileobj)
            for connection in (*in_head, *in_body):
                with contextlib.suppress(KeyError, ConnectionError):
                    waiting.get_key(connection)
                    connection.send(b"x")
            assert client.get("/capabilities")["runtime"] == "mrmd-python"
        answers = [_answer_of(connection) for connection in in_body]
        assert {answer.split(b"\r\n", 1)[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}
        assert json.loads(answers[0].partition(b"\r\n\r\n")[2])["code"] == "slow_body"
        assert {_answer_of(connection) for connection in (*silent, *in_head)} == {b""}
    wait_until(lambda: psutil.Process(client.pid).num_fds() <= before + 2, "the server has closed the connections")
    assert client.value("kept") == "42"


def test_request_that_arrives_while_the_server_is_stopped_is_answered(client: Client) -> None:
    with _connected(client, 1) as (connection,):
        client.get("/capabilities")  # connections are accepted in order
        deadline = time.monotonic() + 17  # the server allows 15 seconds
        os.kill(client.pid, signal.SIGSTOP)
        try:
            connection.sendall(b"GET /mrp/v1/capabilities HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            wait_until(lambda: time.monotonic() > deadline, "the deadline has passed")
        finally:
            os.kill(client.pid, signal.SIGCONT)
        assert _answer_of(connection).startswith(b"HTTP/1.1 200 OK")


def test_large_body_is_accepted(client: Client) -> None:
    text = "é" * 5_000_000
    result = client.execute(f"len('{text}')")
    assert result["result"] == "5000000"


def test_connection_of_vanished_client_is_closed(client: Client) -> None:
    """A cut cable or a suspended machine leaves a connection of which only the server's end exists."""
    before = psutil.Process(client.pid).num_fds()
    code = "input()\nfor n in range(1000): print(n)\nend = 'reached'"
    body = json.dumps({"code": code, "execId": "e"}).encode()
    with _connected(client, 20) as connections:
        for connection in connections:
            connection.sendall(_post("/execute/stream", body))
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        for connection in connections:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
            except PermissionError:
                pytest.skip("only root can close a connection silently (TCP_REPAIR)")
    wait_until(lambda: client.post("/input", {"execId": "e", "text": ""})["accepted"], "the cell accepts its input")
    assert client.value("end") == "'reached'"
    wait_until(lambda: psutil.Process(client.pid).num_fds() <= before + 2, "the server has closed the connections", 60)


def test_half_closed_connection_does_not_affect_its_execution(client: Client) -> None:
    before = psutil.Process(client.pid).num_fds()
    with _connected(client, 20) as connections:
        for number, connection in enumerate(connections):
            code = f"input()\nhalf{number} = {number}"
            fields = {"code": code, "execId": f"e{number}", "allowStdin": True}
            connection.sendall(_post("/execute", json.dumps(fields).encode()))
        wait_until(lambda: len(client.get("/executions")["executions"]) == 21, "all executions are queued")
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
            _answer_of(connection)
    for number in range(20):
        request = {"execId": f"e{number}", "text": ""}
        wait_until(lambda request=request: client.post("/input", request)["accepted"], "the cell accepts its input")  # type: ignore[misc]
    assert client.value("[half0, half19]") == "[0, 19]"
    wait_until(lambda: psutil.Process(client.pid).num_fds() <= before + 2, "the server has closed the connections")


def test_clients_that_never_read_cost_bounded_memory(client: Client) -> None:
    server = psutil.Process(client.pid)
    before, descriptors = server.memory_info().rss, server.num_fds()
    code = json.dumps({"code": "for n in range(200): print('x' * 100_000)", "execId": "e"}).encode()
    with _connected(client, 40) as connections:
        for connection in connections:
            connection.sendall(_post("/execute/stream", code))
        wait_until(lambda: _states(client).get("e") == "done", "the execution has ended without readers")
        assert client.value("kept") == "42"
        grown = server.memory_info().rss - before
        assert grown < 128 * 2**20, f"the server has grown by {grown / 2**20:.0f} MB"
        assert len(_chunked_answer_of(connections[0])) > 20_000_000, "a client that reads late does not get all output"
    wait_until(lambda: server.num_fds() <= descriptors + 4, "the server has closed the connections")


def test_client_that_stops_reading_does_not_stop_the_code(client: Client) -> None:
    code = "import sys\nfor n in range(200): _ = sys.stdout.write(('x' * 1023 + '\\n') * 1024)\nend = 'reached'"
    with _connected(client, 1) as (connection,):
        connection.sendall(_post("/execute/stream", json.dumps({"code": code, "accumulated": False}).encode()))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert client.value("end") == "'reached'"


def _states(client: Client) -> dict[str, str]:
    return {execution["execId"]: execution["state"] for execution in client.get("/executions")["executions"]}


def _chunked_answer_of(connection: socket.socket) -> bytes:
    """Return everything that arrives up to the last chunk of the response."""
    answer = bytearray()
    while not answer.endswith(b"\r\n0\r\n\r\n"):
        received = connection.recv(1 << 20)
        assert received, "the connection was closed within the response"
        answer += received
    return bytes(answer)
