"""A runtime under load: many streams, a long queue, many executions and sessions; none may leave anything behind.

MRMD_TEST_LONG=1 runs as many as a long day brings; `pytest -rP` shows the measured sizes.
"""

import contextlib
import json
import os

import psutil
import pytest

from tests.client import Client, text_of
from tests.machine import Machine, wait_until

_LONG = bool(os.environ.get("MRMD_TEST_LONG"))
# A session's processes, its reaper and its worker, and the server's descriptors for them. After a second session there
# are as many for a worker that is kept ready.
_PROCESSES, _DESCRIPTORS = 2, 7
_EXECUTIONS = 10_000 if _LONG else 600
_SESSIONS = 100 if _LONG else 6
# The memory that an execution may keep: its code, once in IPython's history and once in the server's.
_FLAT_BYTES = 4 * 1024

pytestmark = pytest.mark.timeout(1200 if _LONG else 240)


@pytest.fixture
def client(here: Machine) -> Client:
    return here.start("a")


class _Sizes:
    """The memory, descriptors and threads of the server and of the worker of `default`."""

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
            assert client.value("1 + 1", session="other") == "2", "another session was not served meanwhile"
            wait_until(
                lambda: client.post("/input", {"execId": "watched", "text": ""})["accepted"],
                "the cell accepts its input",
            )
            for events in watching:
                seen = list(events)
                assert text_of(seen, "stdout") == printed.replace("after 0", "\nafter 0")
                assert [event.name for event in seen][-2:] == ["result", "done"]
            print(f"\n200 open streams; before {before}; with them {_Sizes(client)}")
    wait_until(
        lambda: _Sizes(client).descriptors[0] <= before.descriptors[0] + 2 * _DESCRIPTORS + 2,
        "the server has closed the descriptors of the streams",
    )


def test_two_hundred_executions_stream_at_once(client: Client) -> None:
    with contextlib.ExitStack() as opened:
        code = "for n in range(20): print({0}, n)"
        streams = [opened.enter_context(client.streaming(code.format(number))) for number in range(200)]
        for number, events in enumerate(streams):
            assert text_of(list(events), "stdout") == "".join(f"{number} {n}\n" for n in range(20))


def test_queue_holds_1000_executions_and_rejects_more(client: Client) -> None:
    with client.streaming("order = []\ninput()", execId="blocker") as blocker:
        assert next(blocker).name == "start"
        for number in range(1000):
            connection = client.connect()
            body = json.dumps({"code": f"order.append({number})", "execId": f"q{number}"})
            connection.request("POST", "/mrp/v1/execute/stream", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
            connection.close()  # the execution stays queued without its client
        assert client.get("/sessions/default")["queued"] == 1000
        status, refused = client.request("POST", "/execute", {"code": "1"})
        assert (status, refused["code"]) == (429, "queue_full")
        with client.following("q500") as waiting:
            wait_until(
                lambda: client.post("/input", {"execId": "blocker", "text": ""})["accepted"],
                "the blocker accepts its input",
            )
            assert [event.name for event in waiting] == ["start", "result", "done"]
    assert client.value("order == list(range(1000))") == "True"
    assert len(client.get("/executions")["executions"]) <= 33, "the server keeps more than the last executions"


def test_memory_stays_flat_over_many_executions(client: Client) -> None:
    connection = client.connect()

    def execute(count: int) -> None:
        for number in range(count):
            body = json.dumps({"code": f"x = {number}; print(x)"})
            connection.request("POST", "/mrp/v1/execute", body, {"Content-Type": "application/json"})
            result = json.loads(connection.getresponse().read())
            assert result["stdout"] == f"{number}\n", result

    execute(_EXECUTIONS // 4)  # fills the caches
    before = _Sizes(client)
    execute(_EXECUTIONS)
    after = _Sizes(client)
    connection.close()
    print(f"\n{_EXECUTIONS} executions; before {before}; after {after}")
    for now, earlier in zip(after.memory, before.memory, strict=True):
        assert now - earlier < 4 * 2**20 + _EXECUTIONS * _FLAT_BYTES
    assert all(now <= earlier + 4 for now, earlier in zip(after.descriptors, before.descriptors, strict=True))
    assert all(now <= earlier for now, earlier in zip(after.threads, before.threads, strict=True))


def test_output_of_old_executions_is_freed(client: Client) -> None:
    """Each execution spills its output into a separate file; only the last executions are kept."""
    client.execute("1")
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    for _ in range(60):
        client.stream("print('x' * 1_000_000)", accumulated=False)
    assert server.num_fds() <= 64
    assert server.memory_info().rss - before < 64 * 2**20


def test_deleted_sessions_leave_nothing_behind(client: Client, here: Machine) -> None:
    client.execute("1")
    server = psutil.Process(client.pid)
    before = _Sizes(client)
    files_before = sorted(here.home.rglob("*"))
    pids: list[int] = []
    for number in range(_SESSIONS):
        session = f"s{number % 3}"
        code = "import os, subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=True)"
        client.execute(f"{code}; print('x' * 500_000)", session=session)
        pids.append(int(client.value("os.getpid()", session=session)))
        pids.append(int(client.value("child.pid", session=session)))
        if number % 3 == 2 or number == _SESSIONS - 1:
            for deleted in [found["id"] for found in client.get("/sessions")["sessions"] if found["id"] != "default"]:
                assert client.request("DELETE", f"/sessions/{deleted}") == (200, {"success": True})
    after = _Sizes(client)
    print(f"\n{_SESSIONS} sessions; before {before}; after {after}")
    assert here.alive(pids) == []
    assert len(server.children(recursive=True)) <= 2 * _PROCESSES, (
        "other processes are left than those of default and of the worker that is kept ready"
    )
    wait_until(
        lambda: _Sizes(client).descriptors[0] <= before.descriptors[0] + _DESCRIPTORS + 2,
        "the server has closed the descriptors of the sessions",
    )
    assert sorted(here.home.rglob("*")) == files_before
    assert after.memory[0] - before.memory[0] < 32 * 2**20


def test_session_limit_is_enforced(client: Client) -> None:
    """A hundred sessions need more descriptors than the usual limit of a process."""
    count = 100 if _LONG else 6
    for number in range(1, count):
        assert client.value(str(number), session=f"s{number}") == str(number)
    if _LONG:
        status, refused = client.request("POST", "/execute", {"code": "1", "session": "one-more"})
        assert (status, refused["code"]) == (429, "too_many_sessions")
    for number in range(1, count):
        assert client.request("DELETE", f"/sessions/s{number}")[0] == 200
    assert len(psutil.Process(client.pid).children(recursive=True)) <= 2 * _PROCESSES
