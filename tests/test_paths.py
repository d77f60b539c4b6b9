"""Path traversal through names of assets, executions, sessions, directories and runtimes."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import DRAWING, Client
from tests.machine import Machine
from tests.programs import CHILD, SERVICE, served

_TRAVERSALS = [
    *("../secret.svg", "..%2fsecret.svg", "..%2Fsecret.svg", "%2e%2e/secret.svg", "%2e%2e%2fsecret.svg"),
    *("%252e%252e%252fsecret.svg", "%25252e%25252e%25252fsecret.svg", "..%5csecret.svg", "..\\secret.svg", "..%c0%afx"),
    *("secret.svg%00.svg", "%00", "a%0a", ".", "..", "%2e", "%2e%2e", "....//secret.svg", "..;/secret.svg", "~root"),
    *("./a_0001.svg", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%2fetc%2fpasswd", "/etc/passwd", "-", "*"),
    *("file:%2f%2f%2fetc%2fpasswd", "link.svg", "link_to_directory%2fsecret.svg", "link_to_directory/secret.svg"),
    *("directory", "fifo", ".hidden.svg", "a_0001.svg/"),
    *("a_0001.svg%00", "a_0001.svg%20", "A%CC%88.svg", "a_0001.svg::$DATA", "con", "%ff"),
]


@contextmanager
def _served(here: Machine, front: str) -> Iterator[Client]:
    if front == "runtime":
        yield here.start("a")
        return
    with served(here, CHILD if front == "child of an application" else SERVICE) as client:
        yield client


def _get(client: Client, target: str) -> tuple[int, bytes]:
    """GET a target without normalizing or validating it."""
    connection = client.connect()
    connection._validate_path = lambda url: None  # type: ignore[attr-defined]
    connection.putrequest("GET", target, skip_host=True)
    connection.putheader("Host", "localhost")
    connection.endheaders()
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("front", ["runtime", "child of an application", "service behind an application"])
def test_only_assets_are_served(here: Machine, front: str) -> None:
    with _served(here, front) as client:
        assert client.execute(DRAWING, execId="a")["assets"][0]["url"] == "/mrp/v1/assets/a_0001.svg"
        directory = here.home / ".mrmd-assets"
        for secret in (here.home / "secret.svg", here.home / "outside" / "secret.svg", directory / ".hidden.svg"):
            secret.parent.mkdir(exist_ok=True)
            secret.write_text("must not leak")
        (directory / "link.svg").symlink_to(here.home / "secret.svg")
        (directory / "link_to_directory").symlink_to(here.home / "outside")
        (directory / "directory").mkdir()
        subprocess.run(["mkfifo", directory / "fifo"], check=True)
        for name in _TRAVERSALS:
            for target in (f"/mrp/v1/assets/{name}", f"/mrp/v1/sessions/../assets/{name}"):
                status, content = _get(client, target)
                assert status in (400, 404, 405), (target, status)
                assert b"must not leak" not in content
                assert b"root:x:" not in content
        assert _get(client, "/mrp/v1/assets/a_0001.svg")[0] == 200


@pytest.mark.parametrize("front", ["runtime", "service behind an application"])
def test_ids_in_paths_reach_no_file(here: Machine, front: str) -> None:
    with _served(here, front) as client:
        client.execute("1")
        outside = here.home / "outside.json"
        outside.write_text(next((here.home / ".mrmd" / "runtimes").glob("*.json")).read_text())
        for name in (*_TRAVERSALS, "..%2f..%2foutside", "..%2foutside.json%00", "{id}"):
            for path in ("/sessions/{}", "/executions/{}", "/executions/{}/stream"):
                assert _get(client, f"/mrp/v1{path.format(name)}")[0] in (400, 403, 404, 405)
        for session in ("../../outside", "..\\outside", "a/b", "/etc/passwd", "a\0", "..", "%2e%2e"):
            status, answer = client.request("POST", "/execute", {"code": "", "session": session})
            if session.isprintable():
                assert status == 200, "a session id may look like a path"
            else:
                assert (status, answer["code"]) == (400, "bad_session")
        assert outside.exists()
        assert sorted(path.name for path in here.home.parent.iterdir()) == ["home"]


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", 1, ["x"]])
def test_unusable_asset_dir_is_reported(shared: Client, bad: object) -> None:
    status, answer = shared.request("POST", "/execute", {"code": DRAWING, "assetDir": bad})
    assert (status, answer["code"]) == (400, "wrong_type")


@pytest.mark.parametrize(
    "exec_id", ["\0", "\ud800", "/etc/x", "../x", "..\\x", "%2e%2e%2fx", "." * 5, "a\nb", "ü" * 200]
)
def test_asset_names_stay_in_their_directory(shared: Client, shared_machine: Machine, exec_id: str) -> None:
    directory = shared_machine.home / "chosen"
    asset = shared.execute(DRAWING, execId=exec_id, assetDir="chosen")["assets"][0]
    path = Path(asset["path"])
    assert path.parent == directory
    assert not path.is_symlink()
    assert _get(shared, asset["url"])[0] == 200


def test_writing_an_asset_follows_no_symlink(shared: Client, shared_machine: Machine) -> None:
    directory = shared_machine.home / "linked"
    directory.mkdir()
    target = shared_machine.home / "target.svg"
    (directory / "link_0001.svg").symlink_to(target)
    asset = shared.execute(DRAWING, execId="link", assetDir="linked")["assets"][0]
    assert asset["path"] == str(directory / "link_0002.svg")
    assert not target.exists()


def test_kill_removes_symlinks_not_their_targets(here: Machine) -> None:
    record = here.home / ".mrmd" / "runtimes" / "a.json"
    here.start("a")
    content = record.read_text()
    assert here.mrmd("--kill", "a").returncode == 0
    outside = here.home / "outside"
    for name in ("runtimes/a.json", "env/a.env", "tokens/a", "logs/b.log"):
        target = here.home / name.replace("/", "-")
        target.write_text(content)
        (here.home / ".mrmd" / name).unlink(missing_ok=True)
        (here.home / ".mrmd" / name).symlink_to(target)
    killed = here.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert not record.is_symlink()
    assert (here.home / "runtimes-a.json").read_text() == content
    assert (here.home / "tokens-a").read_text() == content
    assert not outside.exists()
