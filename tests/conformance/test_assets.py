"""MRP, "Assets"."""

import base64
from urllib.parse import urlsplit

import pytest

from tests.client import Client, Run, names_of

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_PNG_BASE64 = base64.b64encode(_PNG).decode()
_SHOW = "from IPython.display import display, update_display, HTML, SVG, Image\nimport base64\n"
_PNG_CODE = f"{_SHOW}png = {_PNG_BASE64!r}; display({{'image/png': png, 'text/plain': 'an image'}}, raw=True)\n"


@pytest.mark.row(
    "Images (png, jpeg, svg, gif, webp), PDF and explicit HTML displays become files; "
    "Asset: path, url, mimeType, assetType, size, metadata"
)
def test_images_pdf_and_html_become_assets(server: Client, run: Run, session: str) -> None:
    code = (
        f"{_PNG_CODE}display(HTML('<b>é</b>'))\ndisplay(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))\n"
        "for mime in ('image/jpeg', 'image/gif', 'image/webp', 'application/pdf'): display({mime: png}, raw=True)"
    )
    assets = run(code, execId=f"{session}-assets")["assets"]
    assert [(asset["mimeType"], asset["assetType"]) for asset in assets] == [
        ("image/png", "image"),
        ("text/html", "html"),
        ("image/svg+xml", "svg"),
        ("image/jpeg", "image"),
        ("image/gif", "image"),
        ("image/webp", "image"),
        ("application/pdf", "file"),
    ]
    for asset in assets:
        assert asset.keys() - {"data"} == {"path", "url", "mimeType", "assetType", "size", "metadata"}
        assert asset["path"].startswith("/")
        assert asset["url"] == f"/mrp/v1/assets/{asset['path'].rpartition('/')[2]}"
        assert asset["path"].rpartition("/")[2].startswith(f"{session}-assets_")
        answer = server.call("GET", urlsplit(asset["url"]).path.removeprefix("/mrp/v1"))
        assert (answer.status, len(answer.body)) == (200, asset["size"])
        assert answer.headers["content-type"].startswith(asset["mimeType"])
    assert len({asset["path"] for asset in assets}) == 7


@pytest.mark.row("Asset: metadata (width, height, ...), data (the other MIME forms of the same display, if any)")
def test_asset_keeps_metadata_and_other_mime_forms(run: Run) -> None:
    code = (
        "display({'image/png': png, 'text/html': '<b>x</b>', 'text/plain': 'x'}, raw=True,\n"
        "        metadata={'image/png': {'width': 50, 'height': 20}, 'text/html': {'isolated': True}})\n"
        "display({'image/png': png}, raw=True); display(Image(base64.b64decode(png), width=50))"
    )
    whole, bare, sized = run(f"{_PNG_CODE}{code}")["assets"][1:]
    assert whole["metadata"] == {"width": 50, "height": 20, "text/html": {"isolated": True}}
    assert whole["data"] == {"text/html": "<b>x</b>", "text/plain": "x"}
    assert (bare["metadata"], "data" in bare) == ({}, False)
    assert sized["metadata"] == {"width": 50}
    (last,) = run("Image(base64.b64decode(png), width=50, height=20)")["assets"]
    assert last["metadata"] == {"width": 50, "height": 20}


_UPDATABLE = f"{_SHOW}def svg(text): return SVG(f'<svg xmlns=\"http://www.w3.org/2000/svg\">{{text}}</svg>')\n"


@pytest.mark.row("Asset: displayId, update (an update replaces the file)")
@pytest.mark.parametrize("update", ["handle.update(svg(2))", "update_display(svg(2), display_id='d')"])
def test_update_replaces_the_file_of_its_display(server: Client, run: Run, update: str) -> None:
    (first,) = run(f"{_UPDATABLE}handle = display(svg(1), display_id='d')")["assets"]
    assert (first["displayId"], first["update"]) == ("d", False)
    path = first["url"].removeprefix("/mrp/v1")
    before = server.call("GET", path)
    assert before.body.endswith(b">1</svg>")
    (second,) = run(f"display(svg('another'))\n{update}")["assets"][1:]
    assert (second["displayId"], second["update"], second["url"]) == ("d", True, first["url"])
    after = server.call("GET", path, headers={"If-None-Match": before.headers["etag"]})
    assert (after.status, after.body.endswith(b">2</svg>")) == (200, True)


@pytest.mark.row("Asset: update; ExecuteResult.assets and displayData have each display once, as it was last")
def test_result_has_the_last_update_of_each_display(server: Client, run: Run, session: str) -> None:
    code = (
        f"{_UPDATABLE}a = display(svg('a'), display_id='a'); b = display(svg('b'), display_id='b')\n"
        "for n in range(20): a.update(svg(n))\n"
        "note = display({'x/y': 0}, raw=True, display_id='note')\n"
        "for n in range(20): note.update({'x/y': n}, raw=True)"
    )
    found = run(code)
    assert [(asset["displayId"], asset["update"]) for asset in found["assets"]] == [("a", True), ("b", False)]
    bodies = [server.call("GET", asset["url"].removeprefix("/mrp/v1")).body for asset in found["assets"]]
    assert [b">19<" in bodies[0], b">b<" in bodies[1]] == [True, True]
    assert found["displayData"] == [{"data": {"x/y": 19}, "metadata": {}, "displayId": "note", "update": True}]
    events = server.stream(code, session=session)
    assert [event.name for event in events].count("asset") == 22, "each update must be sent as an event"
    assert [event.data["displayData"] for event in events if event.name == "result"] == [found["displayData"]]


@pytest.mark.row("Asset: an update that changes what the display is")
def test_update_may_change_image_to_text_and_back(server: Client, run: Run) -> None:
    (image,) = run(f"{_UPDATABLE}handle = display(svg(1), display_id='d')")["assets"]
    as_text = run("handle.update({'text/plain': 'text'}, raw=True)")
    assert (as_text["assets"], as_text["stdout"]) == ([], "text\n")
    assert as_text["displayData"] == [
        {"data": {"text/plain": "text"}, "metadata": {}, "displayId": "d", "update": True}
    ]
    (again,) = run("handle.update(svg(2))")["assets"]
    assert (again["url"], again["update"]) == (image["url"], True)
    both = run("handle.update({'text/plain': 'text'}, raw=True); handle.update(svg(3))")
    assert ([asset["url"] for asset in both["assets"]], both["displayData"]) == ([image["url"]], [])
    (other,) = run(f"handle.update({{'image/png': {_PNG_BASE64!r}}}, raw=True)")["assets"]
    assert (other["mimeType"], other["displayId"], other["update"]) == ("image/png", "d", True)
    assert server.call("GET", other["url"].removeprefix("/mrp/v1")).body == _PNG
    from_text = run("handle = display({'text/plain': 'text'}, raw=True, display_id='e'); handle.update(svg(4))")
    assert [asset["update"] for asset in from_text["assets"]] == [True]
    assert from_text["displayData"] == []


@pytest.mark.row("asset: as it happens; then it is not repeated in result.assets")
def test_asset_event_is_not_repeated_in_the_result(server: Client, session: str) -> None:
    events = server.stream(_PNG_CODE, session=session)
    assert names_of(events) == ["start", "asset", "result", "done"]
    assert events[1].data["mimeType"] == "image/png"
    assert [event.data["assets"] for event in events if event.name == "result"] == [[]]


@pytest.mark.row("GET /assets/{name}: Range and ETag; nothing outside the asset directories, however it is spelled")
def test_assets_are_served_with_range_and_etag(server: Client, run: Run) -> None:
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
def test_request_can_choose_asset_dir(run: Run) -> None:
    directory = run("import tempfile; directory = tempfile.mkdtemp(); print(directory)")["stdout"].strip()
    first, second = (run(_PNG_CODE, assetDir=directory)["assets"][0] for _ in range(2))
    assert first["path"].startswith(f"{directory}/")
    assert first["path"] != second["path"]
    assert (
        run("import os, shutil; n = len(os.listdir(directory)); shutil.rmtree(directory); print(n)")["stdout"] == "2\n"
    )


@pytest.mark.row(
    "Every open matplotlib figure is shown and closed at the end of its cell; a Figure as the last expression"
)
def test_open_figures_become_images_and_are_closed(run: Run) -> None:
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
def test_data_frame_is_text_and_html(run: Run) -> None:
    found = run("import pandas as pd; pd.DataFrame({'a': [1]})")
    assert found["assets"] == []
    assert "text/html" in found["displayData"][0]["data"]
    assert "a" in found["stdout"]
