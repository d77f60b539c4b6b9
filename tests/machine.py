"""The machines that runtimes are tested on: this one with the fork backend, and the box with the systemd backend."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.client import Client, Json

BIN = Path(sys.executable).parent
MRMD = str(BIN / "mrmd-python")
_LIST_UNITS = ("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "mrmd-python@*")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return when `condition` holds; fail the test if it does not within `seconds`."""
    started = time.monotonic()
    while True:
        asked = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < started + seconds, f"timed out after {seconds} s waiting until {what}"
        time.sleep(max(0.02, now - asked))  # a condition that takes long, such as a command, leaves other tests the CPU


def assert_error(done: "subprocess.CompletedProcess[str]", status: int, *words: str) -> None:
    """Check that a command failed with `status` and printed a short error that contains `words`."""
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= (2 if status == 1 else 4), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@dataclass
class Machine:
    """A place to run commands; `prefix` is prepended to each."""

    backend: str
    prefix: list[str]
    environ: Mapping[str, str]
    # The user's home directory, as a path on that machine.
    home: Path
    # The command to run mrmd-python there.
    program: tuple[str, ...] = field(default=(MRMD,), kw_only=True)

    def command(self, *command: str, cwd: str | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """Return a command line that runs `command` there, without this process's environment and ignored signals.

        A shell starts background jobs with SIGINT and SIGQUIT ignored, and nohup ignores SIGHUP; children inherit that.
        """
        variables = [f"{name}={value}" for name, value in {**self.environ, **(env or {})}.items()]
        return [*self.prefix, "env", "-i", "--default-signal", f"--chdir={cwd or self.home}", *variables, *command]

    def run(
        self, *command: str, cwd: str | None = None, env: Mapping[str, str] | None = None, timeout: float = 90
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command there and wait until it exits."""
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
        return self.run(*self.program, *arguments, cwd=cwd, env=env)

    def start(
        self, runtime_id: str, *options: str, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> Client:
        """Start a runtime there and return a client of it."""
        done = self.mrmd("--id", runtime_id, "--json", *options, cwd=cwd, env=env)
        assert done.returncode == 0, done.stderr
        return self.client_of(json.loads(done.stdout))

    def info(self, runtime_id: str, env: Mapping[str, str] | None = None) -> Json:
        """Return the `--info` of a runtime there."""
        found: Json = json.loads(self.mrmd("--info", runtime_id, "--json", env=env).stdout)
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each runtime there."""
        return {found["id"]: found["status"] for found in json.loads(self.mrmd("--list", "--json").stdout)}

    def client(self, runtime_id: str) -> Client:
        """Return a client of a runtime that is registered there."""
        return self.client_of(self.info(runtime_id))

    def client_of(self, record: Json) -> Client:
        """Return a client, on this machine, of the runtime that a registry record describes."""
        return Client.of_record(record)

    def wait_for_restart(self, runtime_id: str, before: Client) -> Client:
        """Wait until a crashed runtime runs again in another server than `before`'s; return a client of the new one."""

        def servers() -> list[Client]:
            listed = json.loads(self.mrmd("--list", "--json").stdout)
            running = [found for found in listed if (found["id"], found["status"]) == (runtime_id, "running")]
            return [self.client_of(found) for found in running if found["pid"] != before.pid]

        wait_until(lambda: servers() != [], f"{runtime_id!r} has been restarted")
        return self.client(runtime_id)

    def leftovers(self) -> str:
        """Return the files and units that runtimes have left there, except logs, images and the systemd template."""
        files = self.run(
            "find", f"{self.home}/.mrmd", f"{self.home}/.config/systemd/user", "-type", "f",
            "-not", "-name", "mrmd-python@.service", "-not", "-path", "*/logs/*", "-not", "-path", "*/assets/*",
        ).stdout  # fmt: skip
        if self.backend != "systemd":
            return files
        return files + self.run(*_LIST_UNITS).stdout

    def script(self, name: str, commands: str) -> str:
        """Write a shell script into the user's home directory there, and return its path."""
        path = f"{self.home}/{name}"
        write = 'mkdir -p "$(dirname "$1")" && printf "#!/bin/sh\\n%s\\n" "$2" > "$1" && chmod +x "$1"'
        self.read("sh", "-c", write, "sh", path, commands)
        return path

    def alive(self, pids: list[int]) -> list[int]:
        """Return those of the pids that are live processes there: neither gone nor zombies."""
        listing = self.run("ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))).stdout
        states = (line.split() for line in listing.splitlines())
        return [int(pid) for pid, state in states if not state.startswith("Z")]

    def kill(self, signal: str, pid: int) -> None:
        """Send a signal to a pid there, or to a process group if it is negative."""
        self.read("kill", "-s", signal, "--", str(pid))

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """Stop a process there by SIGSTOP, and continue it after the block."""
        self.kill("STOP", pid)
        wait_until(lambda: self.read("ps", "-o", "stat=", "-p", str(pid)).startswith("T"), f"process {pid} is stopped")
        try:
            yield
        finally:
            self.run("kill", "-s", "CONT", str(pid))


def fork_machine(home: Path, **variables: str) -> Machine:
    """Return this machine, with `home` as the user's home directory."""
    environ = {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MRMD_BACKEND": "fork",
    }
    return Machine("fork", [], environ | variables, home)


def box_machine(leader: int) -> Machine:
    """Return the box whose PID 1 is `leader`, entered as its unprivileged user."""
    enter = _enter(leader)
    as_user = ["setpriv", "--reuid=4242", "--regid=4242", "--init-groups", "--"]
    environ = {
        "HOME": "/home/dev",
        "USER": "dev",
        "LOGNAME": "dev",
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": "/run/user/4242",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/4242/bus",
    }
    return Machine("systemd", [*enter, *as_user], environ, Path("/home/dev"))


def box_root(leader: int) -> Machine:
    """Return the box whose PID 1 is `leader`, entered as root."""
    return Machine(
        "systemd", _enter(leader), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}, Path("/root")
    )


class Box:
    """A box that can be rebooted.

    Args:
        leader: the pid, on this machine, of the box's PID 1.
        leaders: a stream with one line per reboot, the pid of the new PID 1.
    """

    def __init__(self, leader: int, leaders: IO[bytes]) -> None:
        self._leaders = leaders
        self._take(leader)

    def boot(self) -> None:
        """Wait until the box has booted again after a reboot."""
        leader = self._leaders.readline()
        assert leader, "the box did not boot again"
        self._take(int(leader))

    def _take(self, leader: int) -> None:
        self.leader = leader
        self.user = box_machine(leader)
        self.root = box_root(leader)


def _enter(leader: int) -> list[str]:
    return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--"]


def processes_of(home: Path) -> list[int]:
    """Return the live processes of this machine whose environment has `home` as HOME."""
    variable = b"\0HOME=%s\0" % os.fsencode(home)
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and variable in b"\0" + Path("/proc", name, "environ").read_bytes() + b"\0":
                found.append(int(name))
        except OSError:
            continue  # the process has exited meanwhile, or belongs to another user
    return [pid for pid in found if pid != os.getpid()]
