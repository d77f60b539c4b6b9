"""MRP, "Rich executions": `rich`, for clients that render displays, values and errors themselves."""

import base64
from typing import Any

import pytest

from tests.client import Client, Event, Json, names_of, text_of

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
_IMPORT = "from IPython.display import HTML, Markdown, SVG, Image, clear_output, display\n"


def _rich(server: Client, session: str, code: str, **fields: Any) -> list[Event]:
    return server.stream(code, session=session, rich=True, **fields)


def _only(events: list[Event], name: str) -> Json:
    """Return the data of the only event with a name."""
    (data,) = (event.data for event in events if event.name == name)
    return data


def _displays(events: list[Event]) -> list[Json]:
    return [event.data for event in events if event.name == "display"]


@pytest.mark.row("rich: nothing of IPython's own goes into stdout: no Out[n]:, no traceback, no text/plain of displays")
def test_text_has_only_what_the_code_writes(server: Client, session: str) -> None:
    for code, shown in (
        ("40 + 2", "result"),
        ("x = 1", "result"),
        ("1 / 0", "error"),
        ("1 +", "error"),
        ("%no_such_magic", "error"),
        ("raise SystemExit(3)", "error"),
        ("raise KeyboardInterrupt", "error"),
        ("%%capture\n1 / 0", "error"),
        ("get_ipython().run_cell('1 / 0');", "error"),
        ("get_ipython().set_next_input('x = 2')", "result"),
        (f"{_IMPORT}display('text', Markdown('*m*')); 'value'", "display result"),
        ("print('mine'); 5", "stdout result"),
        ("!echo mine", "stdout result"),
        ("print?", "stdout result"),
    ):
        events = _rich(server, session, code)
        assert names_of(events) == ["start", *shown.split(), "done"], code
        if "mine" in code:
            assert text_of(events, "stdout") == "mine\n", code


@pytest.mark.row("rich: every display is a display event with its whole bundle, pictures and HTML included, no asset")
def test_display_events_have_the_whole_bundle(server: Client, session: str) -> None:
    image = f"{{'image/png': {_PNG!r}, 'text/plain': 'p'}}, raw=True, metadata={{'image/png': {{'width': 4}}, 'm': 1}}"
    code = f"{_IMPORT}display({image})\ndisplay(HTML('<b>é</b>'), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"
    events = _rich(server, session, code)
    assert names_of(events) == ["start", "display", "result", "done"]
    png, html, svg = _displays(events)
    assert png == {
        "data": {"image/png": _PNG, "text/plain": "p"},
        "metadata": {"image/png": {"width": 4}, "m": 1},
    }
    assert html["data"]["text/html"] == "<b>é</b>"
    assert svg["data"]["image/svg+xml"].startswith("<svg")
    assert (_only(events, "result")["displayData"], _only(events, "result")["assets"]) == ([], [])
    whole = server.post("/execute", {"code": code, "session": session, "rich": True})
    assert (whole["displayData"], whole["assets"]) == ([png, html, svg], [])
    listed = "import os; print(os.path.exists('.mrmd-assets') and [n for n in os.listdir('.mrmd-assets')])"
    before = server.post("/execute", {"code": listed, "session": session})["stdout"]
    _rich(server, session, code)
    assert server.post("/execute", {"code": listed, "session": session})["stdout"] == before, "a display became a file"


@pytest.mark.row("rich: displayId and update for updatable displays")
def test_updates_have_the_id_of_their_display(server: Client, session: str) -> None:
    code = f"{_IMPORT}handle = display(Markdown('1'), display_id='d'); handle.update(HTML('2'))"
    first, second = _displays(_rich(server, session, code))
    assert (first["displayId"], first["update"], first["data"]["text/markdown"]) == ("d", False, "1")
    assert (second["displayId"], second["update"], second["data"]["text/html"]) == ("d", True, "2")
    whole = server.post("/execute", {"code": code, "session": session, "rich": True})
    assert whole["displayData"] == [second], "a display that was updated must be listed once, in its last form"
    (later,) = _displays(_rich(server, session, "handle.update(Markdown('3'))"))
    assert (later["displayId"], later["update"]) == ("d", True)


@pytest.mark.row("rich: an update of a display that another execution has saved to a file is a display event, no asset")
def test_rich_update_leaves_the_file_of_a_display(server: Client, session: str) -> None:
    svg = "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><text>{}</text></svg>')"
    plain = {"code": f"{_IMPORT}handle = display({svg.format(1)}, display_id='d')", "session": session}
    (asset,) = server.post("/execute", plain)["assets"]
    events = _rich(server, session, f"handle.update({svg.format(2)})")
    assert names_of(events) == ["start", "display", "result", "done"]
    assert b">1<" in server.call("GET", asset["url"].removeprefix("/mrp/v1")).body
    (again,) = server.post("/execute", {"code": f"handle.update({svg.format(3)})", "session": session})["assets"]
    assert (again["url"], again["update"]) == (asset["url"], True)
    (shown,) = _displays(_rich(server, session, f"other = display({svg.format(4)}, display_id='e')"))
    assert (shown["displayId"], shown["update"]) == ("e", False)
    (saved,) = server.post("/execute", {"code": f"other.update({svg.format(5)})", "session": session})["assets"]
    assert (saved["displayId"], saved["update"]) == ("e", True)


@pytest.mark.row("rich: result carries the MIME bundle of the last expression")
def test_result_has_the_bundle_of_the_last_expression(server: Client, session: str) -> None:
    kind = (
        "class Both:\n    def _repr_mimebundle_(self, **_): return {'text/plain': 'p', 'image/png': b'i'}, {'m': 1}\n"
    )
    bundle = {"text/plain": "p", "image/png": "aQ=="}
    for code, data, metadata in (
        ("40 + 2", {"text/plain": "42"}, {}),
        (f"{kind}Both()", bundle, {"m": 1}),
    ):
        result = _only(_rich(server, session, code), "result")
        assert (result["data"], result["metadata"], result["result"]) == (data, metadata, data["text/plain"])
        whole = server.post("/execute", {"code": code, "session": session, "rich": True})
        assert (whole["data"], whole["metadata"], whole["displayData"]) == (data, metadata, [])
        found = server.get(f"/executions/{whole['execId']}")
        assert found["result"] == whole
    for nothing in (_only(_rich(server, session, "x = 1"), "result"), _only(_rich(server, session, "5;"), "result")):
        assert {"data", "metadata"}.isdisjoint(nothing)
    plain = server.post("/execute", {"code": "Both()", "session": session, "rich": False})
    assert {"data", "metadata"}.isdisjoint(plain)
    assert len(plain["assets"]) == 1


@pytest.mark.row("rich: all of a long text is in the bundle, since it is not in stdout")
def test_long_value_is_complete_in_the_bundle(server: Client, session: str) -> None:
    result = _only(_rich(server, session, "text = 'é' * 1_000_000; text"), "result")
    assert result["data"]["text/plain"] == f"'{'é' * 1_000_000}'"
    assert len(result["result"]) < 100_000
    (shown,) = _displays(_rich(server, session, f"{_IMPORT}display(text)"))
    assert len(shown["data"]["text/plain"]) == 1_000_002


@pytest.mark.row("rich: values before the last are displays, in order with the output")
def test_values_before_the_last_are_displays(server: Client, session: str) -> None:
    server.post("/execute", {"code": "get_ipython().ast_node_interactivity = 'all'", "session": session})
    events = _rich(server, session, "1\nprint('between')\n2\n3")
    assert names_of(events) == ["start", "display", "stdout", "display", "result", "done"]
    assert [shown["data"]["text/plain"] for shown in _displays(events)] == ["1", "2"]
    assert _only(events, "result")["data"] == {"text/plain": "3"}
    failed = _rich(server, session, "1\n1 / 0")
    assert names_of(failed) == ["start", "display", "error", "done"]


@pytest.mark.row("rich: figures that are shown at the end leave the last expression in the result")
def test_figures_at_the_end_do_not_take_the_place_of_the_value(server: Client, session: str) -> None:
    events = _rich(server, session, "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.title('t')")
    assert names_of(events) == ["start", "display", "result", "done"]
    assert _only(events, "display")["data"]["image/png"].startswith("iVBOR")
    assert _only(events, "result")["data"]["text/plain"].startswith("Text(")
    failed = _rich(server, session, "plt.plot([1]); 1 / 0")
    assert names_of(failed) == ["start", "display", "error", "done"]


@pytest.mark.row("error events of rich executions also have ansiTraceback: the lines as IPython colours them")
def test_errors_have_a_coloured_traceback(server: Client, session: str) -> None:
    server.post("/sessions", {"id": session, "environment": {"env": {"NO_COLOR": None}}})
    code = "def f():\n    return 1 / 0\nf()"
    error = _only(_rich(server, session, code), "error")
    assert error["traceback"][-1] == "ZeroDivisionError: division by zero"
    assert "\x1b" not in "".join(error["traceback"])
    assert "\x1b[" in "".join(error["ansiTraceback"])
    assert len(error["ansiTraceback"]) == len(error["traceback"])
    whole = server.post("/execute", {"code": code, "session": session, "rich": True})
    assert whole["error"]["ansiTraceback"][-1] == error["ansiTraceback"][-1]
    assert (whole["stdout"], whole["stderr"]) == ("", "")
    assert "ansiTraceback" not in server.post("/execute", {"code": code, "session": session})["error"]
    dropped = server.post("/execute", {"code": "import os; os._exit(1)", "session": session, "rich": True})["error"]
    assert (dropped["type"], dropped["ansiTraceback"]) == ("SessionDied", [])


@pytest.mark.row("rich: a traceback that does not end the execution is written to stderr")
def test_other_tracebacks_are_written_to_stderr(server: Client, session: str) -> None:
    _rich(server, session, f"{_IMPORT}raise KeyError")
    for code, shown, error in (
        ("%tb", "KeyError", None),
        ("try: 1 / 0\nexcept Exception: get_ipython().showtraceback()", "ZeroDivisionError", None),
        ("class C:\n    def _repr_html_(self): 1 / 0\ndisplay(C()); 'x'", "ZeroDivisionError", None),
        ("get_ipython().run_cell('1 / 0'); raise ValueError", "ZeroDivisionError", "ValueError"),
        ("get_ipython().run_cell('1 / 0'); get_ipython().run_cell('[][1]');", "IndexError", "ZeroDivisionError"),
    ):
        events = _rich(server, session, code)
        assert (shown in text_of(events, "stderr"), text_of(events, "stdout")) == (True, ""), code
        assert [event.data["type"] for event in events if event.name == "error"] == ([error] if error else []), code
        if "display" in code:
            assert names_of(events) == ["start", "stderr", "display", "result", "done"], "it must come when it happens"
        assert error is None or error not in text_of(events, "stderr"), code


@pytest.mark.row("rich: %%capture and redirect_stdout capture what they capture in IPython")
def test_captured_output_is_not_sent(server: Client, session: str) -> None:
    events = _rich(server, session, f"%%capture kept\n{_IMPORT}print('a'); display(1); clear_output(); display(2); 3")
    assert names_of(events) == ["start", "result", "done"]
    shown = _only(_rich(server, session, "kept.stdout, [each.data['text/plain'] for each in kept.outputs]"), "result")
    assert shown["result"].endswith("'2', '3'])")
    code = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as text: print('b'); display(4)\n"
    events = _rich(server, session, f"{_IMPORT}{code}text.getvalue()")
    assert names_of(events) == ["start", "display", "result", "done"]
    assert _only(events, "result")["result"] == r"'b\n'"


@pytest.mark.row("rich: the answer to input() is a stdin event, not in stdout; a password is in neither")
def test_answers_are_events_of_their_own(server: Client, session: str) -> None:
    code = "import getpass\nprint(len(input('Name? ')), len(getpass.getpass('Key: ')))"
    events = []
    with server.streaming(code, session=session, execId=f"{session}-input", rich=True) as stream:
        for event in stream:
            events.append(event)
            if event.name == "stdin_request":
                server.post("/input", {"execId": f"{session}-input", "text": "Adé"})
    asked = ["stdout", "stdin_request"]
    assert names_of(events) == ["start", *asked, "stdin", *asked, "stdout", "result", "done"]
    assert _only(events, "stdin") == {"content": "Adé\n"}
    assert text_of(events, "stdout") == "Name? Key: 3 3\n"


@pytest.mark.row("rich: a display that came after the last expression is late")
def test_figure_that_was_open_at_the_end_is_late(server: Client, session: str) -> None:
    import_and_show = f"{_IMPORT}import matplotlib.pyplot as plt\nplt.plot([1])\ndisplay('first')\nplt.gcf().number"
    events = _rich(server, session, import_and_show)
    assert names_of(events) == ["start", "display", "result", "done"]
    shown = [event.data for event in events if event.name == "display"]
    assert [each.get("late") for each in shown] == [None, True]
    assert "image/png" in shown[1]["data"]


@pytest.mark.row("rich: applies to its own execution only")
def test_rich_does_not_change_later_executions(server: Client, session: str) -> None:
    _rich(server, session, f"{_IMPORT}1")
    events = server.stream("display('text'); 2", session=session)
    assert text_of(events, "stdout").splitlines()[1] == "Out[2]: 2"
    assert "ZeroDivisionError" in text_of(server.stream("1 / 0", session=session), "stdout")
