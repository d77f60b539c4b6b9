"""Containers: system calls that they refuse, PID 1, and a home that several of them share."""

import dataclasses
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import Client
from tests.machine import MRMD, Machine, assert_error, wait_until

# Refuses system calls by EPERM (seccomp(2)): SYSCALLS PROGRAM [ARG...]
_REFUSE = """
import ctypes, os, struct, sys
numbers = [int(number) for number in sys.argv[1].split(",")]
ALLOW, EPERM = 0x7FFF0000, 0x00050001
# linux/filter.h: load the number of the call; for each of ours, skip the rest if it is not this one.
lines = [(0x20, 0, 0, 0)]
for number in numbers:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, EPERM)]
lines.append((0x06, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Filter(len(lines), ctypes.addressof(code)))) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434  # asm-generic/unistd.h: the same on every architecture
_OTHER_CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
if os.geteuid() != 0:
    _OTHER_CONTAINER += ["--user", "--map-root-user"]
# Has every file system be NFS (statfs(2)).
_NFS = """
#include <sys/vfs.h>
int statfs(const char *path, struct statfs *found) { (void)path; found->f_type = 0x6969; return 0; }
"""
_START_DETACHED = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True).pid"


def _nfs(directory: Path) -> str:
    """Return a library for LD_PRELOAD that has every file system be NFS."""
    if shutil.which("cc") is None:
        pytest.skip("this test needs a C compiler: apt-get install gcc libc6-dev")
    library = directory / "nfs.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=_NFS, text=True, check=True)
    return str(library)


@pytest.mark.parametrize("refused", [(_PIDFD_OPEN,), (_PIDFD_SEND_SIGNAL,), (_PIDFD_OPEN, _PIDFD_SEND_SIGNAL)])
def test_processes_end_where_pidfds_are_refused(here: Machine, refused: tuple[int, ...]) -> None:
    numbers = ",".join(map(str, refused))
    sandboxed = dataclasses.replace(here, prefix=[sys.executable, "-c", _REFUSE, numbers])
    client = sandboxed.start("a")
    assert sandboxed.run(sys.executable, "-c", "import os; os.pidfd_open(1)").returncode == (_PIDFD_OPEN in refused)
    deleted = int(client.value(_START_DETACHED))
    assert client.request("DELETE", "/sessions/default") == (200, {"success": True})
    assert here.alive([deleted]) == []
    killed = int(client.value(_START_DETACHED))
    done = sandboxed.mrmd("--kill", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert here.alive([killed, client.pid]) == []


def test_runtime_of_another_container_is_listed_and_left_alone(here: Machine) -> None:
    """They share a home and a hostname, and see other pids."""
    client = here.start("a")
    other = dataclasses.replace(here, prefix=_OTHER_CONTAINER)
    hostname = os.uname().nodename
    listed = other.mrmd("--list").stdout.splitlines()[1]
    assert re.match(rf"a +on {hostname} +- ", listed), listed
    assert other.states() == {"a": "elsewhere"}
    assert f"status:  on {hostname}\n" in other.mrmd("--info", "a").stdout
    for command in ("--id", "--restart", "--kill"):
        before = time.monotonic()
        assert_error(other.mrmd(command, "a"), 1, f"'a' runs on {hostname}, in another container, as PID {client.pid}")
        assert time.monotonic() - before < 5
    assert_error(other.mrmd("--kill-all"), 1, "in another container")
    assert_error(other.mrmd("--id", "a", "--foreground"), 1, "in another container")
    assert here.states() == {"a": "running"}
    assert client.value("1 + 1") == "2"
    here.kill("KILL", client.pid)
    wait_until(lambda: other.states() == {"a": "dead"}, "its claim is free")
    assert other.mrmd("--kill", "a").stdout == "'a' was already dead; removed its files.\n"


def test_record_of_another_host_on_a_network_file_system_is_never_removed(here: Machine, tmp_path: Path) -> None:
    """There, locks may be known to one host only."""
    here.start("a")
    path = here.home / ".mrmd" / "runtimes" / "a.json"
    record = json.loads(path.read_text())
    assert here.mrmd("--kill", "a").returncode == 0
    path.write_text(json.dumps(record | {"hostname": "node7", "pid_started": "another-boot:1234"}))
    on_network = dataclasses.replace(here, environ={**here.environ, "LD_PRELOAD": _nfs(tmp_path)})
    assert on_network.mrmd("--list").stdout.splitlines()[1].split()[:3] == ["a", "on", "node7"]
    for command in ("--id", "--restart", "--kill"):
        assert_error(on_network.mrmd(command, "a"), 1, "'a' runs on node7; run this command there, or if", f"rm {path}")
    assert path.exists()
    assert here.states() == {"a": "dead"}, "a disk has one host at a time: that one is gone"
    assert here.start("a").value("1 + 1") == "2"


@pytest.mark.parametrize("command", ["--id", "--restart"])
def test_runtime_of_a_container_that_has_ended_can_be_started_again(here: Machine, command: str) -> None:
    ended = dataclasses.replace(here, prefix=_OTHER_CONTAINER)
    assert ended.mrmd("--id", "a").returncode == 0, "it ends with its container, and so with this command"
    wait_until(lambda: here.states() == {"a": "dead"}, "its claim is free")
    assert here.mrmd(command, "a").returncode == 0
    assert here.client("a").value("1 + 1") == "2"


def test_record_of_before_a_reboot_is_dead(here: Machine) -> None:
    here.start("a")
    path = here.home / ".mrmd" / "runtimes" / "a.json"
    record = json.loads(path.read_text())
    assert here.mrmd("--kill", "a").returncode == 0
    path.write_text(json.dumps(record | {"pid_started": "another-boot:1234", "pid_namespace": "pid:[1]"}))
    assert here.states() == {"a": "dead"}


def test_runtime_whose_claim_is_held_is_neither_dead_nor_unknown(here: Machine) -> None:
    """By a process that cannot be seen, or that has not announced itself yet."""
    here.start("a")
    record = here.home / ".mrmd" / "runtimes" / "a.json"
    content = record.read_text()
    assert here.mrmd("--kill", "a").returncode == 0
    with (here.home / ".mrmd" / "locks" / "a.claim").open("w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        assert here.states() == {"a": "starting"}
        assert here.info("a") == {"id": "a", "status": "starting"} | {
            name: here.info("a")[name] for name in ("uptime", "memory", "gpuMemory", "gpuProcesses", "enabled")
        }
        assert_error(here.mrmd("--kill", "a"), 1, "'a' is still running, on another host or in another container")
        record.write_text(content)
        assert here.states() == {"a": "starting"}
        assert_error(here.mrmd("--kill", "a"), 1, "'a' is still running, on another host or in another container")
        assert record.exists()
    assert here.states() == {"a": "dead"}


@pytest.mark.systemd
def test_waiting_for_a_unit_that_starts_does_not_poll_systemd(box: Machine) -> None:
    log = f"{box.home}/asked"
    box.script("bin/systemctl", f'echo "$@" >> {log}; exec /usr/bin/systemctl "$@"')
    server = box.start("a", "--property", "ExecStartPre=/bin/sleep 2").pid
    box.read("systemctl", "--user", "--no-block", "restart", "mrmd-python@a")
    env = {"PATH": f"{box.home}/bin:{box.environ['PATH']}"}
    assert box.start("a", env=env).pid != server
    asked = box.read("cat", log).splitlines()
    assert len(asked) <= 6, asked


@contextmanager
def _container(here: Machine, port: int) -> Iterator[Machine]:
    """Run a runtime as PID 1 of a container; the value is its inside, for commands like those of `docker exec`."""
    command = here.command(MRMD, "--foreground", "--id", "a", "--port", str(port))
    with subprocess.Popen([*_OTHER_CONTAINER, *command], stderr=subprocess.DEVNULL) as container:
        try:
            wait_until(Client.at(port).answers, "it answers")
            first = int(here.read("pgrep", "-P", str(container.pid)))
            yield dataclasses.replace(here, prefix=["nsenter", f"--target={first}", "--pid", "--mount"])
            os.kill(first, signal.SIGTERM)
            assert container.wait(timeout=30) == 0, "docker stop ends it in order"
        finally:
            container.kill()


def test_runtime_as_pid_1_reaps_orphans_that_are_not_its_own(here: Machine, free_port: int) -> None:
    with _container(here, free_port) as inside:
        assert inside.read("sh", "-c", "sleep 0.2 & echo started") == "started"
        wait_until(lambda: inside.read("ps", "-e", "-o", "args=").count("sleep") == 0, "it is gone, and no zombie")
        assert Client.at(free_port).value("1 + 1") == "2"


def test_reaper_that_is_killed_leaves_foreign_orphans_of_pid_1_alone(here: Machine, free_port: int) -> None:
    with _container(here, free_port) as inside:
        foreign = int(inside.read("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"))
        client = Client.at(free_port)
        own = int(client.value(_START_DETACHED))
        inside.kill("KILL", int(client.value("import os; os.getppid()")))
        wait_until(lambda: inside.alive([own]) == [], "what the session started is gone")
        assert client.value("1 + 1") == "2"
        assert inside.alive([foreign]) == [foreign]
        assert "Z" not in inside.read("ps", "-e", "-o", "stat=")
