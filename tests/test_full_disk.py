"""Disks that fill while a runtime uses them: it keeps what it can elsewhere, and recovers once there is room.

The disks are small tmpfs mounts in a mount namespace that ends with the test.
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
from tests.machine import MRMD, Machine, assert_error, wait_until

_MEGABYTE = 2**20


class _Disks:
    """A mount namespace in which directories can become small disks."""

    def __init__(self, holder: int, here: Machine) -> None:
        enter = ["nsenter", f"--target={holder}", "--mount", "--"]
        # This machine, with the disks mounted.
        self.root = dataclasses.replace(here, prefix=enter)

    def mount(self, directory: Path, size: str) -> None:
        """Mount a disk of that size on `directory`."""
        directory.mkdir(exist_ok=True, parents=True)
        self.root.read("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(directory))

    def fill(self, directory: Path) -> None:
        """Fill the disk on `directory`."""
        self.root.run("sh", "-c", f"cat /dev/zero > {directory}/filler")

    def make_room(self, directory: Path) -> None:
        """Undo `fill`."""
        self.root.read("rm", f"{directory}/filler")


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


def _display(image: bytes) -> str:
    data = {"text/plain": "an image", "image/png": base64.b64encode(image).decode()}
    return f"from IPython.display import display; display({data!r}, raw=True)"


def test_full_asset_disk_turns_asset_into_display(disks: _Disks, here: Machine) -> None:
    directory = here.home / "assets"
    disks.mount(directory, "64k")
    client = disks.root.start("a", "--assets-dir", str(directory))
    kept = client.execute(_display(b"kept" * 1000))["assets"]
    assert len(kept) == 1
    disks.fill(directory)
    events = client.stream(_display(b"lost" * 1000))
    assert f"cannot be written to {directory}: No space left on device" in text_of(events, "stderr")
    assert [event.data["data"]["image/png"] for event in events if event.name == "display"]
    assert events[-2].name == "result"
    assert disks.root.read("ls", str(directory)).split() == sorted(["filler", Path(kept[0]["path"]).name])
    disks.make_room(directory)
    assert len(client.execute(_display(b"again" * 1000))["assets"]) == 1
    assert client.fetch("GET", kept[0]["url"]).body == b"kept" * 1000


def test_full_disk_keeps_output_in_bounded_memory(disks: _Disks, here: Machine) -> None:
    directory = here.home / "tmp"
    disks.mount(directory, "2m")
    client = disks.root.start("a", env={"TMPDIR": str(directory)})
    # The log is written to the disk only if there is room at first.
    client.stream("kept = 42; print('x' * 1_000_000)", accumulated=False)
    disks.fill(directory)
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    code = "for n in range(20_000): print(n, 'x' * 1000)"
    printed = "".join(f"{n} {'x' * 1000}\n" for n in range(20_000))
    events = client.stream(code, accumulated=False, execId="long")
    assert text_of(events, "stdout") == printed
    assert text_of(client.follow("long", "?accumulated=false"), "stdout") == printed, "the output was not kept"
    assert server.memory_info().rss - before < 100 * _MEGABYTE
    assert text_of(client.stream("for n in range(100): print('y' * 1_000_000)", accumulated=False), "stdout")
    grown = server.memory_info().rss - before
    assert grown < 256 * _MEGABYTE, f"the server has grown by {grown / _MEGABYTE:.0f} MB while 120 MB were printed"
    disks.make_room(directory)
    assert text_of(client.stream(code, accumulated=False), "stdout") == printed
    assert client.value("kept") == "42"


def test_runtime_survives_full_home_disk_and_can_be_killed(disks: _Disks, here: Machine) -> None:
    directory = here.home / ".mrmd"
    disks.mount(directory, "256k")
    client = disks.root.start("a")
    client.execute("kept = 42")
    disks.fill(directory)
    print_later = "import threading; threading.Timer(0, lambda: [print('x' * 1000) for _ in range(1000)]).start()"
    for session in ("default", "other"):
        client.execute(print_later, session=session)
    client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", session="other")
    assert client.value("kept") == "42"
    assert client.value("6 * 7", session="other") == "42"
    assert disks.root.client("a") == client
    done = disks.root.mrmd("--id", "b")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
    assert "No space left on device" in done.stderr
    assert "Ended 'a'" in disks.root.read(MRMD, "--kill", "a")
    assert json.loads(disks.root.read(MRMD, "--list", "--json")) == []
    disks.make_room(directory)
    assert disks.root.start("a").value("6 * 7") == "42"


def test_runtime_can_be_killed_where_no_file_can_be_created(disks: _Disks, here: Machine) -> None:
    folder = here.home / ".mrmd"
    disks.mount(folder, "256k,nr_inodes=40")
    client = disks.root.start("a")
    disks.root.run("sh", "-c", f"n=0; while : > {folder}/filler$n; do n=$((n + 1)); done")
    assert_error(disks.root.mrmd("--id", "b"), 1, "No space left on device")
    killed = disks.root.mrmd("--kill", "a")
    assert (killed.returncode, killed.stderr) == (0, "")
    assert "Ended 'a' and every process it started" in killed.stdout
    assert not client.answers()
    assert json.loads(disks.root.read(MRMD, "--list", "--json")) == []


def test_kill_on_read_only_disk_names_the_files_that_stay(disks: _Disks, here: Machine) -> None:
    folder = here.home / ".mrmd"
    client = disks.root.start("a")
    disks.root.read("mount", "--bind", str(folder), str(folder))
    disks.root.read("mount", "-o", "remount,bind,ro", str(folder))
    refused = disks.root.mrmd("--id", "b")
    assert_error(refused, 1, "Read-only file system", "MRMD_HOME")
    for _ in range(2):
        killed = disks.root.mrmd("--kill", "a")
        assert_error(killed, 0, "could not be removed (Read-only file system)", str(folder / "runtimes" / "a.json"))
        assert str(folder / "tokens") not in killed.stderr, "only files that exist must be named"
        assert disks.root.alive([client.pid]) == []
        assert disks.root.states() == {"a": "dead"}
    disks.root.read("umount", str(folder))
    assert disks.root.read(MRMD, "--kill", "a") == "'a' was already dead; removed its files."
    assert disks.root.leftovers() == ""


def test_runtime_killed_on_full_disk_starts_again_once_there_is_room(disks: _Disks, here: Machine) -> None:
    directory = here.home / ".mrmd"
    disks.mount(directory, "256k")
    client = disks.root.start("a")
    disks.fill(directory)
    here.kill("KILL", client.pid)
    wait_until(lambda: not client.answers(), "the server is gone")
    again = disks.root.mrmd("--id", "a")  # may succeed: the cleanup after the killed server frees some space
    if again.returncode != 0:
        assert (again.returncode, len(again.stderr.strip().splitlines())) == (1, 1), again.stderr
        assert "No space left on device" in again.stderr
    disks.make_room(directory)
    assert disks.root.start("a").value("6 * 7") == "42"
