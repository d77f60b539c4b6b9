"""Displays and assets of many libraries."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.client import Client, Event, Json, text_of


def _shown(events: list[Event]) -> list[str]:
    """Return the type of each asset and the first MIME type, in alphabetical order, of each display."""
    shown = []
    for event in events:
        if event.name == "asset":
            shown.append(event.data["assetType"])
        elif event.name == "display":
            shown.append(min(event.data["data"]))
    return shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("display(HTML('<b>x</b>'))", ["html"]),
        ("display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))", ["svg"]),
        ("display(Markdown('*m*'))", ["text/markdown"]),
        ("display(Latex('$x$'))", ["text/latex"]),
        ("display(JSON({'a': 1}))", ["application/json"]),
        ("display({'x/y': 1, 'x/z': 2}, raw=True)", ["x/y"]),
        ("display(1); display('two')", ["text/plain", "text/plain"]),
        ("class C:\n    def _repr_mimebundle_(self, **k): return {'a/b': 1, 'text/plain': 'c'}\ndisplay(C())", ["a/b"]),
        ("from PIL import Image; display(Image.new('RGB', (2, 2)))", ["image"]),
        ("import plotly.graph_objects as go; go.Figure().show()", ["html"]),
        ("h = display(Markdown('1'), display_id='d'); h.update(Markdown('2'))", ["text/markdown", "text/markdown"]),
        ("display(Image(gif))", ["image"]),
        ("h = display(Image(gif), display_id=True); h.update(Image(gif)); h.display(Image(gif))", ["image"] * 3),
        ("display({'application/pdf': b'%PDF'}, raw=True)", ["file"]),
        ("display(Markdown('kept')); print('x'); 1 / 0", ["text/markdown"]),
    ],
)
def test_every_display_is_reported(client: Client, code: str, shown: list[str]) -> None:
    client.execute("from IPython.display import HTML, JSON, SVG, Image, Latex, Markdown, display\ngif = b'GIF89a'")
    assert _shown(client.stream(code)) == shown


def test_last_expression_is_shown_in_its_mime_forms(client: Client) -> None:
    frame = client.execute("import pandas; pandas.DataFrame({'a': [1, 2]})")
    assert frame["result"] == "   a\n0  1\n1  2"
    assert frame["assets"] == []
    assert "<table" in frame["displayData"][0]["data"]["text/html"]
    image = client.execute("from PIL import Image; Image.new('RGB', (2, 2))")
    assert [asset["mimeType"] for asset in image["assets"]] == ["image/png"]
    figure = client.execute("import plotly.graph_objects as go; go.Figure()")
    assert [asset["mimeType"] for asset in figure["assets"]] == ["text/html"]
    assert figure["error"] is None
    array = client.execute("import numpy; numpy.arange(3)")
    assert (array["result"], array["displayData"]) == ("array([0, 1, 2])", [])
    assert client.execute("40 + 2;")["stdout"] == ""


_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]);"


def test_matplotlib_figures_become_images(client: Client) -> None:
    for code in (_PLOT, f"{_PLOT} plt.show()", f"{_PLOT} plt.gcf()", f"%matplotlib inline\n{_PLOT}", f"{_PLOT} 1 / 0"):
        assert "image" in _shown(client.stream(code)), code
        assert client.value("plt.get_fignums()") == "[]"
    listed = client.execute("%matplotlib --list")
    assert "inline" in listed["stdout"]
    assert client.execute("%matplotlib agg")["success"]
    assert _shown(client.stream(_PLOT)) == []
    client.execute("plt.close('all')")
    assert "inline" in client.execute("%matplotlib")["stdout"], "the default without a display must be inline"
    assert _shown(client.stream(_PLOT)) == ["image"]
    for backend in ("tk", "qt"):
        assert client.execute(f"%matplotlib {backend}")["error"] is not None
        assert _shown(client.stream(_PLOT)) == ["image"], "the rejected backend changed the current one"


def test_clear_output_is_an_event_or_an_escape_sequence(client: Client) -> None:
    code = "from IPython.display import clear_output\nfor n in range(3): print(n, end=''); clear_output(wait=True)"
    result = client.execute(code)
    assert result["success"]
    assert result["stdout"].replace("\x1b[2K\r", "") == "012"
    assert result["stdout"].count("\x1b[2K\r") == 6, "each call must write a terminal's escape sequence to both streams"
    events = client.stream(code, rich=True)
    assert [event.data for event in events if event.name == "clear_output"] == [{"wait": True}] * 3
    assert text_of(events, "stdout") == "012"
    captured = client.execute(f"%%capture output\n{code}", rich=True)
    assert (captured["success"], captured["stdout"]) == (True, "")
    assert "\x1b[2K" in client.execute(code)["stdout"], "rich=True of an earlier execution must not apply"


def test_error_in_repr_is_shown(client: Client) -> None:
    code = """
class Bad:
    def __repr__(self): raise RuntimeError("bad repr")
    def _repr_html_(self): raise ValueError("bad html")
Bad()
"""
    result = client.execute(code)
    assert "bad repr" in result["stdout"]
    assert client.execute("from IPython.display import display; display(Bad())")["success"]
    assert client.value("1 + 1") == "2"
    client.execute(
        "class Half:\n    def __repr__(self): return 'text'\n    def _repr_html_(self): raise ValueError('bad')"
    )
    assert client.execute("Half()")["result"] == "text"


@pytest.mark.parametrize("kind", ["__repr__", "_repr_html_", "_repr_mimebundle_"])
def test_result_that_cannot_be_formatted_fails_the_cell(client: Client, kind: str) -> None:
    result = client.execute(f"class Raises:\n    def {kind}(self, **k): raise ValueError('bad {kind}')\nRaises()")
    assert not result["success"]
    assert (result["error"]["type"], result["error"]["message"]) == ("ValueError", f"bad {kind}")
    assert result["error"]["traceback"]
    assert client.execute("display(Raises())")["success"], (
        "display() of such an object must not fail the cell, as in Jupyter"
    )
    assert client.execute("1 + 1")["error"] is None


def test_pandas_prints_all_columns_of_a_wide_frame(client: Client) -> None:
    code = "import pandas; pandas.DataFrame({f'column_number_{n}': [n] for n in range(15)})"
    assert all(f"column_number_{n}" in client.execute(code)["stdout"] for n in range(15))


def test_run_magic_shows_no_empty_figure_with_matplotlib(client: Client, home: Path) -> None:
    (home / "plain.py").write_text("print('done')\n")
    client.execute("%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1, 2]);")
    result = client.execute("%run plain.py")
    assert (result["stdout"], result["assets"]) == ("done\n", [])


@pytest.mark.parametrize("kind", ["__repr__", "_repr_html_", "_repr_mimebundle_"])
def test_hanging_repr_can_be_interrupted(client: Client, kind: str) -> None:
    code = f"class Hangs:\n    def {kind}(self, **k):\n        print('hangs')\n        while True: pass\nHangs()"
    with client.streaming(code) as events:
        for event in events:
            if event.name == "stdout" and "hangs" in event.data["content"]:
                break
        assert client.post("/interrupt") == {"interrupted": True}
        assert [event.name for event in events][-1] == "done"
    assert client.value("1 + 1") == "2"


_FRAMES = "import pandas\ndef frame(name): return pandas.DataFrame({name: [1]})"


@pytest.mark.parametrize(
    ("interactivity", "code", "shown", "result"),
    [
        ("all", "frame('a')\nprint('b')\nframe('c')", ["a", "b", "c"], "c"),
        ("all", "frame('a'); frame('b'); frame('c')", ["a", "b", "c"], "c"),
        ("all", "frame('a')\ndisplay(frame('b'))\nframe('c')", ["a", "b", "c"], "c"),
        ("all", "for name in 'abc': frame(name)", ["a", "b", "c"], "c"),
        ("all", "frame('a')\nx = 1", ["a"], "a"),
        ("all", "frame('a')\n1 / 0", ["a"], "a"),
        ("last_expr", "import sys; sys.displayhook(frame('a')); sys.displayhook(frame('b'))", ["a", "b"], "b"),
        ("last_expr_or_assign", "x = frame('a')\ny = frame('b')", ["b"], "b"),
    ],
)
def test_each_displayed_value_keeps_its_mime_forms(
    client: Client, interactivity: str, code: str, shown: list[str], result: str
) -> None:
    client.execute(f"{_FRAMES}\nget_ipython().ast_node_interactivity = {interactivity!r}")
    events = client.stream(code, execId=code)
    whole = client.get(f"/executions/{quote(code, safe='')}")["result"]
    client.execute("get_ipython().ast_node_interactivity = 'last_expr'")
    printed = re.findall(r"^(?:   )?([abc])$", text_of(events, "stdout"), re.MULTILINE)
    assert printed == shown, "each value must be printed once"
    forms = [re.findall("<th>([abc])</th>", display["data"]["text/html"])[0] for display in whole["displayData"]]
    assert forms == [name for name in shown if f"print({name!r})" not in code]
    assert (whole["result"] or "").split("\n")[0].strip() == result
    early = [event for event in events if event.name == "display"]
    assert len(early) >= len(forms) - 1, "all values but the last must be events"


@pytest.mark.parametrize(
    ("interactivity", "code", "shown", "result"),
    [
        ("all", "frame('a')\nprint('b')\nframe('c')", ["a"], "c"),
        ("all", "frame('a')\ndisplay(frame('b'))\nframe('c')", ["a", "b"], "c"),
        ("all", "for name in 'abc': frame(name)", ["a", "b"], "c"),
        ("all", "frame('a')\nx = 1", ["a"], None),
        ("all", "frame('a')\n1 / 0", ["a"], None),
        ("last_expr", "display(frame('a'))\nframe('b')", ["a"], "b"),
        ("last_expr", "frame('a');", [], None),
        ("last_expr_or_assign", "x = frame('a')\ny = frame('b')", [], "b"),
        ("last_expr", "import matplotlib.pyplot as plt; plt.plot([1]); frame('a')", ["figure"], "a"),
        ("last_expr", "get_ipython().run_cell('frame(\"a\")'); display(frame('b'))", ["a", "b"], None),
    ],
)
def test_rich_cell_shows_each_value_once(
    client: Client, interactivity: str, code: str, shown: list[str], result: str | None
) -> None:
    def name(data: Json) -> str:
        return "figure" if "image/png" in data else re.findall("<th>([abc])</th>", data["text/html"])[0]

    client.execute(f"{_FRAMES}\nget_ipython().ast_node_interactivity = {interactivity!r}")
    events = client.stream(code, execId=f"rich {code}", rich=True)
    whole = client.get(f"/executions/{quote(f'rich {code}', safe='')}")["result"]
    client.execute("get_ipython().ast_node_interactivity = 'last_expr'")
    assert text_of(events, "stdout") == ("b\n" if "print" in code else "")
    assert [name(event.data["data"]) for event in events if event.name == "display"] == shown
    assert [name(display["data"]) for display in whole["displayData"]] == shown
    assert (name(whole["data"]) if "data" in whole else None) == result
    assert whole["assets"] == []


def test_each_figure_among_the_values_becomes_an_image(client: Client) -> None:
    client.execute(
        "import matplotlib.pyplot as plt\nfirst = plt.figure(); plt.plot([1]); plt.close()\n"
        "second = plt.figure(); plt.plot([2]); plt.close()\nget_ipython().ast_node_interactivity = 'all'"
    )
    result = client.execute("first\nprint('between')\nsecond")
    client.execute("get_ipython().ast_node_interactivity = 'last_expr'")
    assert [asset["mimeType"] for asset in result["assets"]] == ["image/png", "image/png"]
    assert result["stdout"].count("<Figure") == 2
