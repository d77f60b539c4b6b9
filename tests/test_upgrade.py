"""Runtimes that the last release before this program, 0.4.2, has started, and that outlive the upgrade."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.interpreters import make_venv
from tests.machine import MRMD, Machine, wait_until

_RELEASE = "mrmd-python==0.4.2"
_AS_UNIT = "--instance=rt:notebook:1"


@pytest.fixture(scope="session")
def older_command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command of the older release, from the package index."""
    venv = tmp_path_factory.mktemp("older") / "venv"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        make_venv(version, venv, _RELEASE)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{_RELEASE} cannot be installed here: {error}")
    return f"{venv}/bin/mrmd-python"


def _start_older(here: Machine, command: str, runtime_id: str) -> Client:
    """Start a runtime by the older command, whose descriptors the runtime keeps open."""
    started = subprocess.run(
        here.command(command, "--id", runtime_id), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
    )
    assert started.returncode == 0
    (record,) = (here.home / ".mrmd" / "runtimes").glob("*.json")
    client = Client.of_record(json.loads(record.read_text()))
    wait_until(client.answers, "it answers", 60)
    return client


def test_an_older_runtime_is_known_used_and_replaced(here: Machine, older_command: str) -> None:
    runtime_id = "rt:notebook:1"  # whose file has another name
    client = _start_older(here, older_command, runtime_id)
    client.execute("kept = 42")
    listed = here.mrmd("--list")
    assert f"{runtime_id}  running" in listed.stdout
    note = f"'{runtime_id}' is of a version older than "
    assert note in listed.stderr
    info = here.mrmd("--info", runtime_id).stdout
    assert f"pid:     {client.pid}" in info
    assert "version: older than " in info
    again = here.mrmd("--id", runtime_id)
    assert (again.returncode, note in again.stderr) == (0, True)
    assert f"Runtime '{runtime_id}' is already running:\n  URL:  http://localhost:{client.port}/mrp/v1" in again.stdout
    assert "Uvicorn running" in here.mrmd("--logs", runtime_id).stdout
    for arguments, status in ((["--restart", runtime_id], 1), (["--enable", runtime_id], 1), ([_AS_UNIT], 78)):
        told = here.mrmd(*arguments)
        assert told.returncode == status
        assert f"`mrmd-python --kill {runtime_id} && mrmd-python --id {runtime_id}`" in told.stderr
        assert len(told.stderr.splitlines()) == 1
    assert client.value("kept") == "42"
    assert f"Ended '{runtime_id}'" in here.mrmd("--kill", runtime_id).stdout
    assert here.alive([client.pid]) == []
    assert here.mrmd("--list").stdout.startswith("No runtimes")
    assert "kept" not in here.start(runtime_id).execute("print(*globals())")["stdout"]
    assert here.mrmd("--list").stderr == "", "it is of this version"


def test_what_an_older_runtime_has_started_ends_with_it_even_from_within(here: Machine, older_command: str) -> None:
    client = _start_older(here, older_command, "a")
    script = (
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "orphan = int(subprocess.run('sleep 300 >/dev/null & echo $!', shell=True, stdout=-1).stdout)\n"
        "print(child.pid, orphan)"
    )
    pids = [int(word) for word in client.execute(script)["stdout"].split()]
    assert here.alive([client.pid, *pids]) == sorted([client.pid, *pids])
    with pytest.raises(ConnectionError):
        client.execute(f"subprocess.run([{MRMD!r}, '--kill', 'a'])")
    wait_until(lambda: here.mrmd("--list").stdout.startswith("No runtimes"), "it is gone")
    assert here.alive([client.pid, *pids]) == []


def _older_record(here: Machine, pid: int, port: int) -> Path:
    path = here.home / ".mrmd" / "runtimes" / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "id": "a", "pid": pid, "port": port, "host": "localhost", "url": f"http://localhost:{port}/mrp/v1",
        "venv": "/usr", "cwd": "/", "assets_dir": None, "created": "2025-01-01", "lastActivity": "2025-01-01",
    }  # fmt: skip
    path.write_text(json.dumps(fields))
    return path


_INNOCENT = """
import socket, sys
log = open(sys.argv[1], "a")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("has", ["its pid", "its log", "its port"])
def test_another_process_that_has_the_pid_now_is_let_alone(here: Machine, free_port: int, has: str) -> None:
    """Neither the log nor the port is enough to be taken for the daemon."""
    logs = here.home / ".mrmd" / "logs"
    logs.mkdir(parents=True)
    log = logs / ("a.log" if has == "its log" else "b.log")
    command = [sys.executable, "-c", _INNOCENT, str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as innocent:
        assert innocent.stdout is not None
        port = int(innocent.stdout.readline())
        record = (innocent.pid, port if has == "its port" else free_port)
        path = _older_record(here, *record)
        assert "a   dead" in here.mrmd("--list").stdout
        assert here.info("a")["status"] == "dead"
        assert "was dead already" in here.mrmd("--kill", "a").stdout
        assert not path.exists()
        _older_record(here, *record)
        assert here.start("a").value("1 + 1") == "2", "a stale record is no hindrance"
        with socket.create_connection(("127.0.0.1", port)):
            assert innocent.poll() is None
        innocent.communicate("")
        assert innocent.returncode == 0
