"""Fixtures: the machines, and the containers behind some of them."""

import dataclasses
import json
import os
import shlex
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
from tests.slurm.hosts import Cluster

_BOX = Path(__file__).parent / "systemd" / "box"
_LAUNCHD = Path(__file__).parent / "launchd"
_CLUSTER = Path(__file__).parent / "slurm" / "cluster"
# Nodes and ended jobs are forgotten sooner than by default, and jobs are started at once.
_CLUSTER_OPTIONS = (
    "KillWait=8\nSlurmdTimeout=10\nMinJobAge=15\nSchedulerParameters=batch_sched_delay=0,sched_interval=5"
)
_MACOS = Path(__file__).parent / "macos"
_PACKAGE = Path(__file__).parents[1] / "src" / "mrmd_python"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share a box or a cluster in the same xdist worker.

    Those that share a box are spread over two workers, file by file, so that only two boxes are booted.
    """
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group(f"cluster {item.path.name}"))
        if item.get_closest_marker("systemd") and "own_box" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(f"box {crc32(item.path.name.encode()) % 2}"))


@contextmanager
def _booted() -> Iterator[Box]:
    """Boot a box and shut it down after the block; skip the test, with the reason, where that is impossible."""
    if os.geteuid() != 0:
        _skip_or_fail("the systemd tests need root, to boot a container with systemd in it")
    if shutil.which("systemd-nspawn") is None:
        _skip_or_fail("the systemd tests need systemd-nspawn: apt-get install systemd-container")
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
            _skip_or_fail(f"cannot boot a container with systemd here: {stderr.read().strip().splitlines()[-1]}")
        assert status == 0, f"the box did not shut down cleanly: {stderr.read()}"


def _skip_or_fail(missing: str) -> NoReturn:
    """Skip the test for want of a container, or fail it where there must be one."""
    if os.environ.get("MRMD_TEST_REQUIRE_SYSTEMD"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def _booted_cluster(tracking: str) -> Iterator[Cluster]:
    with tempfile.TemporaryFile("w+") as stderr:
        environ = {**os.environ, "CLUSTER_TRACKING": tracking, "CLUSTER_OPTIONS": _CLUSTER_OPTIONS}
        process = subprocess.Popen(
            [_CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ
        )
        assert process.stdin is not None
        assert process.stdout is not None
        cluster = Cluster(process.stdout)
        try:
            if cluster.booted:
                yield cluster
        finally:
            process.stdin.close()
            process.wait(timeout=60)
            process.stdout.close()
        if not cluster.booted:
            stderr.seek(0)
            _skip_or_fail(f"cannot boot a Slurm cluster here: {stderr.read().strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def box_leader() -> Iterator[int]:
    """The PID 1 of a booted box, shared by all tests of an xdist worker."""
    with _booted() as box:
        yield box.leader


@pytest.fixture
def own_box() -> Iterator[Box]:
    """A box for this test alone, which it may reboot or break."""
    with _booted() as box:
        yield box


@pytest.fixture
def box(box_leader: int) -> Iterator[Machine]:
    """The box, without any runtime."""
    machine = box_machine(box_leader)
    yield machine
    ended = machine.mrmd("--kill-all")
    assert ended.returncode == 0, ended.stderr
    left = machine.read("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "mrmd-python@*")
    assert left == "", f"the test left units behind: {left}"


@pytest.fixture(scope="module")
def linuxproc_cluster() -> Iterator[Cluster]:
    """A cluster that finds the processes of a job by their parents."""
    with _booted_cluster("linuxproc") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cgroup_cluster() -> Iterator[Cluster]:
    """A cluster that finds the processes of a job by their cgroup."""
    if not Path("/sys/fs/cgroup/freezer").is_dir():
        pytest.skip("Slurm of Debian finds processes by the freezer of cgroup v1, which this machine does not mount")
    with _booted_cluster("cgroup") as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster for this test alone, which it may break."""
    with _booted_cluster("linuxproc") as cluster:
        yield cluster


@pytest.fixture
def cluster(linuxproc_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster without any runtime."""
    yield from _without_runtimes(linuxproc_cluster)


@pytest.fixture(params=["linuxproc", "cgroup"])
def either_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster without any runtime, with each of the two ways to find the processes of a job."""
    yield from _without_runtimes(request.getfixturevalue(f"{request.param}_cluster"))


def _without_runtimes(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    ended = cluster.login.mrmd("--kill-all")
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: cluster.jobs() == "", "no job of the test is left")
    assert cluster.login.leftovers() == ""


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """This machine, with a home directory for this test alone."""
    home = tmp_path / "home"
    home.mkdir()
    # Building matplotlib's font cache and jedi's stub cache takes seconds: all tests, in all xdist workers, share them.
    shared = tmp_path_factory.getbasetemp().parent
    machine = fork_machine(home, MPLCONFIGDIR=str(shared / "matplotlib"), XDG_CACHE_HOME=str(shared / "cache"))
    yield machine
    if processes_of(home) or any((home / ".mrmd").glob("runtimes/*")):
        ended = machine.mrmd("--kill-all")
        assert ended.returncode == 0, ended.stderr
    wait_until(lambda: processes_of(home) == [], "no process of the test is left")


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """This machine, with a home directory that many tests share."""
    machine = fork_machine(tmp_path_factory.mktemp("home"))
    yield machine
    assert machine.mrmd("--kill-all").returncode == 0
    wait_until(lambda: processes_of(machine.home) == [], "all processes have ended")


@pytest.fixture(scope="session")
def shared_runtime(shared_machine: Machine) -> Client:
    return shared_machine.start("shared")


@pytest.fixture
def shared(shared_runtime: Client) -> Client:
    """A shared runtime, with its default session reset, for tests that leave nothing behind in it."""
    shared_runtime.post("/reset")
    return shared_runtime


@pytest.fixture
def client(shared_runtime: Client) -> Client:
    """The shared runtime without any session, so that the test's default session starts in a new process."""
    for session in shared_runtime.get("/sessions")["sessions"]:
        assert shared_runtime.request("DELETE", f"/sessions/{quote(session['id'], safe='')}")[0] == 200
    return shared_runtime


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser, shared by all tests of the xdist group "browser"."""
    with started(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def mac(here: Machine) -> Iterator[Machine]:
    """This machine with the test suite's launchctl and launchd, with no agent loaded."""
    # A short path: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="launchd-") as directory:
        Path(directory, "launchctl").symlink_to(_LAUNCHD / "launchctl")
        # The environment of every agent of a GUI login: https://developer.apple.com/library/archive/technotes/tn2083
        domain = {
            "HOME": str(here.home), "USER": "dev", "LOGNAME": "dev", "SHELL": "/bin/zsh", "TMPDIR": "/tmp/",
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "SSH_AUTH_SOCK": "/tmp/of-the-domain",
        }  # fmt: skip
        command = [sys.executable, str(_LAUNCHD / "daemon.py"), f"{directory}/launchd", json.dumps(domain)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            wait_until(Path(directory, "launchd").exists, "launchd listens")
            path = f"{directory}:{here.environ['PATH']}"
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
            assert agents == [], "the test left an agent behind"


@pytest.fixture
def login(cluster: Cluster) -> Machine:
    """The login host of the cluster."""
    return cluster.login


@pytest.fixture(scope="session")
def as_macos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that runs mrmd-python as on macOS, with a stand-in for libproc: tests/macos."""
    if shutil.which("cc") is None:
        pytest.skip("the stand-in for libproc needs a C compiler: apt-get install gcc libc6-dev")
    directory = tmp_path_factory.mktemp("macos")
    library, python = directory / "libproc.so", directory / "python"
    build = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(_MACOS / "libproc.c")]
    subprocess.run(build, check=True)
    start = shlex.join([str(_MACOS / "as_macos.py"), str(library)])
    python.write_text(
        "#!/bin/sh\noptions=\n"
        'while [ "${1#-}" != "$1" ]; do options="$options $1"; shift; done\n'
        f'exec {shlex.quote(sys.executable)} $options {start} "$0" "$@"\n'
    )
    python.chmod(0o755)
    return python


@pytest.fixture
def macos(mac: Machine, as_macos: Path) -> Iterator[Machine]:
    """The machine of `mac`, on which mrmd-python runs as on macOS: with stand-ins for launchd and libproc."""
    machine = dataclasses.replace(mac, program=(str(as_macos), str(_PACKAGE)))
    yield machine
    ended = machine.mrmd("--kill-all")
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(params=["fork", pytest.param("systemd", marks=pytest.mark.systemd)])
def machine(request: pytest.FixtureRequest) -> Machine:
    """This machine with the fork backend, then the box with systemd."""
    fixture: Machine = request.getfixturevalue("here" if request.param == "fork" else "box")
    return fixture


@pytest.fixture
def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
