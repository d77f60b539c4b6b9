"""A runtime under load: many streams, a long queue, many executions and sessions, and nothing left of any.

MRMD_TEST_LONG=1 makes each of them what a long day brings; `pytest -rP` shows the figures.
"""

import contextlib
import json
import os

import psutil
import pytest

from tests.client import Client, text_of
from tests.machine import Machine, wait_until

_LONG = bool(os.environ.get("MRMD_TEST_LONG"))
_EXECUTIONS = 10_000 if _LONG else 600
_SESSIONS = 100 if _LONG else 6
# What an execution may leave behind at most: IPython keeps its code, and a session of its history as much.
_FLAT_BYTES = 4 * 1024

pytestmark = pytest.mark.timeout(1200 if _LONG else 240)


@pytest.fixture
def client(here: Machine) -> Client:
    return here.start("a")


class _Sizes:
    """What the server and the worker of `default` hold."""

    def __init__(self, client: Client) -> None:
        processes = [psutil.Process(client.pid), psutil.Process(client.get("/sessions/default")["pid"])]
        self.memory = [process.memory_info().rss for process in processes]
        self.descriptors = [process.num_fds() for process in processes]
        self.threads = [process.num_threads() for process in processes]

    def __str__(self) -> str:
        megabytes = " and ".join(f"{memory / 2**20:.1f}" for memory in self.memory)
        return f"server and worker: {megabytes} MB, descriptors {self.descriptors}, threads {self.threads}"


def test_two_hundred_streams_at_once_are_all_complete(client: Client) -> None:
    code = "for n in range(1000): print('before', n)\ninput()\nfor n in range(1000): print('after', n)"
    printed = "".join(f"{when} {n}\n" for when in ("before", "after") for n in range(1000))
    before = _Sizes(client)
    with client.streaming(code, execId="watched") as first:
        assert next(first).name == "start"
        with contextlib.ExitStack() as opened:
            watching = [opened.enter_context(client.following("watched")) for _ in range(200)]
            assert client.value("1 + 1", session="other") == "2", "others are served meanwhile"
            wait_until(lambda: client.post("/input", {"execId": "watched", "text": ""})["accepted"], "it has asked")
            for events in watching:
                seen = list(events)
                assert text_of(seen, "stdout") == printed.replace("after 0", "\nafter 0")
                assert [event.name for event in seen][-2:] == ["result", "done"]
            print(f"\n200 streams held; before {before}; with them {_Sizes(client)}")
    wait_until(lambda: _Sizes(client).descriptors[0] <= before.descriptors[0] + 8, "their descriptors are free")


def test_two_hundred_executions_stream_at_once(client: Client) -> None:
    with contextlib.ExitStack() as opened:
        code = "for n in range(20): print({0}, n)"
        streams = [opened.enter_context(client.streaming(code.format(number))) for number in range(200)]
        for number, events in enumerate(streams):
            assert text_of(list(events), "stdout") == "".join(f"{number} {n}\n" for n in range(20))


def test_queue_holds_a_thousand_executions_and_refuses_more(client: Client) -> None:
    with client.streaming("order = []\ninput()", execId="blocker") as blocker:
        assert next(blocker).name == "start"
        for number in range(1000):  # whose clients go away at once
            client_of_one = client.connect()
            body = json.dumps({"code": f"order.append({number})", "execId": f"q{number}"})
            client_of_one.request("POST", "/mrp/v1/execute/stream", body, {"Content-Type": "application/json"})
            assert client_of_one.getresponse().status == 200
            client_of_one.close()
        assert client.get("/sessions/default")["queued"] == 1000
        status, refused = client.request("POST", "/execute", {"code": "1"})
        assert (status, refused["code"]) == (429, "queue_full")
        with client.following("q500") as waiting:
            wait_until(lambda: client.post("/input", {"execId": "blocker", "text": ""})["accepted"], "it has asked")
            assert [event.name for event in waiting] == ["start", "result", "done"]
    assert client.value("order == list(range(1000))") == "True"
    assert len(client.get("/executions")["executions"]) <= 33, "only the last are kept"


def test_memory_stays_flat_over_many_executions(client: Client) -> None:
    connection = client.connect()

    def execute(count: int) -> None:
        for number in range(count):
            body = json.dumps({"code": f"x = {number}; print(x)"})
            connection.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
            result = json.loads(connection.getresponse().read())
            assert result["stdout"] == f"{number}\n", result

    execute(_EXECUTIONS // 4)  # what is made once, and kept to a bound
    before = _Sizes(client)
    execute(_EXECUTIONS)
    after = _Sizes(client)
    connection.close()
    print(f"\n{_EXECUTIONS} executions; before {before}; after {after}")
    for held, was in zip(after.memory, before.memory, strict=True):
        assert held - was < 4 * 2**20 + _EXECUTIONS * _FLAT_BYTES
    assert all(held <= was + 4 for held, was in zip(after.descriptors, before.descriptors, strict=True))
    assert all(held <= was for held, was in zip(after.threads, before.threads, strict=True))


def test_output_of_old_executions_is_freed(client: Client) -> None:
    """Each spills into a file of its own, and only the last of them are kept."""
    client.execute("1")
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    for _ in range(60):
        client.stream("print('x' * 1_000_000)", accumulated=False)
    assert server.num_fds() <= 64
    assert server.memory_info().rss - before < 64 * 2**20


def test_sessions_that_come_and_go_leave_nothing(client: Client, here: Machine) -> None:
    client.execute("1")
    server = psutil.Process(client.pid)
    before = _Sizes(client)
    files_before = sorted(here.home.rglob("*"))
    gone: list[int] = []
    for number in range(_SESSIONS):
        session = f"s{number % 3}"
        code = "import os, subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=True)"
        client.execute(f"{code}; print('x' * 500_000)", session=session)
        gone.append(int(client.value("os.getpid()", session=session)))
        gone.append(int(client.value("child.pid", session=session)))
        if number % 3 == 2 or number == _SESSIONS - 1:
            for deleted in [found["id"] for found in client.get("/sessions")["sessions"] if found["id"] != "default"]:
                assert client.request("DELETE", f"/sessions/{deleted}") == (200, {"success": True})
    after = _Sizes(client)
    print(f"\n{_SESSIONS} sessions came and went; before {before}; after {after}")
    assert here.alive(gone) == []
    assert len(server.children(recursive=True)) == 2, "the reaper of default, and its worker"
    wait_until(lambda: _Sizes(client).descriptors[0] <= before.descriptors[0] + 2, "its descriptors are free")
    assert sorted(here.home.rglob("*")) == files_before
    assert after.memory[0] - before.memory[0] < 32 * 2**20


def test_session_limit_is_enforced(client: Client) -> None:
    """One more is refused. They hold more descriptors than an ordinary process may have."""
    count = 100 if _LONG else 6
    for number in range(1, count):
        assert client.value(str(number), session=f"s{number}") == str(number)
    if _LONG:
        status, refused = client.request("POST", "/execute", {"code": "1", "session": "one-more"})
        assert (status, refused["code"]) == (429, "too_many_sessions")
    for number in range(1, count):
        assert client.request("DELETE", f"/sessions/s{number}")[0] == 200
    assert len(psutil.Process(client.pid).children(recursive=True)) == 2
