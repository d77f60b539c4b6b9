"""A full disk, a missing bus or a broken user manager: clear errors, and no half-installed unit."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Client
from tests.machine import MRMD, Box, Machine, assert_error, wait_until

pytestmark = pytest.mark.systemd


@pytest.mark.parametrize("delay", [0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_start_can_be_interrupted_at_any_time(machine: Machine, delay: float) -> None:
    """Sends SIGINT to the whole process group, as Ctrl-C in a terminal does, twice."""
    command = machine.command(MRMD, "--id", "a")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as cli:
        lock = f"{machine.home}/.mrmd/locks/a.lock"
        wait_until(
            lambda: machine.run("test", "-e", lock).returncode == 0 or cli.poll() is not None, "the start has begun"
        )
        time.sleep(delay)  # so that each case interrupts another part of the start
        for _ in range(2):
            os.killpg(cli.pid, signal.SIGINT)
        _, stderr = cli.communicate(timeout=60)
    assert "Traceback" not in stderr, stderr
    if cli.returncode != 0:
        # -SIGINT: nsenter was killed, or the command before it handles signals.
        assert cli.returncode in (130, -signal.SIGINT), stderr
        assert stderr.strip() in ("mrmd-python: interrupted", "")
    if "running" in machine.mrmd("--list").stdout:  # the start was quicker than the interrupt
        assert machine.client("a").value("1 + 1") == "2"
        assert machine.mrmd("--kill", "a").returncode == 0
    assert machine.mrmd("--list").stdout.startswith("No runtimes")
    assert machine.leftovers() == ""


def test_hanging_manager_is_reported(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    ended = dev.start("ended")
    client = dev.start("before")
    dev.start("stopped")
    dev.read("systemctl", "--user", "stop", "mrmd-python@stopped")
    manager = root.read("systemctl", "show", "--property=MainPID", "--value", "user@4242.service")
    commands = (
        ["--id", "a", "--backend", "systemd"],
        ["--list", "--json"],
        ["--kill", "ended"],
        ["--id", "b", "--json"],
    )
    with root.stopped(int(manager)), ThreadPoolExecutor() as pool:  # each waits for the manager, some more than once
        refused, listed, killed, started = pool.map(lambda arguments: dev.mrmd(*arguments), commands)
        assert_error(refused, 1, "did not answer", "within 10 s", "--backend fork")
        states = {found["id"]: found["status"] for found in json.loads(listed.stdout)}
        assert states["before"] == "running", "runtimes in the registry must still be listed"
        assert states["stopped"] == "unknown"
        assert (killed.returncode, killed.stderr) == (0, "")
        assert not ended.answers()
        assert started.returncode == 0, started.stderr
        assert (
            "note: started as a daemon, not a systemd unit: the systemd user manager did not answer" in started.stderr
        )
        assert Client.of_record(json.loads(started.stdout)).value("1 + 1") == "2"
    assert client.value("1 + 1") == "2"
    assert "ended" not in dev.states()
    assert dev.mrmd("--kill-all").returncode == 0
    assert dev.leftovers() == ""


def test_start_works_without_dbus(own_box: Box) -> None:
    """systemctl reaches the user manager by its private socket."""
    dev = own_box.user
    dev.read("systemctl", "--user", "stop", "dbus.socket", "dbus.service")
    for address in ("unix:path=/nowhere/bus", ""):
        done = dev.mrmd("--id", "a", env={"DBUS_SESSION_BUS_ADDRESS": address})
        assert done.returncode == 0, done.stderr
        assert dev.info("a")["backend"] == "systemd"
        assert dev.mrmd("--kill", "a").returncode == 0
    assert dev.leftovers() == ""


def test_without_user_manager_only_the_daemon_backend_works(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    root.read("systemctl", "stop", "user@4242.service")
    started = dev.mrmd("--id", "a")
    assert (started.returncode, started.stderr) == (0, "")
    assert dev.info("a")["backend"] == "fork"
    refused = dev.mrmd("--id", "b", "--backend", "systemd")
    assert_error(refused, 1, "the systemd backend is not available", "/run/user/4242/systemd/private")
    assert_error(dev.mrmd("--id", "b", "--memory-max", "1G"), 1, "--memory-max: cannot be enforced for a daemon")
    assert dev.mrmd("--kill-all").returncode == 0


def test_without_user_manager_units_are_listed_kept_and_removed_as_a_whole(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    for runtime_id in ("killed", "kept"):
        dev.start(runtime_id)
        assert dev.mrmd("--enable", runtime_id).returncode == 0
    dev.read("systemctl", "--user", "enable", "mrmd-python@template")
    root.read("systemctl", "stop", "user@4242.service")
    stopped = dict.fromkeys(("kept", "killed", "template"), "stopped")
    assert dev.states() == stopped
    assert dev.info("kept")["enabled"] is True
    for runtime_id in ("kept", "template"):
        refused = dev.mrmd("--id", runtime_id)
        assert_error(refused, 1, f"{runtime_id!r} is a systemd unit", "loginctl enable-linger", "--backend fork")
    assert_error(dev.mrmd("--restart", "kept"), 1, "no user manager is running", "loginctl enable-linger")
    assert_error(dev.mrmd("--enable", "kept"), 1, "no user manager is running", "loginctl enable-linger")
    assert dev.states() == stopped, "nothing has changed"
    assert dev.mrmd("--kill", "killed").returncode == 0
    assert dev.mrmd("--disable", "template").returncode == 0
    assert dev.states() == {"kept": "stopped"}
    root.read("systemctl", "start", "user@4242.service")
    wait_until(lambda: dev.states() == {"kept": "running"}, "only the enabled one has started by itself")
    root.read("systemctl", "stop", "user@4242.service")
    dev.start("kept", "--backend", "fork")
    assert dev.info("kept")["backend"] == "fork"
    assert dev.mrmd("--kill", "kept").returncode == 0
    root.read("systemctl", "start", "user@4242.service")
    assert dev.read("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "mrmd-python@*") == ""
    assert dev.leftovers() == ""


@pytest.mark.parametrize("options", [[], ["--runtime"]])
def test_masked_unit_stays_masked(box: Machine, options: list[str]) -> None:
    box.start("template")
    assert box.mrmd("--kill", "template").returncode == 0
    units = ["mrmd-python@a.service", "mrmd-python@.service"]
    box.read("sh", "-c", "mv ~/.config/systemd/user/mrmd-python@.service ~")
    box.read("systemctl", "--user", "mask", *options, *units)
    try:
        assert_error(box.mrmd("--id", "a"), 1, "mrmd-python@a.service is masked", "unmask", "--backend fork")
        by_template = box.mrmd("--id", "b")
        assert_error(by_template, 1, "mrmd-python@b.service is masked", "unmask mrmd-python@.service")
        assert box.states() == {}
        assert box.start("a", "--backend", "fork").value("1 + 1") == "2"
        assert box.mrmd("--kill", "a").returncode == 0
        states = box.run("systemctl", "--user", "is-enabled", *units).stdout.split()
        assert states == [f"masked{'-runtime' if options else ''}"] * 2
    finally:
        box.read("systemctl", "--user", "unmask", *options, *units)
    assert box.start("a").value("1 + 1") == "2"


def test_commands_work_while_the_manager_reloads(box: Machine) -> None:
    switch = f"{box.home}/reload"
    box.read("touch", switch)
    reload = f"while test -e {switch}; do systemctl --user daemon-reload; done"
    reloading = subprocess.Popen(box.command("sh", "-c", reload))
    try:
        for number in range(3):
            assert box.start(f"r{number}").value("1 + 1") == "2"
        for number in range(3):
            assert box.mrmd("--kill", f"r{number}").returncode == 0
    finally:
        box.read("rm", switch)  # a signal would end nsenter, and leave the loop running
        reloading.wait()
    assert box.leftovers() == ""


def test_start_reports_full_disk_and_works_once_there_is_room(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    for directory in (f"{dev.home}/.mrmd", f"{dev.home}/.config/systemd/user"):
        dev.read("mkdir", "-p", directory)
        root.read("mount", "-t", "tmpfs", "-o", "size=64k,uid=4242,gid=4242,mode=700", "tmpfs", directory)
        dev.run("sh", "-c", f"head -c 1M /dev/zero > {directory}/filler")
        assert_error(dev.mrmd("--id", "a"), 1, "No space left on device", directory)
        dev.read("rm", f"{directory}/filler")
        assert dev.start("a").value("1 + 1") == "2"
        assert dev.mrmd("--kill", "a").returncode == 0
        assert dev.leftovers() == ""
        root.read("umount", directory)


def test_runtime_survives_disk_that_fills(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    directory = f"{dev.home}/.mrmd"
    dev.read("mkdir", "-p", directory)
    root.read("mount", "-t", "tmpfs", "-o", "size=64k,uid=4242,gid=4242,mode=700", "tmpfs", directory)
    client = dev.start("a")
    dev.run("sh", "-c", f"head -c 1M /dev/zero > {directory}/filler")
    assert client.value("1 + 1") == "2"
    dev.kill("KILL", client.pid)
    wait_until(lambda: dev.mrmd("--list").stdout.count("running") == 0, "the server is down")
    dev.read("rm", f"{directory}/filler")
    again = dev.start("a")
    assert (again.port, again.value("1 + 1")) == (client.port, "2")
    assert dev.mrmd("--kill", "a").returncode == 0
    assert dev.run("find", directory, "-type", "f", "-not", "-path", "*/logs/*").stdout == ""


def test_kill_works_with_libraries_that_break_systemctl(box: Machine) -> None:
    used = box.read("sh", "-c", "ldd $(command -v systemctl) | sed -n 's/^\\s*\\(lib\\S*\\) =>.*/\\1/p'").split()
    needed = box.read("ldd", sys.executable)
    library = next(name for name in used if name not in needed)
    box.read("sh", "-c", f"mkdir ~/lib && : > ~/lib/{library}")
    env = {"LD_LIBRARY_PATH": f"{box.home}/lib"}
    try:
        assert box.run("systemctl", "--user", "status", env=env).returncode == 127
        client = box.start("a", env=env)
        assert box.info("a", env=env)["backend"] == "systemd"
        assert client.value("import os; os.environ['LD_LIBRARY_PATH']") == repr(env["LD_LIBRARY_PATH"])
        assert box.mrmd("--enable", "a", env=env).returncode == 0
        assert "answers at" in box.mrmd("--logs", "a", env=env).stdout
        assert box.mrmd("--restart", "a", env=env).returncode == 0
        assert "Ended 'a'" in box.mrmd("--kill", "a", env=env).stdout
    finally:
        box.read("rm", "-r", f"{box.home}/lib")
    assert box.leftovers() == ""


def test_kill_works_with_another_configuration_directory(box: Machine) -> None:
    client = box.start("a")
    assert box.mrmd("--enable", "a").returncode == 0
    killed = box.mrmd("--kill", "a", env={"XDG_CONFIG_HOME": f"{box.home}/elsewhere"})
    assert (killed.returncode, killed.stderr) == (0, "")
    assert not client.answers()
    assert box.leftovers() == ""
    assert box.run("find", f"{box.home}/.config/systemd", "-type", "l").stdout == ""


def test_kill_in_read_only_home_names_the_files_that_stay(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    client = dev.start("a")
    assert dev.mrmd("--enable", "a").returncode == 0
    root.read("mount", "--bind", "/home/dev", "/home/dev")
    root.read("mount", "-o", "remount,bind,ro", "/home/dev")
    killed = dev.mrmd("--kill", "a")
    unit = "/home/dev/.config/systemd/user/mrmd-python@a.service"
    link = "/home/dev/.config/systemd/user/default.target.wants/mrmd-python@a.service"
    assert_error(killed, 0, "could not be removed (Read-only file system)", unit, link, "/home/dev/.mrmd/env/a.env")
    assert "Ended 'a' and every process it started" in killed.stdout
    assert not client.answers()
    root.read("umount", "/home/dev")
    assert dev.mrmd("--kill", "a").returncode == 0
    assert dev.leftovers() == ""
    assert dev.run("find", "/home/dev/.config/systemd", "-type", "l").stdout == ""


def test_start_rejects_read_only_home(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    root.read("mount", "--bind", "/home/dev", "/home/dev")
    root.read("mount", "-o", "remount,bind,ro", "/home/dev")
    assert_error(dev.mrmd("--id", "a"), 1, "/home/dev/.mrmd", "Read-only file system", "MRMD_HOME")
    for option in ("--list", "--kill-all"):
        assert dev.mrmd(option).stdout.startswith("No runtimes")
    # MRMD_HOME moves the files of mrmd-python, but the unit file still has to go below the home directory.
    env = {"MRMD_HOME": "/tmp/mrmd-of-dev"}
    assert_error(dev.mrmd("--id", "a", env=env), 1, "cannot write the unit", "Read-only file system")
    started = dev.mrmd("--id", "a", "--backend", "fork", env=env)
    assert started.returncode == 0, started.stderr
    assert dev.mrmd("--kill", "a", env=env).returncode == 0


def test_commands_work_after_the_clock_was_set(machine: Machine) -> None:
    """The commands run in another year than the runtime: libfaketime shifts the clocks of a single process."""
    client = machine.start("a")
    later, earlier = (["faketime", "-f", step, MRMD] for step in ("+2y", "-2y"))
    for faked in (later, earlier):
        listed = json.loads(machine.read(*faked, "--list", "--json"))[0]
        assert (listed["status"], listed["pid"]) == ("running", client.pid)
        assert "is already running" in machine.read(*faked, "--id", "a")
    assert "Ended 'a'" in machine.read(*later, "--kill", "a")
    machine.read(*earlier, "--id", "b")
    assert "running" in machine.mrmd("--list").stdout
    assert machine.mrmd("--kill", "b").returncode == 0


def test_runtime_directory_of_another_user_is_ignored(own_box: Box) -> None:
    """As after su, which leaves root's in the environment."""
    dev = own_box.user
    own_box.root.read("install", "-d", "-m", "700", "/run/user/0/systemd")
    for directory in ("/run/user/0", "/nowhere", "/tmp", ""):
        env = {"XDG_RUNTIME_DIR": directory, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus"}
        assert dev.mrmd("--list", env=env).stdout.startswith("No runtimes")
        started = dev.mrmd("--id", "a", env=env)
        assert (started.returncode, started.stderr) == (0, "")
        assert dev.info("a", env=env)["backend"] == "systemd"
        assert dev.mrmd("--kill", "a", env=env).returncode == 0
    assert dev.leftovers() == ""


def test_home_with_any_name_gets_a_unit(own_box: Box) -> None:
    root = own_box.root
    home = '/home/a "b" $c\\d `é'
    root.read("systemctl", "stop", "user@4242.service")
    root.read("mv", "/home/dev", home)
    root.read("sed", "-i", f"s|:/home/dev:|:{home.replace(chr(92), chr(92) * 2)}:|", "/etc/passwd")
    root.read("systemctl", "start", "user@4242.service")
    dev = dataclasses.replace(own_box.user, home=Path(home), environ={**own_box.user.environ, "HOME": home})
    started = dev.mrmd("--id", "a")
    assert (started.returncode, started.stderr) == (0, "")
    assert dev.info("a")["backend"] == "systemd"
    assert dev.client("a").value("import os; os.getcwd()") == repr(home)
    assert dev.mrmd("--kill", "a").returncode == 0


def test_user_manager_of_the_host_is_not_used_in_a_toolbox(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    root.read("touch", "/run/.containerenv")
    assert dev.start("a").value("1 + 1") == "2"
    assert dev.info("a")["backend"] == "systemd", "the user manager of a container that systemd has booted is not used"
    assert dev.mrmd("--kill", "a").returncode == 0
    root.read("rm", "/run/systemd/container", "/run/.containerenv")
    for marker, env in (("/run/.toolboxenv", {}), ("/run/.containerenv", {}), (None, {"DISTROBOX_ENTER_PATH": "/x"})):
        if marker is not None:
            root.read("touch", marker)
        started = dev.mrmd("--id", "a", env=env)
        assert "note: started as a daemon, not a systemd unit: the user manager that answers" in started.stderr
        assert dev.info("a")["backend"] == "fork"
        assert_error(dev.mrmd("--id", "b", "--backend", "systemd", env=env), 1, "toolbox", "--backend fork")
        assert dev.mrmd("--kill", "a").returncode == 0
        if marker is not None:
            root.read("rm", marker)
