"""A fork bomb in a cell: the task limit contains it, the runtime still answers, and --kill ends it.

--tasks-max has no effect in the box if this machine uses the pids controller of cgroup v1. So every test also puts the
runtime into a cgroup of this machine that limits its tasks.
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.client import Client
from tests.machine import MRMD, Machine, wait_until

# One after the other: each takes most of the CPU time.
pytestmark = pytest.mark.xdist_group("fork bombs")

_TASKS = 60
# Of low priority, so that tests that run meanwhile have enough CPU time.
_BOMB = """
import os, time
os.nice(19)
while True:
    try: os.fork()
    except OSError: time.sleep(0.001)
"""
_DETACHING_BOMB = """
import os, time
os.nice(19)
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: time.sleep(0.001)
"""


@contextlib.contextmanager
def _task_limit() -> Iterator[Path]:
    """Make a cgroup, v1 or v2, that is limited to _TASKS tasks; yields its directory."""
    v1 = Path("/sys/fs/cgroup/pids")
    directory = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"mrmd-test-{os.getpid()}"
    try:
        directory.mkdir()
        (directory / "pids.max").write_text(str(_TASKS))
    except OSError as error:
        pytest.skip(f"cannot make a cgroup with a task limit here: {error}")
    try:
        yield directory
    finally:
        _kill_all_in(directory)
        wait_until(lambda: (directory / "cgroup.procs").read_text() == "", "all processes in the cgroup have ended")
        directory.rmdir()


def _kill_all_in(directory: Path) -> None:
    """Kill what a failed test has left: a fork bomb would bring down the machine."""
    for number in (*[signal.SIGSTOP] * 20, signal.SIGKILL):
        for pid in (directory / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)


def _processes_of(machine: Machine, runtime_id: str) -> list[int]:
    """Return the pids of a runtime's processes, as seen from this machine even if they run in the box."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            if f"MRMD_RUNTIME={runtime_id}:".encode() in environ and f"HOME={machine.home}\0".encode() in environ:
                found.append(process.pid)
    return found


def _confine(machine: Machine, runtime_id: str, limit: Path) -> None:
    """Move the runtime's processes into the cgroup."""
    for pid in _processes_of(machine, runtime_id):
        (limit / "cgroup.procs").write_text(str(pid))


def _start_bomb(client: Client, bomb: str, limit: Path) -> None:
    """Run the bomb in a separate session and wait until it has used up the task limit."""
    connection = client.connect()
    body = json.dumps({"code": bomb, "session": "bomb"})
    connection.request("POST", "/mrp/v1/execute/stream", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()
    wait_until(lambda: int((limit / "pids.current").read_text()) >= _TASKS, "the bomb has used up the task limit")


def _check_other_sessions(client: Client) -> None:
    assert client.get("/capabilities")["runtime"] == "mrmd-python"
    assert client.value("kept") == "42", "another session does not answer"
    refused = client.execute("1", session="one-more")
    assert refused["success"] or refused["error"]["type"] == "SessionStartError"


def test_task_limit_contains_fork_bomb_and_kill_ends_it(machine: Machine) -> None:
    limits = ["--tasks-max", str(_TASKS)] if machine.backend == "systemd" else []
    runtime_id = f"bomb-{os.getpid()}"
    with _task_limit() as limit:
        client = machine.start(runtime_id, *limits)
        client.execute("kept = 42")
        _confine(machine, runtime_id, limit)
        _start_bomb(client, _BOMB, limit)
        _check_other_sessions(client)
        assert f"Ended {runtime_id!r}" in machine.read(MRMD, "--kill", runtime_id)
        assert _processes_of(machine, runtime_id) == []


@pytest.mark.parametrize("end", ["deletion", "reaper killed"])
def test_fork_bomb_ends_with_its_session(here: Machine, end: str) -> None:
    with _task_limit() as limit:
        client = here.start("a")
        client.execute("kept = 42")
        reaper = int(client.value("import os; os.getppid()", session="bomb"))
        _confine(here, "a", limit)
        _start_bomb(client, _DETACHING_BOMB, limit)
        _check_other_sessions(client)
        if end == "deletion":
            assert client.request("DELETE", "/sessions/bomb") == (200, {"success": True})
        else:
            here.kill("KILL", reaper)
            wait_until(
                lambda: client.get("/sessions/bomb")["state"] == "dead", "the server has killed the whole bomb", 60
            )
        assert client.value("kept") == "42"
        assert client.value("6 * 7", session="bomb") == "42"
        assert len(_processes_of(here, "a")) <= 9, (
            "more are left than the server, and the reapers and workers of three sessions and of the next one"
        )
