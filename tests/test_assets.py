"""Pictures and explicit HTML become files; what else is displayed is handed on."""

from pathlib import Path
from typing import Any

import pytest

from tests.client import Client, Event, text_of
from tests.machine import Machine

_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2])"


@pytest.fixture
def client(shared: Client) -> Client:
    """The shared runtime, whose matplotlib is imported already."""
    return shared


@pytest.fixture
def here(shared_machine: Machine) -> Machine:
    return shared_machine


def _assets(events: list[Event]) -> list[dict[str, Any]]:
    return [event.data for event in events if event.name == "asset"]


@pytest.mark.parametrize(
    ("plot", "code"),
    [("a", f"{_PLOT};"), ("b", f"{_PLOT}; plt.show()"), ("c", f"{_PLOT}; plt.gcf()"), ("d", f"{_PLOT}\n1 / 0")],
)
def test_a_figure_is_shown_and_closed_with_its_cell(here: Machine, client: Client, plot: str, code: str) -> None:
    events = client.stream(code, execId=plot)
    found = _assets(events)
    assert found, "at least one picture"
    assert {asset["mimeType"] for asset in found} == {"image/png"}
    assert found[0]["path"] == str(here.home / ".mrmd-assets" / f"{plot}_0001.png")
    assert found[0]["url"] == f"/mrp/v1/assets/{plot}_0001.png"
    assert found[0]["assetType"] == "image"
    content = Path(found[0]["path"]).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert found[0]["size"] == len(content)
    assert all(event.data["assets"] == [] for event in events if event.name == "result"), "told already"
    assert client.value("plt.get_fignums()") == "[]"
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


def test_a_data_frame_is_text_and_html_and_no_file(client: Client) -> None:
    result = client.execute("import pandas; pandas.DataFrame({'a': [1, 2]})")
    assert result["result"] == "   a\n0  1\n1  2"
    assert "   a\n0  1\n1  2" in result["stdout"]
    assert result["assets"] == []
    assert "<table" in result["displayData"][0]["data"]["text/html"]


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


def test_an_asset_is_served_with_type_range_and_etag(client: Client) -> None:
    asset = client.execute(f"{_PLOT};")["assets"][0]
    status, headers, content = client.fetch("GET", asset["url"])
    assert (status, headers["content-type"]) == (200, "image/png")
    assert content == Path(asset["path"]).read_bytes()
    status, _, part = client.fetch("GET", asset["url"], Range="bytes=1-3")
    assert (status, part) == (206, b"PNG")
    assert client.fetch("GET", asset["url"], If_None_Match=headers["etag"])[0] == 304


def test_nothing_outside_the_assets_folders_is_served(here: Machine, client: Client) -> None:
    client.execute(f"{_PLOT};")
    (here.home / "secret.png").write_text("secret")
    folder = here.home / ".mrmd-assets"
    (folder / "link.png").symlink_to(here.home / "secret.png")
    (folder / "sub").mkdir()
    dots = ("../secret.png", "..%2fsecret.png", "%2e%2e/secret.png", "%252e%252e%252fsecret.png", "..%5csecret.png")
    others = ("link.png", "sub", "secret.png%00.png", "", ".", "..", "%2fetc%2fpasswd", "nowhere.png")
    for name in (*dots, *others):
        status, _, content = client.fetch("GET", f"/mrp/v1/assets/{name}")
        assert status in (404, 405), name
        assert content != b"secret\n"
        assert content != b"secret"


@pytest.mark.parametrize("exec_id", ["../../escape", "/etc/x", "a/b", "a\\b", "ä\0", "x" * 300])
def test_an_exec_id_leads_nowhere(here: Machine, client: Client, exec_id: str) -> None:
    asset = client.execute(f"{_PLOT};", execId=exec_id)["assets"][0]
    assert Path(asset["path"]).parent == here.home / ".mrmd-assets"
    assert client.fetch("GET", asset["url"])[0] == 200


def test_a_folder_that_cannot_be_written_costs_no_picture(client: Client) -> None:
    result = client.execute(f"{_PLOT};", assetDir="/proc/nowhere")
    assert result["success"]
    assert "/proc/nowhere" in result["stderr"]
    assert "image/png" in result["displayData"][0]["data"]
