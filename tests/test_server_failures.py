"""Stopped and killed processes, descriptor limits and clock jumps: they are reported, and the runtime recovers.

MRMD_TEST_LONG=1 kills the server many times; `pytest -rP` shows how often.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import random
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.client import Client
from tests.machine import MRMD, Machine, processes_of, wait_until

_LONG = bool(os.environ.get("MRMD_TEST_LONG"))
_KILLS = 20 if _LONG else 1
_OPERATIONS = 50

pytestmark = pytest.mark.timeout(1200 if _LONG else 240)


def test_stopped_worker_delays_no_response_and_can_be_interrupted(here: Machine) -> None:
    client = here.start("a")
    client.execute("kept = 42")
    worker = client.get("/sessions/default")["pid"]
    with client.streaming("while True: pass") as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        with here.stopped(worker):
            assert client.is_busy()
            assert client.post("/variables")["variables"] == []
            assert client.post("/complete", {"code": "kep", "cursor": 3})["source"] == "static"
            assert client.value("6 * 7", session="other") == "42"
            assert client.post("/interrupt") == {"interrupted": True}
            assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("kept") == "42"


def test_stopped_idle_worker_resumes_and_runs_its_cell(here: Machine) -> None:
    client = here.start("a")
    client.execute("kept = 42")
    with here.stopped(client.get("/sessions/default")["pid"]):
        assert client.post("/interrupt")["interrupted"] is False
        with client.streaming("kept += 1") as events:
            assert next(events).name == "start"
    wait_until(lambda: client.get("/sessions/default")["state"] == "idle", "the cell has ended")
    assert client.value("kept") == "43"


@pytest.mark.parametrize("what", ["worker", "reaper"])
@pytest.mark.parametrize("how", ["delete", "kill"])
def test_session_with_stopped_process_can_be_deleted_or_killed(here: Machine, what: str, how: str) -> None:
    client = here.start("a")
    code = "import os, subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=True)"
    reaper, worker, child = json.loads(client.value(f"{code}; [os.getppid(), os.getpid(), child.pid]"))
    with contextlib.ExitStack() as stopped:
        stopped.enter_context(here.stopped(worker if what == "worker" else reaper))
        if how == "delete":
            assert client.request("DELETE", "/sessions/default") == (200, {"success": True})
            assert client.value("1 + 1") == "2"
        else:
            assert "Ended 'a'" in here.read(MRMD, "--kill", "a")
        assert here.alive([reaper, worker, child]) == []


class _Editor(threading.Thread):
    """A client that sends random requests until a connection fails, and sets `kill` before number `kill_at`."""

    def __init__(self, client: Client, choice: random.Random, kill_at: int, kill: "threading.Event") -> None:
        super().__init__(daemon=True)
        self._client, self._choice, self._kill_at, self._kill = client, choice, kill_at, kill
        self.done = 0

    def run(self) -> None:
        for number in range(_OPERATIONS):
            if number == self._kill_at:
                self._kill.set()
            try:
                self._operate()
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                return
            self.done += 1

    def _operate(self) -> None:
        session = self._choice.choice(["default", "s1", "s2"])
        match self._choice.randrange(8):
            case 0:
                self._client.execute("x = 1", session=session)
            case 1:
                list(self._client.stream("print('x' * 300_000)", session=session))
            case 2:
                self._client.request("POST", "/sessions", {"id": session})
            case 3:
                self._client.request("DELETE", f"/sessions/{session}")
            case 4:
                self._client.post("/interrupt", {"session": session})
            case 5:
                self._client.post("/reset", {"session": session})
            case 6:
                self._client.post("/variables", {"session": session})
            case 7:
                code = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)"
                self._client.execute(code, session=session)


def _assert_records_are_complete(machine: Machine) -> None:
    """Check that every record is complete and that --list agrees."""
    listed = json.loads(machine.read(MRMD, "--list", "--json"))
    assert [found["id"] for found in listed] in (["a"], []), listed
    for name in machine.run("find", f"{machine.home}/.mrmd/runtimes", "-type", "f").stdout.split():
        assert json.loads(machine.read("cat", name))["id"] == "a"


def test_server_killed_at_any_point_can_be_started_again(machine: Machine) -> None:
    seed = random.randrange(2**32)
    choice = random.Random(seed)
    operations = 0
    for attempt in range(_KILLS):
        client = machine.start("a")
        assert client.value("1 + 1") == "2", f"seed {seed}, attempt {attempt}"
        kill = threading.Event()
        editor = _Editor(client, random.Random(choice.random()), choice.randrange(_OPERATIONS), kill)
        editor.start()
        kill.wait(60)
        time.sleep(choice.random() * 0.1)  # so that the kill hits any part of an operation
        machine.kill("KILL", client.pid)
        editor.join(60)
        assert not editor.is_alive(), f"a client hangs: seed {seed}, attempt {attempt}"
        operations += editor.done
        _assert_records_are_complete(machine)
    again = machine.start("a")
    assert again.value("6 * 7") == "42"
    if machine.backend == "systemd":
        assert machine.read("systemctl", "--user", "is-active", "mrmd-python@a") == "active"
    assert machine.mrmd("--kill", "a").returncode == 0
    assert machine.leftovers() == ""
    print(f"\n{machine.backend}: {_KILLS} kills in runs of {operations} operations, seed {seed}")


def test_start_reports_server_killed_while_starting_and_next_start_works(here: Machine) -> None:
    choice = random.Random()
    for _ in range(_KILLS):
        with subprocess.Popen(
            here.command(MRMD, "--id", "a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as starting:
            wait_until(lambda: _server_of(here) is not None or starting.poll() is not None, "the server has started")
            server = _server_of(here)
            time.sleep(choice.random() * 0.8)  # so that the kill hits any part of the start
            with contextlib.suppress(psutil.NoSuchProcess):
                if server is not None:
                    server.kill()
            _, stderr = starting.communicate(timeout=90)
        assert "Traceback" not in stderr
        if starting.returncode != 0:
            assert (starting.returncode, len(stderr.strip().splitlines())) == (1, 1), stderr
        _assert_records_are_complete(here)
        assert here.start("a").value("6 * 7") == "42"
        assert here.mrmd("--kill", "a").returncode == 0
    assert here.leftovers() == ""


def _server_of(machine: Machine) -> "psutil.Process | None":
    for pid in processes_of(machine.home):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if "--id=a" in process.cmdline():
                return process
    return None


def _limited(machine: Machine, descriptors: int) -> Machine:
    limit = ["prlimit", f"--nofile={descriptors}:{descriptors}", "--"]
    return dataclasses.replace(machine, prefix=[*machine.prefix, *limit])


def test_server_out_of_descriptors_neither_spins_nor_floods_its_log(here: Machine) -> None:
    client = _limited(here, 64).start("a")
    server = psutil.Process(client.pid)
    log = here.home / ".mrmd/logs/a.log"
    with contextlib.ExitStack() as opened:
        for _ in range(150):
            opened.enter_context(socket.create_connection(("127.0.0.1", client.port)))
        wait_until(lambda: "cannot accept connections" in log.read_text(), "the server has run out of descriptors")
        assert server.num_fds() >= 63
        spent, began = sum(server.cpu_times()[:2]), time.monotonic()
        wait_until(lambda: time.monotonic() > began + 3, "CPU time is measured for 3 s")
        assert sum(server.cpu_times()[:2]) - spent < 1.5
    assert client.value("1 + 1") == "2", "closed connections did not free their descriptors"
    assert len(log.read_text().splitlines()) < 20


def test_sessions_are_rejected_when_descriptors_run_out(here: Machine) -> None:
    client = _limited(here, 64).start("a")
    client.execute("kept = 42")
    server = psutil.Process(client.pid)
    before = server.num_fds()
    started: list[str] = []
    for number in range(40):
        result = client.execute("1", session=f"s{number}")
        if not result["success"]:
            assert result["error"]["type"] == "SessionStartError"
            assert "Too many open files" in result["error"]["message"]
            break
        started.append(f"s{number}")
    assert 3 < len(started) < 12
    for session in ("again", "and-again"):
        status, refused = client.request("POST", "/sessions", {"id": session})
        assert (status, refused["code"]) == (422, "session_start_failed"), refused
    assert client.value("kept") == "42"
    assert client.execute("print('x' * 1_000_000)")["stdout"] == "x" * 1_000_000 + "\n", (
        "output must be kept in memory when no file can be opened"
    )
    for session in client.get("/sessions")["sessions"]:
        if session["id"] != "default":
            assert client.request("DELETE", f"/sessions/{session['id']}")[0] == 200
    wait_until(lambda: server.num_fds() <= before + 1, "the deleted sessions have freed their descriptors")
    assert client.value("6 * 7", session="s0") == "42"


def test_session_survives_cell_that_uses_up_descriptors(here: Machine) -> None:
    client = here.start("a")
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
while True: held.append(open('/dev/null'))
"""
    error = client.execute(code)["error"]
    assert (error["type"], error["message"]) == ("OSError", "[Errno 24] Too many open files: '/dev/null'")
    assert client.value("len(held) > 10") == "True"
    assert client.execute("1 / 0")["error"]["type"] == "ZeroDivisionError"
    assert client.execute("print('x' * 100_000)")["stdout"] == "x" * 100_000 + "\n"
    with client.streaming("while True: pass") as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        client.post("/interrupt")
        assert [event.name for event in events][-1] == "done"
    assert client.value("held.clear(); len(open('/dev/null').read())") == "0"


def test_sessions_inherit_the_callers_descriptor_limit(here: Machine) -> None:
    """The server raises only its own limit."""
    limit = ["prlimit", "--nofile=200:5000", "--"]
    client = dataclasses.replace(here, prefix=limit).start("a")
    assert client.value("import resource; resource.getrlimit(resource.RLIMIT_NOFILE)") == "(200, 5000)"
    assert psutil.Process(client.pid).rlimit(psutil.RLIMIT_NOFILE) == (5000, 5000)


@pytest.mark.parametrize("step", ["+10y", "-10y"])
def test_running_runtime_survives_clock_jump(here: Machine, tmp_path: Path, step: str) -> None:
    """Streams, deadlines and ids use the monotonic clock; libfaketime shifts the wall clock of the runtime alone."""
    now = tmp_path / "now"
    now.write_text("+0\n")
    env = {
        "LD_PRELOAD": _libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(now),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    client = here.start("a", env=env)
    year = int(client.value("import time; time.gmtime().tm_year"))
    with client.streaming("input()\nprint('after')") as events:
        next(events)
        now.write_text(f"{step}\n")
        exec_id = client.get("/executions?session=default")["executions"][-1]["execId"]
        wait_until(
            lambda: client.post("/input", {"execId": exec_id, "text": ""})["accepted"], "the cell accepts its input"
        )
        assert [event.name for event in events][-2:] == ["result", "done"]
    assert int(client.value("time.gmtime().tm_year")) in (year + int(step[:-1]) + d for d in (-1, 0, 1))
    with client.streaming("while True: pass") as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        assert client.post("/interrupt") == {"interrupted": True}
        assert [event.name for event in events][-1] == "done"
    assert client.value("6 * 7", session="other") == "42"
    assert client.request("DELETE", "/sessions/other")[0] == 200
    listed = json.loads(here.read(MRMD, "--list", "--json"))[0]
    assert (listed["status"], listed["pid"]) == ("running", client.pid)
    assert "Ended 'a'" in here.read(MRMD, "--kill", "a")


def _libfaketime() -> str:
    found = [str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not found:
        pytest.skip("this test needs libfaketime: apt-get install faketime")
    return found[0]
