"""Disks that fill while a runtime uses them: nothing is lost that has another place, and it goes on once there is room.

The disks are small tmpfs mounts in a mount namespace of the test's own, which end with it.
"""

import base64
import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.client import text_of
from tests.machine import MRMD, Machine, wait_until

_MEGABYTE = 2**20


class _Disks:
    """A mount namespace in which a folder can be made a disk of its own."""

    def __init__(self, holder: int, here: Machine) -> None:
        enter = ["nsenter", f"--target={holder}", "--mount", "--"]
        # This machine, with those disks.
        self.root = dataclasses.replace(here, prefix=enter)

    def mount(self, folder: Path, size: str) -> None:
        """Make `folder` a disk of that size, for good."""
        folder.mkdir(exist_ok=True, parents=True)
        self.root.read("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder))

    def fill(self, folder: Path) -> None:
        """Leave no room on the disk `folder`."""
        self.root.run("sh", "-c", f"cat /dev/zero > {folder}/filler")

    def make_room(self, folder: Path) -> None:
        """Undo that."""
        self.root.read("rm", f"{folder}/filler")


@pytest.fixture
def disks(here: Machine) -> Iterator[_Disks]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disks")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read end"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"\n"
        machine = _Disks(holder.pid, here)
        yield machine
        machine.root.mrmd("--kill-all")
        holder.stdin.close()


def _display(picture: bytes) -> str:
    data = {"text/plain": "a picture", "image/png": base64.b64encode(picture).decode()}
    return f"from IPython.display import display; display({data!r}, raw=True)"


def test_full_asset_disk_turns_asset_into_display(disks: _Disks, here: Machine) -> None:
    folder = here.home / "assets"
    disks.mount(folder, "64k")
    client = disks.root.start("a", "--assets-dir", str(folder))
    kept = client.execute(_display(b"kept" * 1000))["assets"]
    assert len(kept) == 1
    disks.fill(folder)
    events = client.stream(_display(b"lost" * 1000))
    assert f"cannot be written to {folder}: No space left on device" in text_of(events, "stderr")
    assert [event.data["data"]["image/png"] for event in events if event.name == "display"]
    assert events[-2].name == "result"
    assert disks.root.read("ls", str(folder)).split() == sorted(["filler", Path(kept[0]["path"]).name])
    disks.make_room(folder)
    assert len(client.execute(_display(b"again" * 1000))["assets"]) == 1
    assert client.fetch("GET", kept[0]["url"]).body == b"kept" * 1000


def test_full_disk_keeps_output_in_bounded_memory(disks: _Disks, here: Machine) -> None:
    folder = here.home / "tmp"
    disks.mount(folder, "2m")
    client = disks.root.start("a", env={"TMPDIR": str(folder)})
    client.stream(
        "kept = 42; print('x' * 1_000_000)", accumulated=False
    )  # a disk that is full from the first is not used
    disks.fill(folder)
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    code = "for n in range(20_000): print(n, 'x' * 1000)"
    printed = "".join(f"{n} {'x' * 1000}\n" for n in range(20_000))
    events = client.stream(code, accumulated=False, execId="long")
    assert text_of(events, "stdout") == printed
    assert text_of(client.follow("long", "?accumulated=false"), "stdout") == printed, "it is kept"
    assert server.memory_info().rss - before < 100 * _MEGABYTE
    assert text_of(client.stream("for n in range(100): print('y' * 1_000_000)", accumulated=False), "stdout")
    grown = server.memory_info().rss - before
    print(f"\n20 MB and 100 MB printed with a full disk: the server has grown by {grown / _MEGABYTE:.0f} MB")
    assert grown < 256 * _MEGABYTE
    disks.make_room(folder)
    assert text_of(client.stream(code, accumulated=False), "stdout") == printed
    assert client.value("kept") == "42"


def test_runtime_survives_full_home_disk_and_can_be_killed(disks: _Disks, here: Machine) -> None:
    folder = here.home / ".mrmd"
    disks.mount(folder, "256k")
    client = disks.root.start("a")
    client.execute("kept = 42")
    disks.fill(folder)
    left_behind = "import threading; threading.Timer(0, lambda: [print('x' * 1000) for _ in range(1000)]).start()"
    for session in ("default", "other"):
        client.execute(left_behind, session=session)
    client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", session="other")
    assert client.value("kept") == "42"
    assert client.value("6 * 7", session="other") == "42"
    assert disks.root.client("a") == client
    done = disks.root.mrmd("--id", "b")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr
    assert "Ended 'a'" in disks.root.read(MRMD, "--kill", "a")
    assert json.loads(disks.root.read(MRMD, "--list", "--json")) == []
    disks.make_room(folder)
    assert disks.root.start("a").value("6 * 7") == "42"


def test_runtime_killed_on_full_disk_starts_again_once_there_is_room(disks: _Disks, here: Machine) -> None:
    folder = here.home / ".mrmd"
    disks.mount(folder, "256k")
    client = disks.root.start("a")
    disks.fill(folder)
    here.kill("KILL", client.pid)
    wait_until(lambda: not client.answers(), "it is gone")
    again = disks.root.mrmd("--id", "a")  # what the dead one has left makes a little room
    if again.returncode != 0:
        assert (again.returncode, len(again.stderr.strip().splitlines())) == (1, 1), again.stderr
        assert "No space left on device" in again.stderr
    disks.make_room(folder)
    assert disks.root.start("a").value("6 * 7") == "42"
