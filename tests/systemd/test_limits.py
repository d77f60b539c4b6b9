"""Resource limits, as systemd reports them in the properties of the unit."""

import pytest

from tests.machine import Machine

pytestmark = pytest.mark.systemd


def _properties(box: Machine, *names: str) -> dict[str, str]:
    shown = box.read("systemctl", "--user", "show", *(f"--property={name}" for name in names), "mrmd-python@a")
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_limits_become_unit_properties_and_the_unit_verifies(box: Machine) -> None:
    client = box.start(
        "a",
        *("--memory-max", "8g", "--memory-high", "6.5G", "--cpu-quota", "200%", "--tasks-max", "123", "--nice", "7"),
        *("--property", "LimitNOFILE=4096", "--property", "WatchdogSec=2min"),
    )
    names = ("MemoryMax", "MemoryHigh", "CPUQuotaPerSecUSec", "TasksMax", "Nice", "LimitNOFILE", "WatchdogUSec")
    assert _properties(box, *names) == {
        "MemoryMax": str(8 * 2**30),
        "MemoryHigh": str(int(6.5 * 2**30)),
        "CPUQuotaPerSecUSec": "2s",
        "TasksMax": "123",
        "Nice": "7",
        "LimitNOFILE": "4096",
        "WatchdogUSec": "2min",
    }
    assert client.value("import os, resource; os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE)") == (
        "(7, (4096, 4096))"
    )
    unit = f"{box.home}/.config/systemd/user/mrmd-python@a.service"
    for name in (unit, unit.replace("@a", "@")):  # the template too
        # Without the venv on PATH, where man(1) finds the manual of mrmd-python in it.
        verified = box.run("systemd-analyze", "--user", "verify", name, env={"PATH": "/usr/bin:/bin"})
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_unit_requests_no_delegation(box: Machine) -> None:
    box.start("a")
    assert _properties(box, "Delegate", "NotifyAccess", "Nice") == {
        "Delegate": "no",
        "NotifyAccess": "main",
        "Nice": "0",
    }


@pytest.mark.parametrize("setting", ["NoSuchThing=1", "MemorySwapMax=lots", "LimitNOFILE=many"])
def test_start_rejects_property_that_systemd_ignores(box: Machine, setting: str) -> None:
    done = box.mrmd("--id", "a", "--property", setting)
    assert done.returncode == 1
    assert setting.partition("=")[0] in done.stderr or setting.partition("=")[2] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert box.mrmd("--list").stdout.startswith("No runtimes")
    assert box.read("ls", f"{box.home}/.config/systemd/user/") == "mrmd-python@.service"


def test_property_set_by_the_unit_can_be_overridden(box: Machine) -> None:
    box.start("a", "--property", "Restart=no", "--property", "TimeoutStopSec=3")
    assert _properties(box, "Restart", "TimeoutStopUSec") == {"Restart": "no", "TimeoutStopUSec": "3s"}
