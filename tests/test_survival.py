"""A runtime survives the shell that started it, and keeps none of its caller's resources."""

import json
import os
import pty
import signal
import subprocess

import pytest

from tests.machine import MRMD, Machine


@pytest.mark.parametrize("end", ["exit", "hangup", "process group"])
def test_runtime_survives_the_shell_that_started_it(machine: Machine, end: str) -> None:
    shell, terminal = pty.fork()
    if shell == 0:
        script = f"{MRMD} --id kept; echo started; {'exit' if end == 'exit' else 'read forever'}"
        command = machine.command("bash", "-ic", script)
        os.execvp(command[0], command)
    try:
        printed = b""
        while b"started\r\n" not in printed:
            printed += os.read(terminal, 4096)
        client = machine.client("kept")
        client.execute("kept = 42")
        if end == "process group":
            os.killpg(shell, signal.SIGKILL)  # pty.fork() made it a group leader
    finally:
        os.close(terminal)  # sends SIGHUP
    os.waitpid(shell, 0)
    assert client.value("kept") == "42"
    assert machine.client("kept") == client


def test_start_within_command_substitution_returns(machine: Machine) -> None:
    """The shell waits until all writers of the pipe are closed, so the runtime must not inherit it."""
    done = machine.run("bash", "-c", f'out=$({MRMD} --id a 2>&1); echo "$out"', timeout=30)
    assert done.returncode == 0
    assert "Runtime 'a' started" in done.stdout


def test_daemon_leaves_terminal_session_and_directory_of_its_caller(here: Machine) -> None:
    client = here.start("a")
    session, group, terminal, parent = here.read("ps", "-o", "sid=,pgid=,tty=,ppid=", "-p", str(client.pid)).split()
    assert terminal == "?"
    assert session != str(os.getsid(0))
    assert group == session != str(client.pid), "the daemon must be in a new session and not lead it"
    assert os.readlink(f"/proc/{client.pid}/cwd") == "/"
    assert parent != str(os.getpid())
    opened = {os.readlink(f"/proc/{client.pid}/fd/{name}") for name in os.listdir(f"/proc/{client.pid}/fd")}
    files = {name for name in opened if name.startswith("/") and not name.startswith("/dev/null")}
    assert files == {str(here.home / ".mrmd/logs/a.log"), str(here.home / ".mrmd/locks/a.claim")}


def test_20_simultaneous_starts_give_one_runtime(machine: Machine) -> None:
    command = machine.command(MRMD, "--id", "race", "--json")
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(20)]
    printed = [start.communicate(timeout=90) for start in starts]
    assert [start.returncode for start in starts] == [0] * 20, printed
    records = [json.loads(out) for out, _ in printed]
    assert len({(record["url"], record["pid"]) for record in records}) == 1
    assert sorted(record["alreadyRunning"] for record in records) == [False] + [True] * 19
    running = machine.read("ps", "-e", "-o", "args=").splitlines()
    assert sum("--id=race " in line and f"--cwd={machine.home} " in line for line in running) == 1


def test_different_ids_start_at_the_same_time(here: Machine) -> None:
    starts = [subprocess.Popen(here.command(MRMD, "--id", f"r{n}"), stdout=subprocess.DEVNULL) for n in range(6)]
    assert [start.wait(timeout=90) for start in starts] == [0] * 6
    assert len({here.client(f"r{n}").port for n in range(6)}) == 6
