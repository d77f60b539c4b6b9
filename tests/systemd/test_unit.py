"""A runtime as a unit: what systemctl and journalctl tell of it, and what becomes of it when its server dies."""

import pytest

from tests.machine import Machine, wait_until

pytestmark = pytest.mark.systemd


def test_a_crashed_server_comes_back_on_its_port_and_says_what_is_lost(box: Machine) -> None:
    client = box.start("vllm")
    client.execute("kept = 42")
    box.kill("KILL", client.pid)
    wait_until(lambda: "running" in box.mrmd("--list").stdout, "it is up again")
    again = box.client("vllm")
    assert again.port == client.port
    assert again.pid != client.pid
    result = again.execute("kept")
    assert result["error"]["type"] == "NameError"
    assert "the variables are gone" in result["stderr"]
    assert again.execute("1")["stderr"] == "", "it says so once"


def test_a_runtime_is_a_unit_that_verifies_and_tells_what_it_does(box: Machine) -> None:
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
        wait_until(lambda: _status_text(box).endswith("running: default"), "the status line tells what runs")
        client.post("/interrupt")
    wait_until(lambda: _status_text(box).endswith("idle"), "the status line tells that nothing runs")


def test_systemctl_restart_gives_a_fresh_runtime_on_a_new_pid(box: Machine) -> None:
    client = box.start("vllm")
    box.read("systemctl", "--user", "restart", "mrmd-python@vllm")
    again = box.client("vllm")
    assert again.pid != client.pid
    assert again.value("1 + 1") == "2"


def _status_text(box: Machine) -> str:
    return box.read("systemctl", "--user", "show", "--property=StatusText", "--value", "mrmd-python@vllm")
