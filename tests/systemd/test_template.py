"""Runtimes that systemctl starts from the installed template, without `mrmd-python --id`."""

import pytest

from tests.machine import Machine

pytestmark = pytest.mark.systemd


@pytest.fixture
def box(box: Machine) -> Machine:
    """The box, with the template installed."""
    box.start("first")
    assert box.mrmd("--kill", "first").returncode == 0
    return box


def test_commands_find_runtime_started_by_systemctl(box: Machine) -> None:
    box.read("systemctl", "--user", "start", "mrmd-python@foo")
    client = box.client("foo")
    assert client.value("import os; os.getcwd()") == f"'{box.home}'"
    record = box.info("foo")
    assert (record["backend"], record["unit"]) == ("systemd", "mrmd-python@foo.service")
    assert "is already running" in box.mrmd("--id", "foo").stdout
    pids = [client.pid, int(client.value("os.getpid()"))]
    assert "Ended 'foo'" in box.mrmd("--kill", "foo").stdout
    assert box.alive(pids) == []
    assert box.states() == {}
    assert box.run("find", f"{box.home}/.mrmd", "-name", "*foo*").stdout == ""


def test_escaped_id_in_unit_name_is_the_same_runtime(box: Machine) -> None:
    box.read("systemctl", "--user", "start", r"mrmd-python@a\x2bb-c:d@e.service")
    assert box.client("a+b-c:d@e").value("1 + 1") == "2"
    assert "is already running" in box.mrmd("--id", "a+b-c:d@e").stdout


def test_unit_with_invalid_id_fails_once_and_logs_why(box: Machine) -> None:
    assert box.run("systemctl", "--user", "start", r"mrmd-python@a\x20b.service").returncode == 1
    status = box.read("systemctl", "--user", "show", "--property=NRestarts,ExecMainStatus", r"mrmd-python@a\x20b")
    assert dict(line.split("=") for line in status.splitlines()) == {"NRestarts": "0", "ExecMainStatus": "2"}
    assert "invalid id" in box.read("journalctl", "--user-unit", r"mrmd-python@a\x20b", "--output=cat")
    assert box.mrmd("--list").stdout.startswith("No runtimes"), "a unit with an invalid id is listed"
    box.read("systemctl", "--user", "reset-failed")


def test_failed_start_is_listed_until_killed(box: Machine) -> None:
    box.read("sh", "-c", "mv ~/.mrmd ~/away && touch ~/.mrmd")
    try:
        assert box.run("systemctl", "--user", "start", "mrmd-python@foo").returncode == 1
    finally:
        box.read("sh", "-c", "rm ~/.mrmd && mv ~/away ~/.mrmd")
    assert box.states() == {"foo": "failed"}
    assert box.mrmd("--kill-all").returncode == 0
    assert box.states() == {}


def test_crash_and_restart_keep_the_port(box: Machine) -> None:
    box.read("systemctl", "--user", "start", "mrmd-python@foo")
    client = box.client("foo")
    box.kill("KILL", client.pid)
    assert box.wait_for_restart("foo", client).port == client.port
    box.read("systemctl", "--user", "restart", "mrmd-python@foo")
    again = box.client("foo")
    assert (again.port, again.value("1 + 1")) == (client.port, "2")


def test_list_shows_stopped_unit_only_if_it_has_a_file(box: Machine) -> None:
    """A runtime started by mrmd-python has a unit file, so it stays listed; an instance of the template does not."""
    box.start("kept", env={"GIVEN": "yes"})
    box.read("systemctl", "--user", "start", "mrmd-python@foo")
    assert box.states() == {"foo": "running", "kept": "running"}
    pids = [box.client(name).pid for name in ("foo", "kept")]
    box.read("systemctl", "--user", "stop", "mrmd-python@*")
    assert box.alive(pids) == []
    assert box.states() == {"kept": "stopped"}
    box.read("systemctl", "--user", "start", "mrmd-python@kept")
    assert box.client("kept").value("import os; os.environ['GIVEN']") == "'yes'"
    box.read("systemctl", "--user", "stop", "mrmd-python@kept")
    killed = box.mrmd("--kill", "kept")
    assert killed.returncode == 0, killed.stderr
    assert box.states() == {}


def test_start_works_after_systemctl_stop(box: Machine) -> None:
    box.start("kept")
    box.read("systemctl", "--user", "stop", "mrmd-python@kept")
    assert box.start("kept", "--cwd", "/usr").value("import os; os.getcwd()") == "'/usr'"


def test_stopped_runtime_stays_enabled_until_it_starts_with_another_backend(box: Machine) -> None:
    box.start("kept")
    assert box.mrmd("--enable", "kept").returncode == 0
    box.read("systemctl", "--user", "stop", "mrmd-python@kept")  # the manager keeps enabled units loaded
    assert box.start("kept", "--cwd", "/usr").value("import os; os.getcwd()") == "'/usr'"
    assert box.info("kept")["enabled"] is True
    box.read("systemctl", "--user", "stop", "mrmd-python@kept")
    box.start("kept", "--backend", "fork")
    record = box.info("kept")
    assert (record["backend"], record["enabled"]) == ("fork", None)
    assert box.mrmd("--kill", "kept").returncode == 0
    assert box.states() == {}
