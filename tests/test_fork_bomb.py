"""A fork bomb in a cell: the limit to tasks holds it, the runtime answers, and --kill ends all of it.

The box may have no pids controller of its own (cgroup v2 has it where the machine does not run it under v1): then the
limit is set there as well, for the processes of the runtime.
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

_TASKS = 60
_BOMB = """
import os, time
while True:
    try: os.fork()
    except OSError: time.sleep(0.001)
"""
_DETACHING_BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: time.sleep(0.001)
"""


@contextlib.contextmanager
def _task_limit() -> Iterator[Path]:
    """A cgroup that holds so many tasks at most, v1 or v2."""
    v1 = Path("/sys/fs/cgroup/pids")
    folder = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"mrmd-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "pids.max").write_text(str(_TASKS))
    except OSError as error:
        pytest.skip(f"a cgroup with a limit to its tasks cannot be made here: {error}")
    try:
        yield folder
    finally:
        _end_all_in(folder)
        wait_until(lambda: (folder / "cgroup.procs").read_text() == "", "its processes are gone")
        folder.rmdir()


def _end_all_in(folder: Path) -> None:
    """End what a failed test has left: it would take the machine with it."""
    for number in (*[signal.SIGSTOP] * 20, signal.SIGKILL):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)


def _processes_of(machine: Machine, runtime_id: str) -> list[int]:
    """Return the pids of a runtime's processes, as this machine counts, whichever machine it is on."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            if f"MRMD_RUNTIME={runtime_id}:".encode() in environ and f"HOME={machine.home}\0".encode() in environ:
                found.append(process.pid)
    return found


def _confine(machine: Machine, runtime_id: str, limit: Path) -> None:
    for pid in _processes_of(machine, runtime_id):
        (limit / "cgroup.procs").write_text(str(pid))


def _set_off(client: Client, bomb: str, limit: Path) -> None:
    """Run the bomb in a session of its own and wait until it has all the tasks there are."""
    connection = client.connect()
    body = json.dumps({"code": bomb, "session": "bomb"})
    connection.request("POST", "/mrp/v1/execute/stream", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()
    wait_until(lambda: int((limit / "pids.current").read_text()) >= _TASKS, "it has them all")


def _check_that_all_else_goes_on(client: Client) -> None:
    assert client.get("/capabilities")["runtime"] == "mrmd-python"
    assert client.value("kept") == "42", "other sessions run"
    refused = client.execute("1", session="one-more")
    assert refused["success"] or refused["error"]["type"] == "SessionStartError"


def test_task_limit_contains_fork_bomb_and_kill_ends_it(machine: Machine) -> None:
    limits = ["--tasks-max", str(_TASKS)] if machine.backend == "systemd" else []
    runtime_id = f"bomb-{os.getpid()}"
    with _task_limit() as limit:
        client = machine.start(runtime_id, *limits)
        client.execute("kept = 42")
        _confine(machine, runtime_id, limit)
        _set_off(client, _BOMB, limit)
        _check_that_all_else_goes_on(client)
        assert f"Ended {runtime_id!r}" in machine.read(MRMD, "--kill", runtime_id)
        assert _processes_of(machine, runtime_id) == []


@pytest.mark.parametrize("end", ["deletion", "death of the reaper"])
def test_fork_bomb_ends_with_its_session(here: Machine, end: str) -> None:
    with _task_limit() as limit:
        client = here.start("a")
        client.execute("kept = 42")
        reaper = int(client.value("import os; os.getppid()", session="bomb"))
        _confine(here, "a", limit)
        _set_off(client, _DETACHING_BOMB, limit)
        _check_that_all_else_goes_on(client)
        if end == "deletion":
            assert client.request("DELETE", "/sessions/bomb") == (200, {"success": True})
        else:
            here.kill("KILL", reaper)
            wait_until(lambda: client.get("/sessions/bomb")["state"] == "dead", "all of it is gone", 60)
        assert client.value("kept") == "42"
        assert client.value("6 * 7", session="bomb") == "42"
        assert len(_processes_of(here, "a")) <= 7, "server, and a reaper and a worker of each session"
