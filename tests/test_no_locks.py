"""A home on a file system without locks, as NFS and Lustre can be."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine import MRMD, Machine, assert_error, wait_until


def _make_library(machine: Machine) -> str:
    """Make the library that makes flock(2) fail, and return its path."""
    if shutil.which("cc") is None:
        pytest.skip("the tests of a file system without locks need a C compiler: apt-get install gcc libc6-dev")
    library = f"{machine.home}/no_locks.so"
    machine.read("cc", "-shared", "-fPIC", "-Wall", "-o", library, str(Path(__file__).with_name("no_locks.c")), "-ldl")
    return library


@pytest.fixture(params=["ENOSYS", "ENOLCK"])
def without_locks(request: pytest.FixtureRequest, here: Machine) -> Machine:
    """This machine, with a home in which no file can be locked."""
    variables = {
        "LD_PRELOAD": _make_library(here),
        "NO_LOCKS": str(here.home),
        "NO_LOCKS_ERRNO": str(getattr(errno, request.param)),
    }
    return dataclasses.replace(here, environ={**here.environ, **variables})


def test_runtimes_work_without_locks(without_locks: Machine) -> None:
    machine = without_locks
    client = machine.start("a")
    assert client.value("1 + 1") == "2"
    assert "is already running" in machine.mrmd("--id", "a").stdout
    assert machine.mrmd("--restart", "a").returncode == 0
    assert machine.states() == {"a": "running"}
    machine.kill("KILL", machine.client("a").pid)
    assert machine.start("a").value("1 + 1") == "2"
    assert "Ended 'a'" in machine.mrmd("--kill", "a").stdout
    assert machine.leftovers() == ""


def test_simultaneous_starts_without_locks_give_one_runtime(without_locks: Machine) -> None:
    command = without_locks.command(MRMD, "--id", "race", "--json")
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)]
    printed = [start.communicate(timeout=90) for start in starts]
    assert [start.returncode for start in starts] == [0] * 6, printed
    records = [json.loads(out) for out, _ in printed]
    assert len({(record["url"], record["pid"]) for record in records}) == 1
    assert without_locks.mrmd("--kill", "race").returncode == 0
    locks = (without_locks.home / ".mrmd" / "locks").stat()
    local = Path(f"/tmp/mrmd-python-{os.geteuid()}")
    assert list(local.glob(f"{locks.st_dev:x}-{locks.st_ino:x}-*")) == [], "no lock must be left"


def test_kill_ends_a_start_without_locks(without_locks: Machine) -> None:
    machine = without_locks
    started = f"{machine.home}/starting"
    machine.script("venv/bin/python", f"echo $$ > {started}; exec sleep 1000")
    command = machine.command(MRMD, "--id", "a", "--venv", f"{machine.home}/venv", "--timeout", "1h")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as start:
        wait_until(lambda: machine.run("test", "-s", started).returncode == 0, "the server is starting")
        assert "Ended 'a'" in machine.run(MRMD, "--kill", "a", timeout=20).stdout
        assert start.communicate(timeout=20)[1] == "mrmd-python: 'a' was killed while it was starting\n"


@pytest.mark.systemd
def test_local_locks_of_another_user_are_refused(box: Machine) -> None:
    local = "/tmp/mrmd-python-4242"
    env = {"LD_PRELOAD": _make_library(box), "NO_LOCKS": str(box.home), "NO_LOCKS_ERRNO": str(errno.ENOSYS)}
    box.read("sh", "-c", f"rm -rf {local}; ln -s {box.home} {local}")
    try:
        assert_error(box.mrmd("--id", "a", env=env), 1, local, "remove it")
    finally:
        box.read("rm", local)
    assert box.start("a", env=env).value("1 + 1") == "2"
    assert box.mrmd("--kill", "a", env=env).returncode == 0
