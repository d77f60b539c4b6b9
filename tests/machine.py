"""The two machines that runtimes are tested on: this one, by the fork backend, and the box, by its systemd."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tests.client import Client, Json

BIN = Path(sys.executable).parent
MRMD = str(BIN / "mrmd-python")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return when `condition` holds; fail the test if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def assert_error(done: "subprocess.CompletedProcess[str]", status: int, *words: str) -> None:
    """Check that a command has ended with `status` and a short error that contains `words`."""
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= (2 if status == 1 else 4), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@dataclass
class Machine:
    """Where commands run: `prefix` goes before each."""

    backend: str
    prefix: list[str]
    environ: Mapping[str, str]
    # The home of the user, as that machine names it.
    home: Path

    def command(self, *command: str, cwd: str | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """Return a command line that runs `command` there, without this process's environment and ignored signals.

        A shell ignores SIGINT and SIGQUIT in what it runs in the background, nohup SIGHUP; children inherit that.
        """
        variables = [f"{name}={value}" for name, value in {**self.environ, **(env or {})}.items()]
        return [*self.prefix, "env", "-i", "--default-signal", f"--chdir={cwd or self.home}", *variables, *command]

    def run(
        self, *command: str, cwd: str | None = None, env: Mapping[str, str] | None = None, timeout: float = 90
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command there and wait for it."""
        return subprocess.run(
            self.command(*command, cwd=cwd, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    def read(self, *command: str) -> str:
        """Run a command there that must succeed, and return what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def mrmd(
        self, *arguments: str, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run mrmd-python there."""
        return self.run(MRMD, *arguments, cwd=cwd, env=env)

    def start(
        self, runtime_id: str, *options: str, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> Client:
        """Start a runtime there and return a client of it."""
        done = self.mrmd("--id", runtime_id, "--json", *options, cwd=cwd, env=env)
        assert done.returncode == 0, done.stderr
        return Client.of_record(json.loads(done.stdout))

    def info(self, runtime_id: str, env: Mapping[str, str] | None = None) -> Json:
        """Return what is known there of a runtime."""
        found: Json = json.loads(self.mrmd("--info", runtime_id, "--json", env=env).stdout)
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each runtime there."""
        return {found["id"]: found["status"] for found in json.loads(self.mrmd("--list", "--json").stdout)}

    def client(self, runtime_id: str) -> Client:
        """Return a client of a runtime that is registered there."""
        return Client.of_record(self.info(runtime_id))

    def script(self, name: str, commands: str) -> str:
        """Put a shell script into the user's home there, and return its path."""
        path = f"{self.home}/{name}"
        write = 'mkdir -p "$(dirname "$1")" && printf "#!/bin/sh\\n%s\\n" "$2" > "$1" && chmod +x "$1"'
        self.read("sh", "-c", write, "sh", path, commands)
        return path

    def alive(self, pids: list[int]) -> list[int]:
        """Return those pids that are live processes there: not gone, and not zombies."""
        listing = self.run("ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))).stdout
        states = (line.split() for line in listing.splitlines())
        return [int(pid) for pid, state in states if not state.startswith("Z")]

    def kill(self, signal: str, pid: int) -> None:
        """Send a signal to a pid there, or to a process group if it is negative."""
        self.read("kill", "-s", signal, "--", str(pid))

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """Have a process there stopped, if it lives as long, for as long as the block runs."""
        self.kill("STOP", pid)
        wait_until(lambda: self.read("ps", "-o", "stat=", "-p", str(pid)).startswith("T"), "it is stopped")
        try:
            yield
        finally:
            self.run("kill", "-s", "CONT", str(pid))


def fork_machine(home: Path, **variables: str) -> Machine:
    """Return this machine, with `home` as the user's home."""
    environ = {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MRMD_BACKEND": "fork",
    }
    return Machine("fork", [], environ | variables, home)


def box_machine(leader: int) -> Machine:
    """Return the box whose PID 1 is `leader`, entered as its ordinary user."""
    enter = _enter(leader)
    become = ["setpriv", "--reuid=4242", "--regid=4242", "--init-groups", "--"]
    environ = {
        "HOME": "/home/dev",
        "USER": "dev",
        "LOGNAME": "dev",
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": "/run/user/4242",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/4242/bus",
    }
    return Machine("systemd", [*enter, *become], environ, Path("/home/dev"))


def box_root(leader: int) -> Machine:
    """Return the box whose PID 1 is `leader`, entered as root."""
    return Machine(
        "systemd", _enter(leader), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}, Path("/root")
    )


class Box:
    """A box that may be rebooted.

    Args:
        leader: the PID of its PID 1.
        leaders: where there is a line with the next one each time it has been rebooted.
    """

    def __init__(self, leader: int, leaders: IO[bytes]) -> None:
        self._leaders = leaders
        self._take(leader)

    def boot(self) -> None:
        """Wait until it has booted again, after a reboot."""
        leader = self._leaders.readline()
        assert leader, "the box did not boot"
        self._take(int(leader))

    def _take(self, leader: int) -> None:
        self.leader = leader
        self.user = box_machine(leader)
        self.root = box_root(leader)


def _enter(leader: int) -> list[str]:
    return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--"]


def processes_of(home: Path) -> list[int]:
    """Return the live processes of this machine whose environment has `home` as HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("HOME") == str(home):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found
