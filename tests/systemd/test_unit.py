"""A runtime as a systemd unit: its status and log, and its restart after a crash."""

import json
import subprocess
import sys

import pytest

from tests.machine import Machine, assert_error, wait_until

pytestmark = pytest.mark.systemd


def test_crashed_server_restarts_on_its_port_and_reports_the_loss(box: Machine) -> None:
    client = box.start("vllm")
    client.execute("kept = 42")
    box.kill("KILL", client.pid)
    again = box.wait_for_restart("vllm", client)
    assert again.port == client.port
    result = again.execute("kept")
    assert result["error"]["type"] == "NameError"
    assert "the variables are gone" in result["stderr"]
    assert again.execute("1")["stderr"] == "", "the loss must be reported only once"


def test_unit_verifies_and_shows_status(box: Machine) -> None:
    client = box.start("vllm")
    unit = f"{box.home}/.config/systemd/user/mrmd-python@vllm.service"
    verified = box.run("systemd-analyze", "--user", "verify", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    status = box.read("systemctl", "--user", "status", "mrmd-python@vllm")
    assert "active (running)" in status
    assert f'Status: "http://localhost:{client.port}/mrp/v1, 1 session, idle"' in status
    log = box.read("journalctl", "--user", "--unit=mrmd-python@vllm", "--output=cat")
    assert f"runtime vllm answers at http://localhost:{client.port}/mrp/v1" in log
    with client.streaming("import time; time.sleep(100)"):
        wait_until(lambda: _status_text(box).endswith("running: default"), "the status line names the busy session")
        client.post("/interrupt")
    wait_until(lambda: _status_text(box).endswith("idle"), "the status line says idle")


def test_systemctl_restart_gives_a_fresh_runtime_on_a_new_pid(box: Machine) -> None:
    client = box.start("vllm")
    box.read("systemctl", "--user", "restart", "mrmd-python@vllm")
    again = box.client("vllm")
    assert again.pid != client.pid
    assert again.value("1 + 1") == "2"


def _status_text(box: Machine) -> str:
    return box.read("systemctl", "--user", "show", "--property=StatusText", "--value", "mrmd-python@vllm")


def test_unit_command_has_all_options_and_works_in_a_shell(box: Machine) -> None:
    port = box.start("vllm", "--idle-timeout", "2h", "--memory-max", "8G", "--cwd", "/usr").port
    unit = box.read("systemctl", "--user", "cat", "mrmd-python@vllm").replace("\\\n", "")
    (command,) = (line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart="))
    for option in ("--foreground", "--id=vllm", "--cwd=/usr", "--idle-timeout=7200", "--memory-max=8G"):
        assert option in command.split()
    box.read("systemctl", "--user", "stop", "mrmd-python@vllm")
    with subprocess.Popen(box.command("sh", "-c", command)) as shell:
        wait_until(lambda: box.states().get("vllm") == "running", "the typed command serves the runtime")
        client = box.client("vllm")
        assert (client.port, client.value("import os; os.getcwd()")) == (port, "'/usr'")
        assert "Ended 'vllm'" in box.mrmd("--kill", "vllm").stdout
        assert shell.wait(timeout=20) == 0
    assert box.alive([client.pid]) == []


def test_edited_unit_applies(box: Machine) -> None:
    client = box.start("vllm")
    unit = f"{box.home}/.config/systemd/user/mrmd-python@vllm.service"
    box.read("sed", "--in-place", f"s|--cwd={box.home}|--cwd /usr --stop-timeout 2s|", unit)
    box.read("systemctl", "--user", "daemon-reload")
    box.read("systemctl", "--user", "restart", "mrmd-python@vllm")
    assert (box.client("vllm").port, box.client("vllm").value("import os; os.getcwd()")) == (client.port, "'/usr'")
    box.read("sed", "--in-place", "s|--cwd /usr|--cwd /nowhere|", unit)
    box.read("systemctl", "--user", "daemon-reload")
    assert box.run("systemctl", "--user", "restart", "mrmd-python@vllm").returncode == 1
    assert "/nowhere" in box.mrmd("--logs", "vllm").stdout


def test_unit_is_not_restarted_when_its_venv_is_gone(box: Machine) -> None:
    box.script("venv/bin/python", f'exec {sys.executable} "$@"')
    box.start("vllm", "--venv", f"{box.home}/venv")
    box.read("systemctl", "--user", "stop", "mrmd-python@vllm")
    box.read("rm", "-r", f"{box.home}/venv")
    assert box.run("systemctl", "--user", "start", "mrmd-python@vllm").returncode == 1
    status = box.read("systemctl", "--user", "show", "--property=NRestarts,ExecMainStatus", "mrmd-python@vllm")
    assert status.splitlines() == ["NRestarts=0", "ExecMainStatus=78"]
    assert box.mrmd("--kill", "vllm").returncode == 0


def test_runtimes_of_another_home_are_left_alone(box: Machine) -> None:
    other = {"MRMD_HOME": f"{box.home}/other home"}
    client = box.start("a")
    box.read("systemctl", "--user", "start", "mrmd-python@t")
    assert json.loads(box.mrmd("--list", "--json", env=other).stdout) == []
    start = box.mrmd("--id", "a", env=other)
    assert_error(start, 1, "mrmd-python@a.service belongs to a runtime in another MRMD_HOME")
    for action in ("--kill", "--restart", "--disable", "--info"):
        assert "no runtime named 'a'" in box.mrmd(action, "a", env=other).stderr
    assert box.mrmd("--id", "b", env=other).returncode == 0
    assert box.mrmd("--id", "a", "--backend", "fork", env=other).returncode == 0
    assert "b" not in box.states()
    assert box.mrmd("--kill-all", env=other).returncode == 0
    assert (box.states(), box.info("a")["pid"]) == ({"a": "running", "t": "running"}, client.pid)
    box.read("ln", "-s", f"{box.home}/.mrmd", f"{box.home}/link")
    assert box.mrmd("--kill", "a", env={"MRMD_HOME": f"{box.home}/link"}).returncode == 0
    box.read("rm", "-r", f"{box.home}/link", f"{box.home}/other home")
