"""Executions: listing, reading, resuming streams and deleting."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Client, Event, text_of
from tests.machine import Machine, wait_until


@pytest.fixture
def gate(here: Machine) -> Iterator[Path]:
    """A file that cells wait for; the teardown creates it, so that no cell is left waiting."""
    yield here.home / "gate"
    (here.home / "gate").touch()


def _waiting(gate: Path, code: str = "") -> str:
    """Return code that waits for the gate, then runs `code`."""
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n{code}"


def _execution(client: Client, exec_id: str) -> dict[str, object]:
    return client.get(f"/executions/{exec_id}")


def test_executions_are_listed_with_their_states(client: Client, gate: Path) -> None:
    client.execute("1", execId="fine", cellId="cell-1")
    client.execute("1 / 0", execId="bad")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.execute, _waiting(gate), execId="runs")
        wait_until(lambda: _execution_state(client, "runs") == "running", "the first execution is running")
        queued = pool.submit(client.execute, "2", execId="waits")
        wait_until(lambda: _execution_state(client, "waits") == "queued", "the second execution is queued")
        client.execute("3", execId="elsewhere", session="other")
        listed = client.get("/executions")["executions"]
        assert [(found["execId"], found["session"], found["cellId"], found["state"]) for found in listed] == [
            ("fine", "default", "cell-1", "done"),
            ("bad", "default", None, "error"),
            ("runs", "default", None, "running"),
            ("waits", "default", None, "queued"),
            ("elsewhere", "other", None, "done"),
        ]
        assert [sorted(key for key in ("created", "started", "ended") if found[key]) for found in listed[2:4]] == [
            ["created", "started"],
            ["created"],
        ]
        assert [found["execId"] for found in client.get("/executions?session=other")["executions"]] == ["elsewhere"]
        assert client.get("/executions?session=none")["executions"] == []
        assert client.request("GET", "/sessions/none")[0] == 404, "listing the executions of a session created it"
        assert "result" not in _execution(client, "runs")
        gate.touch()
        result = running.result()
        assert _execution(client, "runs")["result"] == result
        assert queued.result()["result"] == "2"
    assert _execution(client, "bad")["result"] == client.execute("1 / 0", execId="bad")
    assert client.request("GET", "/executions/never")[0] == 404


def _execution_state(client: Client, exec_id: str) -> str | None:
    status, found = client.request("GET", f"/executions/{exec_id}")
    return str(found["state"]) if status == 200 else None


def test_execution_id_may_contain_any_characters(client: Client) -> None:
    for exec_id, quoted in (("a/b c?d#é%2F", "a%2Fb%20c%3Fd%23%C3%A9%252F"), ("..", "%2E%2E"), ("stream", "stream")):
        client.execute("7", execId=exec_id)
        assert _execution(client, quoted)["execId"] == exec_id
        assert client.follow(quoted)[0].data["execId"] == exec_id
        assert client.request("DELETE", f"/executions/{quoted}") == (200, {"success": True})


def test_after_before_first_event_streams_from_the_start(client: Client) -> None:
    client.execute("print('x')", execId="x")
    for number in (0, -1, -(10**30)):
        events = client.follow("x", f"?after={number}")
        assert [event.name for event in events[:2]] == ["start", "stdout"]
        assert text_of(events, "stdout") == "x\n"


def test_after_past_last_event_streams_only_new_events(client: Client, gate: Path) -> None:
    with client.streaming(_waiting(gate, "print('late')"), execId="x") as events:
        next(events)
        with client.following("x", f"?after={10**30}") as rest:
            gate.touch()
            received = list(rest)
    assert text_of(received, "stdout") == "late\n"
    assert {"start", "error"}.isdisjoint(event.name for event in received)
    assert client.follow("x", f"?after={10**30}") == []


def test_after_rejects_invalid_numbers(client: Client) -> None:
    client.execute("1", execId="x")
    numbers = ["x", "1.5", "1e3", "0x1", "--1"]
    for number in (*numbers, "9" * 4000, "", "%201", "%D9%A3"):
        status, answer = client.request("GET", f"/executions/x/stream?after={number}")
        assert (status, answer["code"]) == (400, "bad_event_id")
    for number in (*numbers, "9" * 5000):  # int() reads at most 4300 digits
        status, answer = client.request("GET", "/executions/x/stream?after=0", headers={"Last-Event-ID": number})
        assert (status, answer["code"]) == (400, "bad_event_id")


def test_accumulated_text_can_be_turned_off(client: Client) -> None:
    client.execute("print('x')", execId="x")
    assert client.follow("x", "?accumulated=false")[1].data == {"content": "x\n"}
    assert client.follow("x", "?accumulated=true")[1].data == {"content": "x\n", "accumulated": "x\n"}
    assert client.request("GET", "/executions/x/stream?accumulated=maybe")[0] == 400


def test_reattaching_after_dropped_output_reports_exactly_what_is_missing(client: Client, gate: Path) -> None:
    """The log keeps the first and the last 32 MiB; a client resumes from the dropped part, or from just before it."""
    line = "x" * 1023 + "\n"
    flood = f"import sys\nfor n in range(40): _ = sys.stdout.write({line!r} * 1024)\n"
    with client.streaming(flood + _waiting(gate, flood.replace("40", "120")), execId="x", accumulated=False) as events:
        seen: list[Event] = []
        while sum(len(event.data.get("content", "")) for event in seen) < 40 * 2**20:
            seen.append(next(events))
    gate.touch()
    wait_until(lambda: _execution_state(client, "x") == "done", "the execution has ended", seconds=60)
    for last in (seen[len(seen) // 2], seen[-1]):
        received = sum(len(event.data.get("content", "")) for event in seen if event.id <= last.id)
        rest = client.follow("x", f"?after={last.id}&accumulated=false")
        (gap,) = [position for position, event in enumerate(rest) if "left out" in event.data.get("content", "")]
        missed = int(rest[gap].data["content"].split()[1])
        assert received + missed + len(text_of(rest[:gap] + rest[gap + 1 :], "stdout")) == 160 * 2**20
        assert client.follow("x", f"?after={rest[gap].id}&accumulated=false") == rest[gap + 1 :]
        final = client.follow("x", f"?after={last.id}")[-2].data["stdout"]
        head, _, tail = final.partition("\n[mrmd-python: ")
        count, _, tail = tail.partition(" bytes of output are left out here]\n")
        assert len(head) + int(count) + len(tail) == 160 * 2**20


def test_deleting_a_queued_execution_removes_it_from_the_queue(client: Client, gate: Path) -> None:
    with client.streaming(_waiting(gate), execId="runs") as events:
        next(events)
        with client.streaming("ran = True", execId="waits") as waiting:
            assert client.get("/sessions/default")["queued"] == 1
            assert client.request("DELETE", "/executions/waits") == (200, {"success": True})
            assert client.get("/sessions/default")["queued"] == 0
            received = list(waiting)
        assert [event.name for event in received] == ["start", "error", "done"]
        error = received[1].data
        assert (error["type"], error["message"]) == (
            "ExecutionDropped",
            "not run: it was deleted",
        )
        gate.touch()
        assert [event.name for event in events] == ["result", "done"], "the running execution was not interrupted"
    assert client.value("'ran' in globals()") == "False"


def test_deleting_a_running_execution_interrupts_it(client: Client) -> None:
    with client.streaming("import time\nprint('up')\nwhile True: time.sleep(0.01)", execId="x") as events:
        next(events)
        assert client.request("DELETE", "/executions/x") == (200, {"success": True})
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
    assert _execution(client, "x")["state"] == "error", (
        "clients must be able to read how the interrupted execution ended"
    )
    assert client.request("DELETE", "/executions/x") == (200, {"success": True})
    assert client.request("DELETE", "/executions/x")[0] == 404
    assert client.request("GET", "/executions/x/stream")[0] == 404
    assert client.execute("'again'", execId="x")["result"] == "'again'"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("1 +", "SyntaxError"),
        ("import sys; sys.exit(1)", "SystemExit"),
        ("import os; os._exit(1)", "SessionDied"),
        ("%no_such_magic", "UsageError"),
    ],
)
def test_stop_on_error_stops_at_every_kind_of_error(client: Client, gate: Path, code: str, kind: str) -> None:
    """The first cell keeps the session busy until the others are queued."""
    with ThreadPoolExecutor() as pool, client.streaming(_waiting(gate)) as events:
        next(events)
        failing = pool.submit(client.execute, code, execId="fails", stopOnError=True)
        wait_until(lambda: client.get("/sessions/default")["queued"] == 1, "the failing execution is queued")
        behind = pool.submit(client.execute, "1", stopOnError=True)
        wait_until(lambda: client.get("/sessions/default")["queued"] == 2, "the execution after it is queued")
        gate.touch()
        assert failing.result()["error"]["type"] == kind
        error = behind.result()["error"]
    assert (error["type"], error["message"]) == ("Aborted", f"not run: execution 'fails' failed with {kind}")
    assert client.value("40 + 2") == "42"


def test_execution_id_belongs_to_one_session(client: Client) -> None:
    client.execute("count = 1", execId="x")
    status, answer = client.request("POST", "/execute", {"code": "count = 1", "execId": "x", "session": "other"})
    assert (status, answer["code"]) == (409, "exec_id_in_use")
    assert client.request("GET", "/sessions/other")[0] == 404, "the rejected execution created a session"


def test_executions_can_be_deleted_while_they_start_and_end(client: Client) -> None:
    def delete_all() -> None:
        for number in range(100):
            wait_until(lambda n=number: client.request("DELETE", f"/executions/{n}")[0] == 200, "the execution exists")  # type: ignore[misc]

    deleting = threading.Thread(target=delete_all)
    deleting.start()
    for number in range(100):
        result = client.execute("total = globals().get('total', 0) + 1", execId=str(number))
        assert result["success"] or result["error"]["type"] in ("ExecutionDropped", "KeyboardInterrupt")
    deleting.join()
    assert client.value("40 + 2") == "42"
