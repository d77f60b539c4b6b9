"""The watchdog restarts a server that hangs, and leaves one with busy sessions alone."""

import pytest

from tests.machine import Machine, wait_until

pytestmark = pytest.mark.systemd


def test_watchdog_restarts_hanging_server_on_its_port(box: Machine) -> None:
    client = box.start("a", "--property", "WatchdogSec=2s")
    worker = int(client.value("import os; os.getpid()"))
    box.kill("STOP", client.pid)
    wait_until(lambda: box.alive([client.pid]) == [], "systemd has killed the hanging server", 40)
    again = box.start("a")
    assert (again.port, again.pid != client.pid) == (client.port, True)
    assert box.alive([worker]) == []
    result = again.execute("1")
    assert "the variables are gone" in result["stderr"]
    log = box.read("journalctl", "--user-unit", "mrmd-python@a", "--output=cat")
    assert "Watchdog timeout" in log


def test_unit_has_no_watchdog_by_default(box: Machine) -> None:
    """It would end a runtime that was frozen or suspended for longer than its time, with all variables."""
    box.start("a")
    watchdog = box.read("systemctl", "--user", "show", "--property=WatchdogUSec", "--value", "mrmd-python@a.service")
    assert watchdog in ("0", "infinity")


@pytest.mark.parametrize(
    "code", ["while time.monotonic() < end: pass", "hashlib.pbkdf2_hmac('sha512', b'', b'', 3 * 10**6)"]
)
def test_watchdog_ignores_busy_session(box: Machine, code: str) -> None:
    client = box.start("a", "--property", "WatchdogSec=1s")
    client.execute(f"import hashlib, time; end = time.monotonic() + 3\n{code}")
    assert box.client("a") == client
    assert box.read("systemctl", "--user", "show", "--property=NRestarts", "--value", "mrmd-python@a") == "0"
