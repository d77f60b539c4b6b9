"""MRP, "Execution": its requests, its result, and the endpoints of an existing execution."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.client import Client, Run, names_of, text_of
from tests.machine import wait_until

_RESULT = {
    *("success", "stdout", "stderr", "result", "error", "displayData", "assets", "executionCount", "duration"),
    *("imports", "execId"),
}


@pytest.mark.row("ExecuteResult")
def test_successful_execution_has_every_result_field(run: Run) -> None:
    found = run(
        "import os.path, sys as s\nfrom json import dumps\nprint('out'); print('err', file=s.stderr)\n6 * 7", execId="r"
    )
    assert found.keys() >= _RESULT
    assert found["success"] is True
    assert (found["stdout"], found["stderr"], found["result"]) == ("out\nOut[1]: 42\n", "err\n", "42")
    assert (found["error"], found["displayData"], found["assets"]) == (None, [], [])
    assert (found["executionCount"], found["execId"]) == (1, "r")
    assert sorted(found["imports"]) == ["json", "os", "sys"]
    assert 0 <= found["duration"] < 60_000
    assert run("x = 1")["result"] is None


@pytest.mark.row("ExecuteResult.error {type, message, traceback[], line, column}; line and column point into the cell")
def test_failed_execution_has_error_with_line(run: Run) -> None:
    found = run("def f():\n    return {}['é']\n\nf()", execId="bad")
    error = found["error"]
    assert (found["success"], found["result"]) == (False, None)
    assert set(error) == {"type", "message", "traceback", "line", "column"}
    assert (error["type"], error["message"]) == ("KeyError", "'é'")
    assert error["line"] == 2
    assert "\x1b" not in "".join(error["traceback"]), "the traceback must have no colours"
    assert "mrmd" not in "".join(error["traceback"]), "the traceback must have only the user's frames"
    assert "KeyError" in found["stdout"] + found["stderr"], (
        "the output must have the error too, for clients that show only text"
    )
    assert run("x = (\n1 +* 2)")["error"]["type"] == "SyntaxError"
    assert run("x = 1\ny = = 2")["error"]["line"] == 2


def _is_shortened(text: str, whole: str) -> bool:
    """Return whether `text` is the two ends of `whole`, around a line that says how many characters are left out."""
    head, _, rest = text.partition("\n[mrmd-python: ")
    count, _, tail = rest.partition(" characters are left out here]\n")
    assert len(text) < 256 * 1024
    return whole.startswith(head) and whole.endswith(tail) and len(head) + int(count) + len(tail) == len(whole)


@pytest.mark.row("`result` and `error` texts are bounded like the output")
def test_long_results_and_errors_are_shortened(server: Client, session: str, run: Run) -> None:
    line = "0123456789" * 100_000
    found = run("line = '0123456789' * 100_000; line")
    assert _is_shortened(found["result"], f"'{line}'")
    assert found["stdout"] == f"Out[1]: '{line}'\n", "the output must not be shortened"
    assert run("line[:200_000]")["result"] == f"'{line[:200_000]}'"
    rich = run("class C:\n    def _repr_mimebundle_(self, **_): return {'text/plain': line, 'a/b': line}\nC()")
    assert _is_shortened(rich["displayData"][0]["data"]["text/plain"], line)
    assert rich["displayData"][0]["data"]["a/b"] == line, "other MIME forms must not be shortened"
    events = server.stream("raise ValueError(line)", session=session)
    for error in (run("raise ValueError(line)")["error"], events[-2].data):
        assert _is_shortened(error["message"], line)
        assert "characters are left out here" in "\n".join(error["traceback"])
        assert "ValueError" in error["traceback"][1]
        assert error["traceback"][-1].endswith(line[-1000:])
        assert sum(map(len, error["traceback"])) < 256 * 1024
    short = run("raise ValueError('short')")["error"]
    assert (short["message"], short["traceback"][-1]) == ("short", "ValueError: short")


@pytest.mark.row("storeHistory (true), silent (false)")
def test_store_history_and_silent_decide_what_is_counted(run: Run) -> None:
    assert run("1")["executionCount"] == 1
    run("2", storeHistory=False)
    assert run("3")["executionCount"] == 2
    assert run("4", silent=True)["stdout"] == ""


@pytest.mark.row("displayData [{data{mime: value}, metadata}]; display(obj) that makes no image prints its text/plain")
def test_display_prints_its_text(run: Run) -> None:
    shown = "{'text/plain': 'plain', 'x/y': 'rich'}, raw=True, metadata={'a': 1}"
    found = run(f"from IPython.display import display\ndisplay({shown})")
    assert found["displayData"] == [{"data": {"text/plain": "plain", "x/y": "rich"}, "metadata": {"a": 1}}]
    assert "plain" in found["stdout"]


@pytest.mark.row(
    "/execute has no stdin: input() raises at once, saying so; allowStdin (true for stream, false otherwise)"
)
def test_input_without_stdin_raises(server: Client, session: str, run: Run) -> None:
    assert run("input()")["error"]["message"]
    events = server.stream("input()", session=session, allowStdin=False)
    assert names_of(events)[-2:] == ["error", "done"]


@pytest.mark.row("Idempotent: the same execId with the same code attaches; with other code it is 409")
def test_execution_sent_twice_runs_once(server: Client, session: str, run: Run) -> None:
    code = "count = globals().get('count', 0) + 1; import time; time.sleep(0.3); print(count)"
    exec_id = f"{session}-once"
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: run(code, execId=exec_id), range(2)))
    assert both[0] == both[1] == run(code, execId=exec_id)
    assert text_of(server.stream(code, session=session, execId=exec_id), "stdout") == "1\n"
    server.refused(409, "POST", "/execute", {"code": "other", "session": session, "execId": exec_id})


@pytest.mark.row(
    "POST /input: exec_id or execId, text (a trailing newline is stripped; echoed to stdout, not for passwords)"
)
def test_input_text_reaches_the_cell(server: Client, session: str) -> None:
    code = "import getpass\nprint(repr(input('Name? ')), len(getpass.getpass('Key: ')))"
    exec_id = f"{session}-input"
    requests = []
    events = []
    with server.streaming(code, session=session, execId=exec_id) as stream:
        for event in stream:
            events.append(event)
            if event.name == "stdin_request":
                requests.append(event.data)
                name, text = ("exec_id", "Adé\n") if len(requests) == 1 else ("execId", "s3cret")
                assert server.post("/input", {name: exec_id, "text": text}) == {"accepted": True}
    assert requests == [
        {"prompt": "Name? ", "password": False, "execId": exec_id},
        {"prompt": "Key: ", "password": True, "execId": exec_id},
    ]
    assert text_of(events, "stdout") == "Name? Adé\nKey: 'Adé' 6\n"
    assert names_of(events)[:3] == ["start", "stdout", "stdin_request"], "the prompt must be printed before the request"


@pytest.mark.row("never 500 on purpose: POST /input with half a surrogate pair, which JSON allows")
def test_input_text_may_be_a_lone_surrogate(server: Client, session: str) -> None:
    with server.streaming("print(len(input()))", session=session, execId=f"{session}-half") as stream:
        for event in stream:
            if event.name == "stdin_request":
                assert server.post("/input", {"exec_id": f"{session}-half", "text": "\ud800"}) == {"accepted": True}
    assert server.post("/execute", {"code": "1", "session": session})["success"]


@pytest.mark.row('POST /input/cancel: {"cancelled": true}; the cell gets an exception of type InputCancelled')
def test_cancelled_input_raises_input_cancelled(server: Client, session: str) -> None:
    with server.streaming("input()", session=session, execId=f"{session}-cancel") as stream:
        for event in stream:
            if event.name == "stdin_request":
                assert server.post("/input/cancel", {"exec_id": f"{session}-cancel"}) == {"cancelled": True}
            if event.name == "error":
                assert event.data["type"] == "InputCancelled"
                break
        else:
            pytest.fail("no error event")


@pytest.mark.row('POST /interrupt: {"interrupted": true} if something ran or waited')
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "input()",
        "!sleep 60",
        "import asyncio; await asyncio.sleep(60)",
    ],
)
def test_interrupt_ends_execution(server: Client, session: str, code: str) -> None:
    with server.streaming(f"print('up')\n{code}", session=session) as events:
        while next(events).name != "stdout":
            pass
        assert server.post("/interrupt", {"session": session}, timeout=2) == {"interrupted": True}
        rest = [event for event in events if event.name in ("error", "result", "done")]
    assert rest[-1].name == "done"
    assert rest[0].name == "error" or code.startswith("!")
    assert server.post("/execute", {"code": "40 + 2", "session": session})["result"] == "42"


@pytest.mark.row("GET /executions, GET /executions/{execId}")
def test_executions_are_listed(server: Client, session: str, run: Run) -> None:
    result = run("1", execId=f"{session}-1", cellId="cell")
    run("1 / 0", execId=f"{session}-2")
    listed = server.get(f"/executions?session={session}")["executions"]
    assert [(entry["execId"], entry["cellId"], entry["state"]) for entry in listed] == [
        (f"{session}-1", "cell", "done"),
        (f"{session}-2", None, "error"),
    ]
    assert all(entry["created"] <= entry["started"] <= entry["ended"] for entry in listed)
    assert not any(entry["awaitsInput"] for entry in listed)
    assert server.get(f"/executions/{session}-1") == {**listed[0], "result": result}
    assert {entry["execId"] for entry in listed} <= {
        entry["execId"] for entry in server.get("/executions")["executions"]
    }


@pytest.mark.row("GET /executions: awaitsInput")
def test_execution_that_waits_for_input_says_so(server: Client, session: str) -> None:
    with server.streaming("input(); input()", session=session, execId=f"{session}-asks") as events:
        for _ in range(2):
            next(event for event in events if event.name == "stdin_request")
            assert server.get(f"/executions?session={session}")["executions"][-1]["awaitsInput"]
            assert server.post("/input", {"execId": f"{session}-asks", "text": ""}) == {"accepted": True}
        assert [event.name for event in events][-1] == "done"
    assert not server.get(f"/executions/{session}-asks")["awaitsInput"]


@pytest.mark.row("GET /executions/{execId}/stream: Last-Event-ID: or ?after=N: the SSE stream from there on")
def test_stream_resumes_after_any_event(server: Client, session: str) -> None:
    code = """
import sys, time
from IPython.display import display
for n in range(12):
    print("out é", n); print("err", n, file=sys.stderr)
    display({"x/n": str(n)}, raw=True)
    time.sleep(0.005)
"""
    exec_id = f"{session}-back"
    whole = server.stream(code, session=session, execId=exec_id)
    for position, event in enumerate(whole):
        rest = server.follow(exec_id, headers={"Last-Event-ID": str(event.id)})
        assert rest == server.follow(exec_id, f"?after={event.id}")
        assert all(found.id > event.id for found in rest)
        for stream in ("stdout", "stderr"):
            text = text_of(whole, stream)
            assert text_of([*whole[: position + 1], *rest], stream) == text
            assert [found.data["accumulated"] for found in rest if found.name == stream][-1:] in ([], [text])
        assert [found for found in rest if found.name not in ("stdout", "stderr")] == [
            found for found in whole[position + 1 :] if found.name not in ("stdout", "stderr")
        ]
    both = server.follow(exec_id, f"?after={whole[0].id}", headers={"Last-Event-ID": str(whole[-1].id)})
    assert both == [], "Last-Event-ID must take precedence over after"
    server.refused(400, "GET", f"/executions/{exec_id}/stream?after=soon")


@pytest.mark.row("DELETE /executions/{execId}: a queued one leaves the queue; a running one is interrupted")
def test_execution_can_be_deleted_while_queued_or_running(server: Client, session: str) -> None:
    with (
        server.streaming("import time; time.sleep(60)", session=session, execId=f"{session}-runs") as running,
        server.streaming("1", session=session, execId=f"{session}-waits") as waiting,
    ):
        wait_until(
            lambda: bool(server.get(f"/executions/{session}-waits")["state"] == "queued"),
            "the second execution is queued",
        )
        assert server.call("DELETE", f"/executions/{session}-waits").status == 200
        assert [event.name for event in waiting][-2:] == ["error", "done"]
        assert server.get(f"/executions/{session}-runs")["state"] == "running"
        assert server.call("DELETE", f"/executions/{session}-runs").status == 200
        assert [event.name for event in running][-2:] == ["error", "done"]


@pytest.mark.row("stopOnError: when it fails or is interrupted, what is queued behind it ends as error of type Aborted")
@pytest.mark.parametrize("ending", ["failed", "interrupted", "succeeded", "not requested"])
def test_stop_on_error_aborts_queued_executions(server: Client, session: str, ending: str) -> None:
    end = "" if ending == "succeeded" else "; 1 / 0"
    first_id, last_id = f"{session}-first", f"{session}-last"
    with (
        server.streaming(
            f"input(){end}", session=session, execId=first_id, stopOnError=ending != "not requested"
        ) as first,
        ThreadPoolExecutor() as pool,
    ):
        while next(first).name != "stdin_request":
            pass
        second = pool.submit(server.post, "/execute", {"code": "ran = 1", "session": session})
        wait_until(lambda: bool(server.get(f"/sessions/{session}")["queued"] == 1), "the second is queued")
        third = pool.submit(server.stream, "ran = 2", session=session, execId=last_id)
        wait_until(lambda: bool(server.get(f"/sessions/{session}")["queued"] == 2), "the third is queued")
        if ending == "interrupted":
            server.post("/interrupt", {"session": session})
        else:
            server.post("/input", {"exec_id": first_id, "text": ""})
        list(first)
        result, events = second.result(), third.result()
    if ending in ("failed", "interrupted"):
        assert names_of(events) == ["start", "error", "done"]
        for error in (result["error"], events[1].data):
            assert error["type"] == "Aborted"
            assert first_id in error["message"]
            assert ("KeyboardInterrupt" if ending == "interrupted" else "ZeroDivisionError") in error["message"]
    else:
        assert (result["success"], names_of(events)) == (True, ["start", "result", "done"])
    later = server.post("/execute", {"code": "globals().get('ran')", "session": session})
    assert later["result"] == (None if ending in ("failed", "interrupted") else "2"), (
        "an execution that is queued later must run"
    )


@pytest.mark.row("POST /history: n 20, pattern?, before?: entries [{historyIndex, code}], hasMore")
def test_history_is_paged_and_filtered(server: Client, session: str, run: Run) -> None:
    for number in range(25):
        run(f"x{number} = {number}")
    run("not_stored = 1", storeHistory=False)
    found = server.post("/history", {"session": session})
    assert len(found["entries"]) == 20
    assert found["hasMore"] is True
    indices = [entry["historyIndex"] for entry in found["entries"]]
    assert len(set(indices)) == 20
    codes = {entry["code"] for entry in found["entries"]}
    assert codes == {f"x{number} = {number}" for number in range(5, 25)}
    older = server.post("/history", {"session": session, "before": min(indices)})
    assert {entry["code"] for entry in older["entries"]} == {f"x{number} = {number}" for number in range(5)}
    assert older["hasMore"] is False
    some = server.post("/history", {"session": session, "pattern": "x2", "n": 3})
    assert len(some["entries"]) == 3
    assert all("x2" in entry["code"] for entry in some["entries"])
