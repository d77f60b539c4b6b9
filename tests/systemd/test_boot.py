"""Which runtimes start at boot and which survive a logout, in boxes that reboot and whose user logs in and out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.client import Client
from tests.machine import Box, wait_until

pytestmark = pytest.mark.systemd


def test_only_enabled_runtime_starts_after_reboot(own_box: Box) -> None:
    dev = own_box.user
    before = dev.start("kept", "--cwd", "/usr", env={"GIVEN": "a 'b' $c %d\n"})
    dev.start("other")
    enabled = dev.mrmd("--enable", "kept")
    assert enabled.stdout == "Enabled 'kept': it starts at boot.\n"
    assert dev.info("kept")["enabled"] is True
    dev.script("unknown/loginctl", "exit 1")
    said = dev.mrmd("--enable", "kept", env={"PATH": f"{dev.home}/unknown:{dev.environ['PATH']}"}).stdout
    assert "it starts at login, and at boot once" in said, "lingering is taken for granted"
    assert "yes, it starts at boot\n" in dev.mrmd("--info", "kept").stdout
    own_box.root.read("systemctl", "reboot")
    own_box.boot()
    dev = own_box.user
    wait_until(lambda: dev.states().get("kept") == "running", "the enabled runtime has started after the reboot")
    after = dev.client("kept")
    assert after.port == before.port, "the port changed, so editors cannot find the runtime again"
    assert after.value("import os; os.getcwd(), os.environ['GIVEN']") == repr(("/usr", "a 'b' $c %d\n"))
    assert dev.states()["other"] == "stopped"
    assert dev.mrmd("--disable", "kept").returncode == 0
    own_box.root.read("systemctl", "reboot")
    own_box.boot()
    dev = own_box.user
    wait_until(
        lambda: dev.read("systemctl", "--user", "is-system-running", "--wait") == "running",
        "the user manager has booted",
    )
    assert dev.states() == {"kept": "stopped", "other": "stopped"}
    assert dev.mrmd("--enable", "kept").returncode == 0
    assert dev.mrmd("--kill", "kept").returncode == 0
    assert dev.run("find", f"{dev.home}/.config/systemd/user/default.target.wants", "-type", "l").stdout == ""


def test_enabled_runtime_waits_for_a_late_mount(own_box: Box) -> None:
    """Its venv and its directory, as on a network or an encrypted disk; mrmd-python itself is in that venv."""
    dev, root = own_box.user, own_box.root
    root.read("mkdir", "-p", "/srv/disk/work", "/srv/late")
    root.read("mount", "--bind", "/srv/disk", "/srv/late")
    root.read(sys.executable, "-m", "venv", "--without-pip", "/srv/late/venv")
    site = root.read("find", "/srv/late/venv", "-name", "site-packages")
    paths = "\n".join(path for path in sys.path if path.endswith(("site-packages", "src")))
    root.read("sh", "-c", 'printf %s "$1" > "$2"', "sh", paths, f"{site}/here.pth")
    started = dev.run("/srv/late/venv/bin/python", "-m", "mrmd_python", "--id", "late", cwd="/srv/late/work")
    assert started.returncode == 0, started.stderr
    assert dev.mrmd("--enable", "late").returncode == 0
    root.read("systemctl", "reboot")
    own_box.boot()
    dev, root = own_box.user, own_box.root
    state = ("systemctl", "--user", "show", "--property=SubState", "--value", "mrmd-python@late")
    wait_until(lambda: dev.read(*state) == "start-pre", "it waits")
    root.read("mount", "--bind", "/srv/disk", "/srv/late")
    wait_until(lambda: dev.states().get("late") == "running", "it has started")
    assert dev.client("late").value("import os, sys; os.getcwd(), sys.prefix") == repr(
        ("/srv/late/work", "/srv/late/venv")
    )


def test_enabled_runtime_waits_for_its_address(own_box: Box) -> None:
    """A host name stands for the network: without one, it has no address."""
    dev, root = own_box.user, own_box.root
    root.read("sed", "-i", "s/^hosts:.*/hosts: files/", "/etc/nsswitch.conf")
    assert "has no address" in dev.mrmd("--id", "net", "--host", "box.example").stderr
    name = "echo 127.0.0.1 box.example >> /etc/hosts"
    root.read("sh", "-c", f"cp /etc/hosts /etc/hosts.before && {name}")
    assert dev.mrmd("--id", "net", "--host", "box.example").returncode == 0
    assert dev.mrmd("--enable", "net").returncode == 0
    root.read("mv", "/etc/hosts.before", "/etc/hosts")
    root.read("systemctl", "reboot")
    own_box.boot()
    dev, root = own_box.user, own_box.root
    state = ("systemctl", "--user", "show", "--property=SubState", "--value", "mrmd-python@net")
    wait_until(lambda: dev.read(*state) == "start-pre", "it waits")
    root.read("sh", "-c", name)
    wait_until(lambda: dev.states().get("net") == "running", "it has started")


@contextmanager
def _logged_in(box: Box) -> Iterator[None]:
    """Open a login session of dev: pam_systemd(8) opens one for a service whose PAMName includes it."""
    root = box.root
    root.read(
        "systemd-run", "--unit=visit", "--uid=dev", "--property=PAMName=login", "--property=StandardInput=null",
        "sleep", "1000",
    )  # fmt: skip
    wait_until(lambda: "dev" in root.run("loginctl", "list-sessions", "--no-legend").stdout, "dev is logged in")
    try:
        yield
    finally:
        root.read("systemctl", "stop", "visit")


def test_start_over_ssh_without_lingering_prints_a_note(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    ssh = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}
    lingering = dev.mrmd("--id", "a", env=ssh)
    assert (lingering.returncode, lingering.stderr) == (0, "")
    with _logged_in(own_box):
        root.read("loginctl", "disable-linger", "dev")
        at_home = dev.mrmd("--id", "b")
        assert (at_home.returncode, at_home.stderr) == (0, ""), "a start outside SSH must print no note"
        started = dev.mrmd("--id", "c", env=ssh)
        assert started.stderr == (
            "mrmd-python: note: 'c' ends when you log out: lingering is off for your user; "
            "to change that: loginctl enable-linger\n"
        )
        pid = dev.client("c").pid
        when = "it starts at login, and at boot once `loginctl enable-linger` is run"
        assert dev.mrmd("--enable", "c").stdout == f"Enabled 'c': {when}.\n"
        assert f"yes, {when}\n" in dev.mrmd("--info", "c").stdout
    wait_until(lambda: root.alive([pid]) == [], "the logout has ended the runtime")
    assert root.run("find", "/home/dev/.mrmd/runtimes", "-type", "f").stdout == "", "the ended runtime left a record"


def test_runtime_survives_logout_with_lingering(own_box: Box) -> None:
    dev = own_box.user
    with _logged_in(own_box):
        client: Client = dev.start("a")
        client.execute("kept = 42")
    root = own_box.root
    wait_until(lambda: root.run("loginctl", "list-sessions", "--no-legend").stdout == "", "dev is logged out")
    assert client.value("kept") == "42"
