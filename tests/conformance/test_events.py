"""MRP, "Execution": the events of a stream."""

import json

import pytest

from tests.client import Client, Event, Json, names_of, text_of


@pytest.mark.row(
    "SSE events, in this order: start, any of ..., exactly one of result | error, then done, then end of stream"
)
@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1", ["start", "result", "done"]),
        ("1 + 1", ["start", "stdout", "result", "done"]),
        ("import sys; print('x', file=sys.stderr)", ["start", "stderr", "result", "done"]),
        ("raise ValueError('no')", ["start", "stdout", "error", "done"]),
        ("1 +", ["start", "stdout", "error", "done"]),
        (
            "from IPython.display import display; display({'x/y': 'z'}, raw=True)",
            ["start", "display", "result", "done"],
        ),
    ],
)
def test_events_come_in_order(server: Client, session: str, code: str, names: list[str]) -> None:
    assert names_of(server.stream(code, session=session)) == names


@pytest.mark.row(
    "start {execId, timestamp}, result ExecuteResult, error {type, message, traceback, line, column}, done {}"
)
def test_event_data_has_documented_fields(server: Client, session: str) -> None:
    events = server.stream("print('x')\n2", session=session, execId=f"{session}-data")
    by_name = {event.name: event.data for event in events}
    assert by_name["start"].keys() == {"execId", "timestamp"}
    assert by_name["start"]["execId"] == f"{session}-data"
    result = by_name["result"]
    assert (result["stdout"], result["result"], result["success"]) == ("x\nOut[1]: 2\n", "2", True)
    assert by_name["done"] == {}
    error = {event.name: event.data for event in server.stream("1 / 0", session=session)}["error"]
    assert error.keys() == {"type", "message", "traceback", "line", "column"}
    assert (error["type"], error["line"]) == ("ZeroDivisionError", 1)
    assert isinstance(error["traceback"], list)


@pytest.mark.row("stdout, stderr: {content: new text, accumulated: that stream so far}; accumulated (true)")
def test_accumulated_text_is_the_stream_so_far(server: Client, session: str) -> None:
    code = "import sys, time\nfor n in range(9): print('é', n); print(n, file=sys.stderr); time.sleep(0.02)"
    so_far = {"stdout": "", "stderr": ""}
    for event in server.stream(code, session=session):
        if event.name in so_far:
            so_far[event.name] += event.data["content"]
            assert event.data == {"content": event.data["content"], "accumulated": so_far[event.name]}
    assert so_far["stdout"] == "".join(f"é {n}\n" for n in range(9))
    events = server.stream(code, session=session, accumulated=False)
    assert all("accumulated" not in event.data for event in events)
    assert text_of(events, "stdout") == so_far["stdout"]


@pytest.mark.row("accumulated costs linear; past 256 KiB it holds the first and last parts around one line")
def test_accumulated_text_of_long_stream_is_shortened(server: Client, session: str) -> None:
    events = server.stream("for n in range(20_000): print(f'{n:079}')", session=session)
    text = text_of(events, "stdout")
    assert text == "".join(f"{n:079}\n" for n in range(20_000))
    last = [event for event in events if event.name == "stdout"][-1].data["accumulated"]
    head, _, rest = last.partition("\n[")
    _, _, tail = rest.partition("]\n")
    assert len(last) < 300 * 1024
    assert min(len(head), len(tail)) > 8 * 1024
    assert text.startswith(head)
    assert text.endswith(tail)
    sent = sum(len(json.dumps(event.data)) for event in events)
    assert sent < 3 * len(text) + 2 * 256 * 1024


@pytest.mark.row("content never waits more than 50 ms: output is sent while the cell goes on")
def test_output_arrives_while_the_cell_runs(server: Client, session: str) -> None:
    with server.streaming("print('now'); input()", session=session, execId=f"{session}-now") as events:
        assert [next(events).name for _ in range(2)] == ["start", "stdout"]
        server.post("/interrupt", {"session": session})
        list(events)


@pytest.mark.row("\\r, ANSI escapes and everything else pass through unchanged, never cut inside a character")
def test_control_characters_pass_unchanged(server: Client, session: str) -> None:
    code = r"""
import os, time
for byte in "a\r\x1b[31mé€😀\x1b[0m\x00\x07\u2028".encode() * 20:
    os.write(1, bytes([byte])); time.sleep(0.0005)
"""
    assert text_of(server.stream(code, session=session), "stdout") == "a\r\x1b[31mé€😀\x1b[0m\x00\x07\u2028" * 20


@pytest.mark.row(
    "Lines are `event: NAME` then `data: {one line}` then a blank line; an `id: N` line stands before `event:`"
)
def test_event_lines_are_id_event_data(server: Client, session: str) -> None:
    events = server.stream("print(1); 1 / 0", session=session)
    assert {event.fields for event in events} == {("id", "event", "data")}
    assert len({event.id for event in events}) == len(events)


@pytest.mark.row("display {data: {mime: value}, metadata}, as it happens")
def test_display_event_arrives_while_the_cell_runs(server: Client, session: str) -> None:
    code = (
        "from IPython.display import display\ndisplay({'x/y': 'é', 'a/b': [1]}, raw=True, metadata={'m': 1}); input()"
    )
    with server.streaming(code, session=session) as events:
        assert next(events).name == "start"
        shown = next(events)
        assert (shown.name, shown.data) == ("display", {"data": {"x/y": "é", "a/b": [1]}, "metadata": {"m": 1}})
        server.post("/interrupt", {"session": session})
        list(events)


@pytest.mark.row("rich: clear_output {wait} events; without it, the escape sequence of a terminal")
def test_clear_output_is_an_event_for_rich_clients(server: Client, session: str) -> None:
    code = (
        "from IPython.display import clear_output, display\n"
        "print('a'); clear_output(wait=True); print('b'); display({'x/y': 1}, raw=True); clear_output(); print('c')"
    )
    events = server.stream(code, session=session, rich=True)
    shown = ["stdout", "clear_output", "stdout", "display", "clear_output", "stdout"]
    assert names_of(events) == ["start", *shown, "result", "done"]
    assert [event.data for event in events if event.name == "clear_output"] == [{"wait": True}, {"wait": False}]
    assert text_of(events, "stdout") == "a\nb\nc\n"
    result = server.post("/execute", {"code": code, "session": session, "rich": True})
    assert (result["stdout"], len(result["displayData"])) == ("a\nb\nc\n", 1), (
        "the result must have all output, cleared or not"
    )
    for fields in ({}, {"rich": False}):
        plain = server.stream(code, session=session, **fields)
        assert "clear_output" not in names_of(plain)
        assert text_of(plain, "stdout").replace("\x1b[2K\r", "<clear>") == "a\n<clear><clear>b\n<clear><clear>c\n"


@pytest.mark.row("IPython's own text is plain when the session's environment has NO_COLOR, and coloured otherwise")
def test_ipython_text_is_coloured_unless_no_color_is_set(server: Client, session: str) -> None:
    def printed(name: str, environment: Json) -> str:
        server.post("/sessions", {"id": name, "environment": environment})
        events: list[Event] = server.stream("1 / 0", session=name)
        server.call("DELETE", f"/sessions/{name}")
        return text_of(events, "stdout") + text_of(events, "stderr")

    assert "\x1b[" in printed(f"{session}-colour", {"env": {"NO_COLOR": None}})
    assert "\x1b[" not in printed(f"{session}-plain", {"env": {"NO_COLOR": "1"}})
