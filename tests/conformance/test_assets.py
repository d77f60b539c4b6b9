"""MRP, "Assets"."""

import base64
from urllib.parse import urlsplit

import pytest

from tests.conformance.wire import Run, Server, names_of

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_SHOW = "from IPython.display import display, HTML, SVG\nimport base64\n"
_PNG_CODE = (
    f"{_SHOW}display({{'image/png': {base64.b64encode(_PNG).decode()!r}, 'text/plain': 'a picture'}}, raw=True)\n"
)


@pytest.mark.row(
    "Pictures (png, jpeg, svg) and explicit HTML displays become files; Asset: path, url, mimeType, assetType, size"
)
def test_displays_that_become_files(server: Server, run: Run, session: str) -> None:
    code = f"{_PNG_CODE}display(HTML('<b>é</b>'))\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))"
    assets = run(code, execId=f"{session}-assets")["assets"]
    assert [(asset["mimeType"], asset["assetType"]) for asset in assets] == [
        ("image/png", "image"),
        ("text/html", "html"),
        ("image/svg+xml", "svg"),
    ]
    for asset in assets:
        assert asset.keys() == {"path", "url", "mimeType", "assetType", "size"}
        assert asset["path"].startswith("/")
        assert asset["url"] == f"/mrp/v1/assets/{asset['path'].rpartition('/')[2]}"
        assert asset["path"].rpartition("/")[2].startswith(f"{session}-assets_")
        answer = server.call("GET", urlsplit(asset["url"]).path.removeprefix("/mrp/v1"))
        assert (answer.status, len(answer.body)) == (200, asset["size"])
        assert answer.headers["content-type"].startswith(asset["mimeType"])
    assert len({asset["path"] for asset in assets}) == 3


@pytest.mark.row("asset: as it happens; then it is not repeated in result.assets")
def test_the_asset_event(server: Server, session: str) -> None:
    events = server.stream(_PNG_CODE, session=session)
    assert names_of(events) == ["start", "asset", "result", "done"]
    assert events[1].data["mimeType"] == "image/png"
    assert [event.data["assets"] for event in events if event.name == "result"] == [[]]


@pytest.mark.row("GET /assets/{name}: Range and ETag; nothing outside the assets folders, however it is spelled")
def test_fetching(server: Server, run: Run) -> None:
    (asset,) = run(_PNG_CODE)["assets"]
    path = asset["url"].removeprefix("/mrp/v1")
    whole = server.call("GET", path)
    assert whole.body == _PNG
    part = server.call("GET", path, headers={"Range": "bytes=1-3"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"PNG", f"bytes 1-3/{len(_PNG)}")
    assert server.call("GET", path, headers={"If-None-Match": whole.headers["etag"]}).status == 304
    assert server.call("GET", path, headers={"Range": "bytes=9999-"}).status == 416
    assert server.call("HEAD", path).status in (200, 405)
    for name in (
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cx",
        "%2fetc%2fpasswd",
        "a%00b",
        ".",
        "%252e%252e",
    ):
        assert server.call("GET", f"/assets/{name}").status == 404


@pytest.mark.row("the request's assetDir; never overwriting")
def test_a_folder_of_the_clients_own(run: Run) -> None:
    folder = run("import tempfile; folder = tempfile.mkdtemp(); print(folder)")["stdout"].strip()
    first, second = (run(_PNG_CODE, assetDir=folder)["assets"][0] for _ in range(2))
    assert first["path"].startswith(f"{folder}/")
    assert first["path"] != second["path"]
    assert run("import os, shutil; n = len(os.listdir(folder)); shutil.rmtree(folder); print(n)")["stdout"] == "2\n"


@pytest.mark.row(
    "Every open matplotlib figure is shown and closed at the end of its cell; a Figure as the last expression"
)
def test_figures(run: Run) -> None:
    for code in (
        "plt.plot([1])",
        "plt.plot([1]); plt.show()",
        "f, a = plt.subplots(); plt.close(f); f",
        "plt.plot([1]); 1 / 0",
    ):
        found = run(f"import matplotlib.pyplot as plt\n{code}")
        assert [asset["mimeType"] for asset in found["assets"]] == ["image/png"], code
    assert run("print(plt.get_fignums())")["stdout"] == "[]\n"


@pytest.mark.row("A DataFrame as the last expression is text in stdout and text/html in displayData, no file")
def test_data_frames(run: Run) -> None:
    found = run("import pandas as pd; pd.DataFrame({'a': [1]})")
    assert found["assets"] == []
    assert "text/html" in found["displayData"][0]["data"]
    assert "a" in found["stdout"]
