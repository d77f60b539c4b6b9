"""Fixtures: the machines, and the box behind one of them."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote
from zlib import crc32

import pytest
from selenium import webdriver

from tests.browser import started
from tests.client import Client
from tests.machine import Box, Machine, box_machine, fork_machine, processes_of, wait_until

_BOX = Path(__file__).parent / "systemd" / "box"
_LAUNCHD = Path(__file__).parent / "launchd"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that share a box to two workers of xdist, file by file, so that two boxes are booted."""
    for item in items:
        if item.get_closest_marker("systemd") and "own_box" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(f"box {crc32(item.path.name.encode()) % 2}"))


@contextmanager
def _booted() -> Iterator[Box]:
    """Boot a box for as long as the block runs; where that cannot be done, skip the test and say why."""
    if os.geteuid() != 0:
        _do_without("the systemd tests need root, to boot a container with systemd in it")
    if shutil.which("systemd-nspawn") is None:
        _do_without("the systemd tests need systemd-nspawn: apt-get install systemd-container")
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen([_BOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdin is not None
        assert process.stdout is not None
        leader = process.stdout.readline()
        try:
            if leader:
                yield Box(int(leader), process.stdout)
        finally:
            process.stdin.close()
            status = process.wait(timeout=30)
            process.stdout.close()
        stderr.seek(0)
        if not leader:
            _do_without(f"a container with systemd cannot be booted here: {stderr.read().strip().splitlines()[-1]}")
        assert status == 0, stderr.read()


def _do_without(missing: str) -> NoReturn:
    if os.environ.get("MRMD_TEST_REQUIRE_SYSTEMD"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def box_leader() -> Iterator[int]:
    """The PID 1 of a booted box, which all tests of a worker of xdist share."""
    with _booted() as box:
        yield box.leader


@pytest.fixture
def own_box() -> Iterator[Box]:
    """A box of the test's own, which it may reboot, break and leave as it likes."""
    with _booted() as box:
        yield box


@pytest.fixture
def box(box_leader: int) -> Iterator[Machine]:
    """The box, with no runtime in it."""
    machine = box_machine(box_leader)
    yield machine
    ended = machine.mrmd("--kill-all")
    assert ended.returncode == 0, ended.stderr
    left = machine.read("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "mrmd-python@*")
    assert left == "", f"units are left: {left}"


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """This machine, with a home of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    # Matplotlib's cache of fonts and jedi's of stubs take seconds to make: all tests, of all workers of xdist, share.
    shared = tmp_path_factory.getbasetemp().parent
    machine = fork_machine(home, MPLCONFIGDIR=str(shared / "matplotlib"), XDG_CACHE_HOME=str(shared / "cache"))
    yield machine
    if (home / ".mrmd").exists():
        ended = machine.mrmd("--kill-all")
        assert ended.returncode == 0, ended.stderr
    wait_until(lambda: processes_of(home) == [], "no process of the test's is left")


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """This machine, with a home that many tests share."""
    machine = fork_machine(tmp_path_factory.mktemp("home"))
    yield machine
    assert machine.mrmd("--kill-all").returncode == 0
    wait_until(lambda: processes_of(machine.home) == [], "no process is left")


@pytest.fixture(scope="session")
def shared_runtime(shared_machine: Machine) -> Client:
    return shared_machine.start("shared")


@pytest.fixture
def shared(shared_runtime: Client) -> Client:
    """A runtime for tests that leave nothing behind in it; its default session is as new."""
    shared_runtime.post("/reset")
    return shared_runtime


@pytest.fixture
def client(shared_runtime: Client) -> Client:
    """A runtime with a new default session, in a process of its own, and no other: for tests that may wear it out."""
    for session in shared_runtime.get("/sessions")["sessions"]:
        assert shared_runtime.request("DELETE", f"/sessions/{quote(session['id'], safe='')}")[0] == 200
    return shared_runtime


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that all tests of the group "browser" share."""
    with started(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def mac(here: Machine) -> Iterator[Machine]:
    """This machine with a launchctl, and a launchd behind it that knows no agent."""
    with tempfile.TemporaryDirectory(prefix="launchd-") as folder:  # short: the path of a socket has 107 bytes
        Path(folder, "launchctl").symlink_to(_LAUNCHD / "launchctl")
        # https://developer.apple.com/library/archive/technotes/tn2083: what every agent has, here of a GUI login.
        domain = {
            "HOME": str(here.home), "USER": "dev", "LOGNAME": "dev", "SHELL": "/bin/zsh", "TMPDIR": "/tmp/",
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "SSH_AUTH_SOCK": "/tmp/of-the-domain",
        }  # fmt: skip
        command = [sys.executable, str(_LAUNCHD / "daemon.py"), f"{folder}/launchd", json.dumps(domain)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            wait_until(Path(folder, "launchd").exists, "launchd listens")
            path = f"{folder}:{here.environ['PATH']}"
            machine = dataclasses.replace(
                here, backend="launchd", environ={**here.environ, "PATH": path, "MRMD_BACKEND": "launchd"}
            )
            try:
                yield machine
                ended = machine.mrmd("--kill-all")
                assert ended.returncode == 0, ended.stderr
            finally:
                daemon.terminate()
                _, stderr = daemon.communicate(timeout=60)
            assert (daemon.returncode, stderr) == (0, "")
            agents = [path for path in (machine.home / "Library").rglob("*") if path.is_file()]
            assert agents == [], "an agent is left"


@pytest.fixture(params=["fork", pytest.param("systemd", marks=pytest.mark.systemd)])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each machine in turn."""
    fixture: Machine = request.getfixturevalue("here" if request.param == "fork" else "box")
    return fixture


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
