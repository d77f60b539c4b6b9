"""MRP: who asks for an execution, and the stream of what happens in a session."""

from collections.abc import Iterator
from itertools import islice

import pytest

from tests.client import Client, Event, Run, text_of
from tests.machine import wait_until

# A number past every event: the stream has only what happens from now on.
_NEW = "?after=99999999999999999999"


def _until_ended(events: Iterator[Event], exec_id: str) -> list[Event]:
    """Return the next events, up to the end of an execution."""
    received = []
    for event in events:
        received.append(event)
        if (event.name, event.data.get("execId")) == ("ended", exec_id):
            break
    return received


@pytest.mark.row(
    "client: who asks for the execution; else the User-Agent's name; else null. Executions have code and rich"
)
def test_executions_have_client_code_and_rich(server: Client, session: str) -> None:
    def listed(agent: str | None, **fields: object) -> list[object]:
        exec_id = f"{session}-{agent}-{len(fields)}".replace("/", "-").replace(" ", "-")
        body = {"code": "1 + 1", "session": session, "execId": exec_id, **fields}
        assert server.call("POST", "/execute", body, {} if agent is None else {"User-Agent": agent}).status == 200
        found = server.get(f"/executions/{exec_id}")
        (entry,) = (each for each in server.get("/executions")["executions"] if each["execId"] == exec_id)
        assert {**entry, "result": found["result"]} == found
        return [found["client"], found["code"], found["rich"]]

    assert listed(None) == [None, "1 + 1", False]
    assert listed("curl/8.5.0") == ["curl", "1 + 1", False]
    assert listed("Mozilla/5.0 (X11; Linux) Firefox/130.0", rich=True) == ["Mozilla", "1 + 1", True]
    assert listed("curl/8.5.0", client="notebook é") == ["notebook é", "1 + 1", False]
    for client in ("x" * 257, "\x1b[31m", 1):
        server.refused(400, "POST", "/execute", {"code": "1", "session": session, "client": client})


@pytest.mark.row("GET /sessions/{id}/events: queued, started, ended, each with the execution")
def test_activity_reports_each_execution(server: Client, session: str) -> None:
    server.post("/sessions", {"id": session})
    with server.watching(session) as events:
        server.post(
            "/execute",
            {
                "code": "1 / 0",
                "session": session,
                "execId": f"{session}-1",
                "client": "me",
                "cellId": "c",
                "rich": True,
            },
        )
        received = _until_ended(events, f"{session}-1")
    assert [event.name for event in received] == ["queued", "started", "ended"]
    assert [event.data["state"] for event in received] == ["queued", "running", "error"]
    execution = server.get(f"/executions/{session}-1")
    del execution["result"]
    assert received[2].data == execution
    for event in received:
        assert {name: event.data[name] for name in ("execId", "session", "code", "client", "cellId", "rich")} == {
            "execId": f"{session}-1", "session": session, "code": "1 / 0", "client": "me", "cellId": "c", "rich": True,
        }  # fmt: skip
    assert {event.fields for event in received} == {("id", "event", "data")}


@pytest.mark.row("an execution that is removed from the queue ends without having started")
def test_dropped_execution_ends_without_a_start(server: Client, session: str) -> None:
    with server.streaming("input()", session=session, execId=f"{session}-runs") as running:
        while next(running).name != "stdin_request":
            pass
        with (
            server.watching(session, _NEW) as events,
            server.streaming("1", session=session, execId=f"{session}-waits") as waiting,
        ):
            assert server.call("DELETE", f"/executions/{session}-waits").status == 200
            list(waiting)
            received = _until_ended(events, f"{session}-waits")
        server.post("/interrupt", {"session": session})
        list(running)
    assert [event.name for event in received] == ["queued", "ended"]
    assert received[1].data["state"] == "error"


@pytest.mark.row("stdout, stderr {content} and display that come while nothing runs, and no output of executions")
def test_activity_has_output_of_an_idle_session_only(server: Client, session: str, run: Run) -> None:
    code = """
import os, sys, threading, time
from IPython.display import display
go = threading.Event()
def late():
    go.wait(); time.sleep(0.1)
    print("é"); print("wrong", file=sys.stderr)
    display({"text/plain": "plain", "image/png": b"png"}, raw=True, metadata={"m": 1}, display_id="d")
threading.Thread(target=late).start()
print("not this")
"""
    run(code)
    with server.watching(session, _NEW) as events:
        run("go.set()", execId=f"{session}-go")
        assert [event.name for event in _until_ended(events, f"{session}-go")] == ["queued", "started", "ended"]
        received: list[Event] = []
        while not received or received[-1].name != "display":
            received.append(next(events))
    assert (text_of(received, "stdout"), text_of(received, "stderr")) == ("é\n", "wrong\n"), (
        "a display must not be printed as well"
    )
    assert received[-1].data == {
        "data": {"text/plain": "plain", "image/png": "cG5n"}, "metadata": {"m": 1}, "displayId": "d", "update": False,
    }  # fmt: skip


@pytest.mark.row("Last-Event-ID: or ?after=N, as any stream")
def test_activity_resumes_after_any_event(server: Client, session: str, run: Run) -> None:
    for number in range(3):
        run(f"{number}", execId=f"{session}-{number}")
    with server.watching(session) as events:
        whole = list(islice(events, 9))
    assert [event.name for event in whole] == ["queued", "started", "ended"] * 3
    for position, event in enumerate(whole[:-1]):
        for query, headers in ((f"?after={event.id}", {}), ("?after=0", {"Last-Event-ID": str(event.id)})):
            with server.watching(session, query, headers) as events:
                assert list(islice(events, 8 - position)) == whole[position + 1 :]
    with server.watching(session, _NEW) as events:
        run("'new'", execId=f"{session}-new")
        assert next(events).data["execId"] == f"{session}-new"
    server.refused(400, "GET", f"/sessions/{session}/events?after=soon")


@pytest.mark.row("bounded memory: who returns too late starts at the oldest event that is kept")
def test_activity_keeps_the_newest_events(server: Client, session: str, run: Run) -> None:
    for number in range(40):
        run(f"{'#' * 30_000}\n{number}", execId=f"{session}-{number}")
    run("#" * 1_000_000, execId=f"{session}-long")
    with server.watching(session) as events:
        received = _until_ended(events, f"{session}-long")
    assert received[0].data["execId"] != f"{session}-0"
    assert 10 < len(received) < 100
    assert received[-1].data["code"].startswith("#" * 1000)
    assert "characters are left out here" in received[-1].data["code"]
    assert len(server.get(f"/executions/{session}-long")["code"]) == 1_000_000


@pytest.mark.row("the stream ends when the session is deleted, not when it is reset; no such session: 404")
def test_activity_ends_with_the_session(server: Client, session: str, run: Run) -> None:
    server.refused(404, "GET", f"/sessions/{session}/events")
    run("1", execId=f"{session}-1")
    with server.watching(session) as events:
        assert len(_until_ended(events, f"{session}-1")) == 3
        server.post(f"/sessions/{session}/reset")
        run("2", execId=f"{session}-2")
        assert [event.name for event in _until_ended(events, f"{session}-2")] == ["queued", "started", "ended"]
        last = server.post("/execute", {"code": "3", "session": session, "execId": f"{session}-3"})
        number = _until_ended(events, last["execId"])[-1].id
        assert server.call("DELETE", f"/sessions/{session}").status == 200
        assert list(events) == []
    run("4", execId=f"{session}-4")
    with server.watching(session, f"?after={number}") as events:
        assert next(events).data["execId"] == f"{session}-4", "a client that returns to a new session misses its events"
    wait_until(lambda: server.get(f"/sessions/{session}")["state"] == "idle", "the session is idle")
