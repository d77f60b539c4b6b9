"""Pictures and explicit HTML become files; what else is displayed is handed on."""

import pytest

from tests.client import Client, text_of
from tests.machine import Machine

_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2])"


@pytest.fixture
def client(shared: Client) -> Client:
    """The shared runtime, whose matplotlib is imported already."""
    return shared


@pytest.fixture
def here(shared_machine: Machine) -> Machine:
    return shared_machine


def test_a_figure_is_a_file_that_is_told_of_once(here: Machine, client: Client) -> None:
    events = client.stream(f"{_PLOT};", execId="a")
    path = here.home / ".mrmd-assets" / "a_0001.png"
    assert [event.data for event in events if event.name == "asset"] == [
        {
            "path": str(path),
            "url": "/mrp/v1/assets/a_0001.png",
            "mimeType": "image/png",
            "assetType": "image",
            "size": path.stat().st_size,
        }
    ]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert all(event.data["assets"] == [] for event in events if event.name == "result"), "told already"
    assert client.execute("1")["assets"] == []


def test_a_chosen_backend_is_left_alone(here: Machine) -> None:
    client = here.start("agg", env={"MPLBACKEND": "agg"})
    result = client.execute(f"{_PLOT}; plt.get_backend()")
    assert (result["result"], result["assets"]) == ("'agg'", [])


def test_children_do_not_inherit_the_inline_backend(client: Client) -> None:
    child = "import matplotlib.pyplot as plt; print(plt.get_backend())"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert "inline" not in client.execute(f"{_PLOT};\n{code};")["stdout"]


def test_pictures_and_html_are_files_and_others_are_displays(client: Client) -> None:
    code = """
from IPython.display import HTML, JSON, Latex, Markdown, SVG, display
display(HTML("<b>bold</b>")); display(SVG("<svg xmlns='http://www.w3.org/2000/svg'/>"))
display(Markdown("*m*")); display(Latex("$x$")); display(JSON({"a": 1}))
"""
    events = client.stream(code)
    kinds = [
        (event.name, event.data.get("assetType") or sorted(event.data["data"]))
        for event in events
        if event.name in ("asset", "display")
    ]
    assert kinds == [
        ("asset", "html"),
        ("asset", "svg"),
        ("display", ["text/markdown", "text/plain"]),
        ("display", ["text/latex", "text/plain"]),
        ("display", ["application/json", "text/plain"]),
    ]
    assert "<IPython.core.display.Markdown object>" in text_of(events, "stdout")
    result = client.execute(code)
    assert [asset["assetType"] for asset in result["assets"]] == ["html", "svg"]
    assert [min(display["data"]) for display in result["displayData"]] == [
        "text/markdown",
        "text/latex",
        "application/json",
    ]


def test_an_updatable_display_says_what_it_updates(client: Client) -> None:
    code = """
from IPython.display import Markdown, display
handle = display(Markdown("1"), display_id="d")
handle.update(Markdown("2"))
"""
    shown = [event.data["metadata"] for event in client.stream(code) if event.name == "display"]
    assert shown == [{"update": False, "display_id": "d"}, {"update": True, "display_id": "d"}]


def test_files_are_never_overwritten(here: Machine, client: Client) -> None:
    folder = here.home / "pictures"
    first = client.execute(f"{_PLOT};", execId="x", assetDir="pictures")["assets"][0]["path"]
    client.execute("1", session="other")
    client.request("DELETE", "/executions/x")  # forgotten, so that its id can be another's
    second = client.execute(f"{_PLOT};", execId="x", session="other", assetDir=str(folder))["assets"][0]["path"]
    assert [first, second] == [str(folder / "x_0001.png"), str(folder / "x_0002.png")]


def test_a_folder_that_cannot_be_written_costs_no_picture(client: Client) -> None:
    result = client.execute(f"{_PLOT};", assetDir="/proc/nowhere")
    assert result["success"]
    assert "/proc/nowhere" in result["stderr"]
    assert "image/png" in result["displayData"][0]["data"]
