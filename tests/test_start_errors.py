"""Errors of the command: one line on stderr, an exit status, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.client import Client
from tests.machine import MRMD, Machine, assert_error, wait_until


def _write_dead_record(machine: Machine, runtime_id: str, **changes: object) -> Path:
    """Write the record of a dead runtime, with `changes`, and return its path."""
    path = machine.home / ".mrmd" / "runtimes" / f"{runtime_id}.json"
    machine.start(runtime_id)
    record = json.loads(path.read_text()) | changes
    assert machine.mrmd("--kill", runtime_id).returncode == 0
    path.write_text(json.dumps(record))
    return path


def test_reused_pid_is_not_signalled(here: Machine) -> None:
    with subprocess.Popen(["sleep", "1000"]) as unrelated:
        try:
            path = _write_dead_record(here, "stale", pid=unrelated.pid)
            assert "dead" in here.mrmd("--list").stdout
            killed = here.mrmd("--kill", "stale")
            assert killed.returncode == 0
            assert "was already dead" in killed.stdout
            assert not path.exists()
            path = _write_dead_record(here, "stale", pid=unrelated.pid)
            assert here.start("stale").value("1 + 1") == "2", "a stale record blocks a new start"
            assert here.mrmd("--kill", "stale").returncode == 0
            assert unrelated.poll() is None, "the process that reuses the pid was killed"
        finally:
            unrelated.terminate()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "cut"}', '{"id": "cut", "pid": true}', "\x00\xff"])
def test_damaged_record_is_named_and_replaced(here: Machine, content: str) -> None:
    path = here.home / ".mrmd" / "runtimes" / "cut.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert "unreadable" in here.mrmd("--list").stdout
    assert_error(here.mrmd("--info", "cut"), 1, str(path), "--kill cut")
    assert here.start("cut").value("1 + 1") == "2"
    assert json.loads(path.read_text())["id"] == "cut"


def test_runtime_whose_record_is_damaged_can_be_killed(here: Machine) -> None:
    client = here.start("cut")
    pids = [client.pid, int(client.value("import os; os.getpid()"))]
    path = here.home / ".mrmd" / "runtimes" / "cut.json"
    path.write_text(path.read_text()[:100])
    assert_error(here.mrmd("--id", "cut"), 1, str(path), "--kill cut")
    killed = here.mrmd("--kill", "cut")
    assert killed.returncode == 0, killed.stderr
    assert here.alive(pids) == []
    assert not path.exists()


@pytest.mark.parametrize(
    "invalid",
    ["../../x", "", ".hidden", "-dash", "a/b", "/a", "a b", "ä", "x" * 129, "a\nb", "%2e%2e%2fa", "a\\", "a*", "~"],
)
def test_invalid_id_is_a_usage_error_and_creates_nothing(here: Machine, invalid: str) -> None:
    for option in ("--id", "--info", "--kill"):
        assert_error(here.mrmd(f"{option}={invalid}"), 2, "invalid id")
    assert list(here.home.iterdir()) == []


@pytest.mark.parametrize("valid", ["x" * 128, "rt:notebook:694db3:6f6e88:python:464929:f5ddaf", "+_a.b:c@d+e-f"])
def test_valid_ids_are_accepted(machine: Machine, valid: str) -> None:
    assert machine.start(valid).value("1 + 1") == "2"
    assert valid in machine.mrmd("--list").stdout
    assert machine.mrmd("--kill", valid).returncode == 0


@pytest.mark.systemd
def test_start_rejects_id_too_long_for_a_unit_name(box: Machine) -> None:
    assert_error(box.mrmd("--id", "+" * 128), 1, "unit name")


def test_start_rejects_port_in_use_and_leaves_nothing(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_error(machine.mrmd("--id", "a", "--port", str(port)), 1, f"port {port} is in use")
    assert machine.mrmd("--list").stdout.startswith("No runtimes")
    assert machine.start("a", "--port", str(port)).port == port


@pytest.mark.systemd
def test_start_rejects_privileged_port(box: Machine) -> None:
    assert_error(box.mrmd("--id", "a", "--port", "80"), 1, "80")


def test_start_rejects_missing_venv(machine: Machine) -> None:
    assert_error(machine.mrmd("--venv", "/nowhere/venv"), 1, "/nowhere/venv", "does not exist")
    assert_error(machine.mrmd("--venv", "/usr/share"), 1, "/usr/share", "has no bin/python")
    assert machine.mrmd("--list").stdout.startswith("No runtimes")


def test_start_rejects_venv_whose_python_does_not_run(here: Machine) -> None:
    python = here.home / "broken" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("this is not a program")
    python.chmod(0o755)
    assert_error(here.mrmd("--venv", str(here.home / "broken")), 1, str(python), "Exec format error")
    assert here.mrmd("--list").stdout.startswith("No runtimes")


def test_start_rejects_missing_cwd(machine: Machine) -> None:
    assert_error(machine.mrmd("--cwd", "/nowhere/at/all"), 1, "/nowhere/at/all", "does not exist")
    assert_error(machine.mrmd("--cwd", "/etc/passwd"), 1, "is not a directory")


def test_start_rejects_removed_working_directory(here: Machine) -> None:
    done = here.run("bash", "-c", f"mkdir gone; cd gone; rmdir ../gone; {MRMD}")
    assert_error(done, 1, "does not exist any more")


def test_start_rejects_unwritable_home(machine: Machine) -> None:
    assert_error(machine.mrmd("--id", "a", env={"MRMD_HOME": "/proc/mrmd"}), 1, "/proc/mrmd", "MRMD_HOME")


@pytest.mark.systemd
def test_start_rejects_home_of_another_user(box: Machine) -> None:
    assert_error(box.mrmd("--id", "a", env={"MRMD_HOME": "/usr/mrmd"}), 1, "/usr/mrmd", "Permission denied")
    assert_error(box.mrmd("--id", "a", env={"HOME": "/usr"}), 1, "/usr/.mrmd", "Permission denied")


def test_start_reports_why_the_server_failed_and_leaves_nothing(machine: Machine) -> None:
    prefix = f"{machine.home}/broken"
    machine.read("mkdir", "-p", f"{prefix}/bin")
    machine.read("ln", "-s", "/bin/false", f"{prefix}/bin/python")
    done = machine.mrmd("--id", "a", "--venv", prefix)
    assert_error(done, 1, f"{prefix}/bin/python cannot run a session: its process exited with status 1")
    assert machine.mrmd("--list").stdout.startswith("No runtimes")
    left = machine.read(
        "find", f"{machine.home}/.mrmd", "(", "-path", "*/runtimes/*", "-o", "-path", "*/env/*", ")", "-print"
    )
    assert left == ""
    if machine.backend == "systemd":
        assert machine.read("ls", f"{machine.home}/.config/systemd/user/") == "mrmd-python@.service", (
            "only the template may be left"
        )
        state = machine.read("systemctl", "--user", "show", "--property=ActiveState", "--value", "mrmd-python@a")
        assert state == "inactive"


def test_start_waits_for_concurrent_foreground_start(machine: Machine) -> None:
    """A foreground server claims its id before it is registered."""
    command = machine.command(MRMD, "--id", "race", "--foreground")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as foreground:
        try:
            claim = f"{machine.home}/.mrmd/locks/race.claim"
            wait_until(
                lambda: machine.run("test", "-e", claim).returncode == 0, "the foreground server has claimed its id"
            )
            started = machine.mrmd("--id", "race", "--json")
            assert started.returncode == 0, started.stderr
            assert json.loads(started.stdout)["alreadyRunning"] is True
            assert foreground.poll() is None
        finally:
            assert machine.mrmd("--kill", "race").returncode == 0
        assert foreground.wait(timeout=20) == 0


@pytest.mark.systemd
def test_start_waits_for_concurrent_systemctl_start(box: Machine) -> None:
    box.start("a")
    box.read("systemctl", "--user", "stop", "mrmd-python@a")
    with subprocess.Popen(box.command("systemctl", "--user", "start", "mrmd-python@a")) as systemctl:
        assert box.start("a").value("1 + 1") == "2"
        assert systemctl.wait(timeout=30) == 0


@pytest.mark.systemd
def test_start_while_systemd_restarts_keeps_the_port(box: Machine) -> None:
    client = box.start("a")
    box.kill("KILL", client.pid)
    assert box.start("a").port == client.port


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_foreground_start_can_be_interrupted_at_any_time(here: Machine, name: str, delay: float) -> None:
    command = here.command(MRMD, "--id", "a", "--foreground")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        wait_until(
            lambda: b"\0-E\0" in Path(f"/proc/{server.pid}/cmdline").read_bytes(), "the command has become the server"
        )
        time.sleep(delay)  # so that each case interrupts another part of the start
        server.send_signal(getattr(signal, f"SIG{name}"))
        _, stderr = server.communicate(timeout=30)
    assert "Traceback" not in stderr, stderr
    assert [path for path in (here.home / ".mrmd").rglob("*") if path.is_file()] == []


def test_relative_home_is_resolved_in_the_callers_directory(machine: Machine) -> None:
    machine.read("mkdir", "-p", f"{machine.home}/w")
    env = {"MRMD_HOME": "rel"}
    done = machine.mrmd("--id", "r", cwd=f"{machine.home}/w", env=env)
    assert done.returncode == 0, done.stderr
    assert machine.mrmd("--kill-all", cwd=f"{machine.home}/w", env=env).stdout.startswith("Ended 'r'")


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**40])
def test_kill_all_works_beside_record_with_impossible_pid(here: Machine, pid: int) -> None:
    _write_dead_record(here, "aaa", pid=pid)
    client = here.start("zz")
    killed = here.mrmd("--kill-all")
    assert killed.returncode == 0, killed.stderr
    assert "Ended 'zz'" in killed.stdout
    assert here.alive([client.pid]) == []
    assert here.mrmd("--list").stdout.startswith("No runtimes")


def test_dead_systemd_record_does_not_block_start_without_systemd(here: Machine) -> None:
    _write_dead_record(here, "sd", backend="systemd", unit="mrmd-python@sd.service")
    assert here.start("sd").value("1 + 1") == "2"
    assert here.mrmd("--kill", "sd").returncode == 0
    _write_dead_record(here, "sd", backend="systemd", unit="mrmd-python@sd.service")
    assert here.mrmd("--kill", "sd").returncode == 0
    assert here.mrmd("--list").stdout.startswith("No runtimes")


def test_start_rejects_unknown_user(here: Machine) -> None:
    for option in ("--cwd", "--venv", "--assets-dir"):
        assert_error(here.mrmd(option, "~nosuchuser/x"), 1, "nosuchuser")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-", "2>&-"])
@pytest.mark.parametrize("options", ["--id a", "--foreground --managed"])
def test_command_works_with_closed_standard_streams(here: Machine, free_port: int, closed: str, options: str) -> None:
    script = f"{MRMD} {options} --port {free_port} {closed} & wait -n || exit 1"
    with subprocess.Popen(here.command("bash", "-c", script), start_new_session=True) as shell:
        client = Client.at(free_port)
        wait_until(client.answers, "the server answers")
        assert client.value("1 + 1") == "2"
        if "--managed" in options:
            os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(timeout=20)


def test_usage_errors_exit_with_2_and_create_nothing(here: Machine) -> None:
    assert_error(here.mrmd("--list", "--kill-all"), 2, "cannot be used together")
    assert_error(here.mrmd("--managed"), 2, "--managed needs --foreground")
    assert_error(here.mrmd("--port", "70000"), 2, "70000")
    assert_error(here.mrmd("--host", "http://localhost"), 2, "invalid host")
    assert_error(here.mrmd("--allow-host", "a/b"), 2, "invalid host")
    assert_error(here.mrmd("--allow-origin", "null"), 2, "invalid origin")
    assert_error(here.mrmd("--allow-user", "no such user"), 2, "no user")
    assert_error(here.mrmd("--backend", "cron"), 2, "cron")
    assert list(here.home.iterdir()) == []


def test_start_rejects_address_of_another_machine(here: Machine) -> None:
    assert_error(here.mrmd("--host", "203.0.113.250"), 1, "is not an address of this machine")


def test_start_rejects_unavailable_backend(here: Machine) -> None:
    assert_error(here.mrmd("--backend", "launchd"), 1, "launchctl is not installed", "--backend fork")
    assert_error(here.mrmd("--backend", "systemd", env={"XDG_RUNTIME_DIR": str(here.home)}), 1, "--backend fork")
    assert_error(here.mrmd(env={"MRMD_BACKEND": "cron"}), 1, "MRMD_BACKEND")


def test_second_start_prints_the_running_runtimes_url(machine: Machine) -> None:
    client = machine.start("a")
    again = machine.mrmd("--id", "a")
    assert again.returncode == 0
    assert "is already running" in again.stdout
    assert f"http://localhost:{client.port}/mrp/v1" in again.stdout
    foreground = machine.mrmd("--id", "a", "--foreground")
    assert_error(foreground, 1, "already running", f"http://localhost:{client.port}/mrp/v1")


def test_second_start_names_the_options_that_it_does_not_use(here: Machine) -> None:
    options = ("--id", "a", "--cwd", "/usr", "--env", "A=1", "--idle-timeout", "1h", "--allow-host", "example.org")
    assert here.mrmd(*options).returncode == 0
    port = str(here.client("a").port)
    again = here.mrmd(*options, "--port", port, "--timeout", "2m")
    assert (again.returncode, again.stderr) == (0, "")
    assert here.mrmd("--id", "a", "--port", "0").stderr == ""
    for option, value in {"--port": "1", "--cwd": "/", "--env": "A=2", "--idle-timeout": "0", "--gpus": "0"}.items():
        note = here.mrmd("--id", "a", option, value).stderr
        assert f"already running without {option} as given" in note, note


def test_runtime_listens_on_both_loopback_addresses(here: Machine) -> None:
    client = here.start("a")
    families = [socket.AF_INET]
    if Path("/proc/net/if_inet6").exists() and "lo" in Path("/proc/net/if_inet6").read_text():
        families.append(socket.AF_INET6)
    for family in families:
        with socket.socket(family) as connection:
            connection.connect(("127.0.0.1" if family == socket.AF_INET else "::1", client.port))


def _hanging_venv(machine: Machine) -> str:
    """Make a venv whose interpreter never becomes ready, and return its path."""
    machine.script("venv/bin/python", f"echo $$ > {machine.home}/starting; exec sleep 7532")
    return f"{machine.home}/venv"


def _is_starting(machine: Machine) -> bool:
    pid = machine.run("cat", f"{machine.home}/starting").stdout.strip()
    return pid != "" and machine.alive([int(pid)]) != []


@pytest.mark.parametrize("backend", ["fork", pytest.param("systemd", marks=pytest.mark.systemd), "launchd"])
def test_kill_ends_a_start_at_once(request: pytest.FixtureRequest, backend: str) -> None:
    fixtures = {"fork": "here", "systemd": "box", "launchd": "mac"}
    machine: Machine = request.getfixturevalue(fixtures[backend])
    command = machine.command(MRMD, "--id", "a", "--venv", _hanging_venv(machine), "--timeout", "1h")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as start:
        wait_until(lambda: _is_starting(machine), "the server is starting")
        assert machine.states() == {"a": "starting"}
        killed = machine.run(MRMD, "--kill", "a", timeout=20)
        assert killed.returncode == 0, killed.stderr
        assert "Ended 'a' and every process it started" in killed.stdout
        printed = start.communicate(timeout=20)
    assert printed == ("", "mrmd-python: 'a' was killed while it was starting\n")
    assert not _is_starting(machine)
    assert machine.states() == {}
    assert machine.leftovers() == ""


def test_kill_ends_every_start_that_waits(machine: Machine) -> None:
    command = machine.command(MRMD, "--id", "a", "--venv", _hanging_venv(machine), "--timeout", "1h")
    starts = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]

    def have_ended() -> bool:
        return all(start.poll() is not None for start in starts)

    while not have_ended():
        # a kill ends one start or several; the next start then takes the lock, or the last one exits
        wait_until(lambda: _is_starting(machine) or have_ended(), "the next start is starting")
        if not have_ended():
            assert machine.run(MRMD, "--kill", "a", timeout=20).returncode == 0
    for start in starts:
        assert start.communicate(timeout=20)[1] == b"mrmd-python: 'a' was killed while it was starting\n"
    assert machine.states() == {}
