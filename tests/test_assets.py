"""Images and explicit HTML become files; other displays go to the client as data."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client import DRAWING, Client, text_of
from tests.machine import Machine, box_root, wait_until

_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2])"


@pytest.fixture
def client(shared: Client) -> Client:
    """The shared runtime: its worker has imported matplotlib already."""
    return shared


@pytest.fixture
def here(shared_machine: Machine) -> Machine:
    return shared_machine


def test_figure_is_one_file_and_one_event(here: Machine, client: Client) -> None:
    events = client.stream(f"{_PLOT};", execId="a")
    path = here.home / ".mrmd-assets" / "a_0001.png"
    assert [event.data for event in events if event.name == "asset"] == [
        {
            "path": str(path),
            "url": "/mrp/v1/assets/a_0001.png",
            "mimeType": "image/png",
            "assetType": "image",
            "size": path.stat().st_size,
            "metadata": {},
            "data": {"text/plain": "<Figure size 640x480 with 1 Axes>"},
        }
    ]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert all(event.data["assets"] == [] for event in events if event.name == "result"), (
        "the result repeats an asset that an event has reported"
    )
    assert client.execute("1")["assets"] == []


def test_user_chosen_matplotlib_backend_is_kept(here: Machine) -> None:
    client = here.start("agg", env={"MPLBACKEND": "agg"})
    result = client.execute(f"{_PLOT}; plt.get_backend()")
    assert (result["result"], result["assets"]) == ("'agg'", [])


def test_children_do_not_inherit_the_inline_backend(client: Client) -> None:
    child = "import matplotlib.pyplot as plt; print(plt.get_backend())"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert "inline" not in client.execute(f"{_PLOT};\n{code};")["stdout"]


def test_images_and_html_become_assets_and_others_displays(client: Client) -> None:
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


def test_display_update_has_the_id_of_its_display(client: Client) -> None:
    code = """
from IPython.display import Markdown, display
handle = display(Markdown("1"), display_id="d", metadata={"text/markdown": {"a": 1}})
handle.update(Markdown("2"))
"""
    shown = [event.data for event in client.stream(code) if event.name == "display"]
    assert [(display["displayId"], display["update"]) for display in shown] == [("d", False), ("d", True)]
    assert [display["metadata"] for display in shown] == [{"text/markdown": {"a": 1}}, {}]


def test_updating_a_figure_rewrites_one_file(here: Machine, client: Client) -> None:
    code = f"""
{_PLOT}
from IPython.display import display
figure, axes = plt.subplots(); plt.close(figure)
handle = display(figure, display_id=True)
for n in range(5):
    axes.plot([0, n]); handle.update(figure)
plt.close("all")
"""
    result = client.execute(code, execId="loop")
    (asset,) = result["assets"]
    files = sorted(path.name for path in (here.home / ".mrmd-assets").iterdir() if path.name.startswith("loop"))
    assert (asset["update"], [asset["path"].rpartition("/")[2]]) == (True, files)
    before = client.fetch("GET", asset["url"])
    client.execute("axes.plot([n, 0]); handle.update(figure)", session="default")
    after = client.fetch("GET", asset["url"], If_None_Match=before.headers["etag"])
    assert (after.status, after.body != before.body) == (200, True), "a later cell did not update the file"
    assert not [path for path in (here.home / ".mrmd-assets").iterdir() if path.name.startswith(".")]
    (other,) = client.execute("display(figure, display_id=handle.display_id)", execId="new")["assets"]
    (updated,) = client.execute("handle.update(figure)")["assets"]
    assert updated["url"] == other["url"] != asset["url"], (
        "of two displays with one id, the update must go to the newer"
    )
    (unseen,) = client.execute("from IPython.display import update_display; update_display(figure, display_id='?')")[
        "assets"
    ]
    assert unseen["update"] is True


def test_display_ids_of_sessions_are_separate(client: Client) -> None:
    code = "from IPython.display import SVG, display; handle = display(SVG('<svg/>'), display_id='same')"
    urls = [client.execute(code, session=session)["assets"][0]["url"] for session in ("default", "other")]
    updated = client.execute("handle.update(SVG('<svg><g/></svg>'))")["assets"][0]["url"]
    assert updated == urls[0] != urls[1]
    assert client.fetch("GET", urls[1]).body == b"<svg/>"


def test_update_between_executions_replaces_the_file(client: Client) -> None:
    code = """
import threading
from IPython.display import SVG, display
handle = display(SVG("<svg/>"), display_id="background")
go = threading.Event()
def work(): go.wait(); handle.update(SVG("<svg><g/></svg>"))
threading.Thread(target=work).start()
"""
    (asset,) = client.execute(code)["assets"]
    client.execute("threading.Timer(0.05, go.set).start()")
    wait_until(
        lambda: client.fetch("GET", asset["url"]).body == b"<svg><g/></svg>",
        "the update from a thread has replaced the file",
    )


def test_asset_is_never_served_half_updated(client: Client) -> None:
    code = """
from IPython.display import SVG, display
def svg(n): return SVG(f"<svg>{str(n % 10) * (n % 10 + 1) * 30_000}</svg>")
handle = display(svg(0), display_id=True)
print("shown")
for n in range(300): handle.update(svg(n))
"""
    seen = set()
    with client.streaming(code) as events:
        asset = next(event.data for event in events if event.name == "asset")
        for event in events:
            if event.name == "asset":
                body = client.fetch("GET", asset["url"]).body.decode()
                digits = body.removeprefix("<svg>").removesuffix("</svg>")
                assert digits == digits[0] * (int(digits[0]) + 1) * 30_000
                seen.add(digits[0])
    assert len(seen) > 1


@pytest.mark.parametrize(
    "mime", ["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "text/html", "application/pdf"]
)
def test_assets_are_served_with_their_mime_type(client: Client, mime: str) -> None:
    plain = "<IPython.core.display.HTML object>"
    (asset,) = client.execute(f"display({{{mime!r}: 'PHN2Zy8+', 'text/plain': {plain!r}}}, raw=True)")["assets"]
    headers = client.fetch("GET", asset["url"]).headers
    assert headers["content-type"] == ("text/html; charset=utf-8" if mime == "text/html" else mime)
    policy, _, ancestors = headers["content-security-policy"].partition("; frame-ancestors ")
    assert policy.startswith("sandbox allow-scripts; default-src https: ")
    assert "http:" not in policy
    assert "'self'" not in policy
    assert "'self' http://localhost:*" in ancestors
    assert headers["cache-control"] == "no-cache", "clients must revalidate: an update may replace the file"


def test_asset_metadata_has_the_figure_size(client: Client) -> None:
    code = f"%config InlineBackend.figure_format = 'retina'\n{_PLOT};"
    (retina,) = client.execute(code)["assets"]
    width, height = retina["metadata"]["width"], retina["metadata"]["height"]
    png = client.fetch("GET", retina["url"]).body
    assert (2 * width, 2 * height) == (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big"))
    (pdf,) = client.execute(f"%config InlineBackend.figure_format = 'pdf'\n{_PLOT};")["assets"]
    assert (pdf["mimeType"], pdf["assetType"]) == ("application/pdf", "file")
    assert client.fetch("GET", pdf["url"]).body.startswith(b"%PDF")
    client.execute("%config InlineBackend.figure_format = 'png'")


def test_files_are_never_overwritten(here: Machine, client: Client) -> None:
    directory = here.home / "images"
    first = client.execute(f"{_PLOT};", execId="twice", assetDir="images")["assets"][0]["path"]
    client.execute("1", session="other")
    client.request("DELETE", "/executions/twice")  # so that another session can use the id
    second = client.execute(f"{_PLOT};", execId="twice", session="other", assetDir=str(directory))["assets"][0]["path"]
    assert [first, second] == [str(directory / "twice_0001.png"), str(directory / "twice_0002.png")]


def test_unwritable_asset_dir_keeps_the_display(client: Client) -> None:
    result = client.execute(f"{_PLOT};", assetDir="/proc/nowhere")
    assert result["success"]
    assert "/proc/nowhere" in result["stderr"]
    assert "image/png" in result["displayData"][0]["data"]


def test_linked_default_directory_is_not_used(here: Machine, tmp_path: Path) -> None:
    """It may come with a repository."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (elsewhere / "private.svg").write_text("<svg/>")
    (project / ".mrmd-assets").symlink_to(elsewhere)
    client = here.start("linked", "--cwd", str(project))
    _check_fallback(here, client, project, "it is a link")
    assert [path.name for path in elsewhere.iterdir()] == ["private.svg"]
    assert client.fetch("GET", "/mrp/v1/assets/private.svg").status == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make another user's directory")
@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_default_directory_of_another_user_is_not_used(here: Machine, tmp_path: Path, mode: int) -> None:
    directory = tmp_path / ".mrmd-assets"
    directory.mkdir()
    (directory / "planted.html").write_text("<b>not mine</b>")
    os.chown(directory, 65534, 65534)
    directory.chmod(mode)
    client = here.start("foreign", "--cwd", str(tmp_path))
    _check_fallback(here, client, tmp_path, "it belongs to another user")
    assert client.fetch("GET", "/mrp/v1/assets/planted.html").status == 404
    assert here.mrmd("--kill", "foreign").returncode == 0


def _check_fallback(here: Machine, client: Client, project: Path, reason: str) -> None:
    result = client.execute(DRAWING, execId="a", assetDir=".mrmd-assets")
    (asset,) = result["assets"]
    own = Path(asset["path"]).parent
    assert own.parent == here.home / ".mrmd" / "assets"
    assert result["stderr"] == (
        f"mrmd-python: note: images are saved in {own}: cannot use {project}/.mrmd-assets: {reason}\n"
    )
    assert client.fetch("GET", asset["url"]).status == 200
    again = client.execute(DRAWING)
    assert (Path(again["assets"][0]["path"]).parent, again["stderr"]) == (own, ""), "once is enough"


def test_default_directory_becomes_unwritable_by_others(here: Machine, tmp_path: Path) -> None:
    """Older versions created it with the permissions of the umask."""
    directory = tmp_path / ".mrmd-assets"
    directory.mkdir()
    (directory / "old.svg").write_text("<svg/>")
    directory.chmod(0o777)
    client = here.start("old", "--cwd", str(tmp_path))
    assert client.execute(DRAWING)["assets"][0]["path"].startswith(f"{directory}/")
    assert directory.stat().st_mode & 0o777 == 0o755
    assert client.fetch("GET", "/mrp/v1/assets/old.svg").status == 200


@pytest.mark.systemd
def test_two_users_share_a_project_directory(box: Machine, box_leader: int) -> None:
    project = "/srv/project"
    root = box_root(box_leader)
    root.read("sh", "-c", f"mkdir -m 0777 {project} && mkdir -m 0700 {project}/.mrmd-assets")
    client = box.start("second", "--cwd", project)
    (asset,) = client.execute(DRAWING)["assets"]
    assert asset["path"].startswith("/home/dev/.mrmd/assets/second/")
    assert client.fetch("GET", asset["url"]).status == 200
    root.read("rm", "-r", project)


def test_server_answers_while_the_assets_directory_hangs(here: Machine, tmp_path: Path) -> None:
    library, stalled = tmp_path / "stall.so", tmp_path / "stalled"
    if shutil.which("cc") is None:
        pytest.skip("this test needs a C compiler: apt-get install gcc libc6-dev")
    source = Path(__file__).parent / "shims" / "stall.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-o", library, source, "-ldl"], check=True)
    environ = {"LD_PRELOAD": str(library), "STALL_PATH": "project/.mrmd-assets", "STALL_WHILE": str(stalled)}
    project = tmp_path / "project"
    project.mkdir()
    client = here.start("stalled", cwd=str(project), env=environ)
    client.execute(f"{_PLOT};")
    stalled.touch()
    with client.streaming(f"print('before'); {_PLOT}; plt.show(); print('after')") as events:
        first = next(event for event in events if event.name == "stdout")
        assert client.value("1 + 1", session="other") == "2", "the server answers while the file is written"
        assert client.call("GET", "/assets/exec_0001.png", timeout=20).status == 404
        rest = [first, *events]
    asset = next(event.data for event in rest if event.name == "asset")
    assert asset["path"].startswith(f"{here.home}/.mrmd/assets/stalled/")
    assert "does not respond" in text_of(rest, "stderr")
    assert text_of(rest, "stdout") == "before\nafter\n"
    again = client.execute(f"{_PLOT}; plt.show()")
    assert again["assets"][0]["path"].startswith(f"{here.home}/.mrmd/assets/stalled/")
    stalled.unlink()
    wait_until(
        lambda: client.execute(f"{_PLOT}; plt.show()")["assets"][0]["path"].startswith(f"{project}/"),
        "images are saved in the project again",
    )
