"""Invariant 1: no process that a cell started outlives its session or its runtime, however these end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.client import Client
from tests.machine import MRMD, Machine, wait_until

START_FOUR_CHILDREN = """
import multiprocessing, os, signal, subprocess, time
plain = subprocess.Popen(["sleep", "1000"])
session = subprocess.Popen(["sleep", "1000"], start_new_session=True)
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(writer, str(os.getpid()).encode())
        time.sleep(1000)
    os._exit(0)
os.wait()
daemon = int(os.read(reader, 20))
worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1000,))
worker.start()
[os.getpid(), plain.pid, session.pid, daemon, worker.pid]
"""


# One of these children ignores SIGTERM.
_BRIEFLY = ("--stop-timeout", "1s")


def _start_children(machine: Machine, client: Client, session: str = "default") -> list[int]:
    pids: list[int] = json.loads(client.value(START_FOUR_CHILDREN, session=session))
    assert machine.alive(pids) == sorted(pids), "the worker or one of its four children is not running"
    return pids


def _assert_gone(machine: Machine, pids: list[int]) -> None:
    wait_until(lambda: machine.alive(pids) == [], f"all of the processes {pids} have ended")


def test_kill_ends_every_process(machine: Machine) -> None:
    pids = _start_children(machine, machine.start("vllm", *_BRIEFLY))
    killed = machine.mrmd("--kill", "vllm")
    assert killed.returncode == 0, killed.stderr
    assert machine.alive(pids) == [], "processes are left after --kill has returned"
    assert machine.mrmd("--info", "vllm").returncode == 1


def test_kill_all_ends_every_process(here: Machine) -> None:
    pids = [pid for name in ("one", "two") for pid in _start_children(here, here.start(name, *_BRIEFLY))]
    killed = here.mrmd("--kill-all")
    assert killed.returncode == 0, killed.stderr
    assert here.alive(pids) == []


@pytest.mark.systemd
def test_systemctl_stop_ends_every_process(box: Machine) -> None:
    pids = _start_children(box, box.start("vllm", *_BRIEFLY))
    box.read("systemctl", "--user", "stop", "mrmd-python@vllm")
    assert box.alive(pids) == []
    assert "vllm  stopped" in box.mrmd("--list").stdout


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_signal_to_the_server_ends_every_process(machine: Machine, name: str) -> None:
    client = machine.start("vllm", *_BRIEFLY)
    pids = _start_children(machine, client)
    machine.kill(name, client.pid)
    _assert_gone(machine, pids)


def test_sigkill_to_the_process_group_of_the_server_ends_every_process(here: Machine) -> None:
    client = here.start("vllm", *_BRIEFLY)
    pids = _start_children(here, client)
    os.killpg(os.getpgid(client.pid), signal.SIGKILL)
    _assert_gone(here, pids)


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_signal_to_managed_process_group_ends_every_process(here: Machine, name: str, free_port: int) -> None:
    command = here.command(MRMD, "--id", "editor", "--foreground", "--managed", "--port", str(free_port))
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as server:
        try:
            client = Client.at(free_port)
            wait_until(client.answers, "the server answers")
            assert here.mrmd("--list").stdout.startswith("No runtimes"), "a managed runtime must not be registered"
            pids = _start_children(here, client)
        finally:
            os.killpg(server.pid, getattr(signal, f"SIG{name}"))
        _assert_gone(here, pids)


def test_deleting_a_session_ends_its_processes_and_no_others(machine: Machine) -> None:
    client = machine.start("vllm", *_BRIEFLY)
    kept = _start_children(machine, client)
    ended = _start_children(machine, client, "other")
    assert client.request("DELETE", "/sessions/other") == (200, {"success": True})
    assert machine.alive(ended) == [], "processes are left after the response"
    assert machine.alive(kept) == sorted(kept)


def test_deleting_the_default_session_replaces_it(machine: Machine) -> None:
    client = machine.start("vllm", *_BRIEFLY)
    pids = _start_children(machine, client)
    client.request("DELETE", "/sessions/default")
    assert machine.alive(pids) == []
    assert client.execute("plain")["error"]["type"] == "NameError"


@pytest.mark.parametrize("victim", ["worker", "reaper"])
def test_killing_worker_or_reaper_ends_the_rest_of_the_session(machine: Machine, victim: str) -> None:
    client = machine.start("vllm", *_BRIEFLY)
    pids = _start_children(machine, client)
    machine.kill("KILL", pids[0] if victim == "worker" else int(client.value("os.getppid()")))
    _assert_gone(machine, pids)
    assert client.value("1 + 1") == "2", "the session does not work with a new worker"


# A process that takes two seconds to save something after SIGTERM, with the help of other programs.
SAVING = """
import subprocess, time
subprocess.Popen(["sh", "-c", "trap 'sleep 2; echo saved > %s; exit' TERM; echo ready; while :; do sleep 0.1; done"],
                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True).stdout.readline()
"""


@pytest.mark.parametrize("way", ["kill", "restart", "delete"])
def test_process_can_save_something_after_sigterm(machine: Machine, way: str) -> None:
    saved = f"{machine.home}/saved-{way}"
    client = machine.start("vllm")
    client.execute(SAVING % saved)
    if way == "delete":
        client.request("DELETE", "/sessions/default")
    else:
        assert machine.mrmd(f"--{way}", "vllm").returncode == 0
    assert machine.read("cat", saved) == "saved"


@pytest.mark.systemd
def test_systemctl_stop_waits_for_the_stop_timeout(box: Machine) -> None:
    saved = f"{box.home}/saved-stop"
    client = box.start("vllm", "--stop-timeout", "20s")
    client.execute((SAVING % saved).replace("sleep 2", "sleep 16"))
    box.read("systemctl", "--user", "stop", "mrmd-python@vllm")
    assert box.read("cat", saved) == "saved"


def test_process_is_killed_after_the_stop_timeout(here: Machine) -> None:
    saved = here.home / "saved"
    client = here.start("vllm", "--stop-timeout", "1s")
    client.execute((SAVING % saved).replace("sleep 2", "sleep 100"))
    assert here.mrmd("--kill", "vllm").returncode == 0
    assert not saved.exists()


def test_killed_server_leaves_time_to_save_something(here: Machine) -> None:
    saved = here.home / "saved"
    client = here.start("vllm")
    client.execute(SAVING % saved)
    victims = [client.pid, int(client.value("import os; os.getppid()"))]
    for name in ("STOP", "KILL"):  # neither can act on the other's death when both are stopped first
        for pid in victims:
            here.kill(name, pid)
    _assert_gone(here, victims)
    assert here.mrmd("--kill", "vllm").returncode == 0
    assert saved.read_text() == "saved\n"


# Shared memory that a process has which ignores SIGTERM, and a file of the user's.
_SHARED_MEMORY = """
import mmap, multiprocessing, os, signal, time
from multiprocessing import resource_tracker, shared_memory
resource_tracker.ensure_running()
def hold(sender):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    segment = shared_memory.SharedMemory(create=True, size=1_000_000)
    file = open(f"/dev/shm/model-{os.getpid()}.bin", "w+b"); file.truncate(4096); kept = mmap.mmap(file.fileno(), 4096)
    sender.send((segment._name, file.name)); time.sleep(1000)
receiver, sender = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=hold, args=(sender,)); process.start()
list(receiver.recv())
"""


@pytest.mark.parametrize("tracker", ["lives", "is dead"])
def test_kill_removes_shared_memory_of_killed_processes_and_no_other_files(here: Machine, tracker: str) -> None:
    client = here.start("vllm", "--stop-timeout", "1s")
    segment, model = json.loads(client.value(_SHARED_MEMORY).replace("'", '"'))
    try:
        assert Path("/dev/shm", segment.lstrip("/")).exists()
        if tracker == "is dead":
            client.execute("os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)")
        assert here.mrmd("--kill", "vllm").returncode == 0
        assert not Path("/dev/shm", segment.lstrip("/")).exists()
        assert Path(model).exists()
    finally:
        Path(model).unlink()


def test_reset_clears_the_session_in_the_same_process(client: Client, shared_machine: Machine) -> None:
    before = client.value("import os; os.chdir('/'); kept = 1; os.getpid()")
    assert client.post("/reset") == {"success": True}
    assert client.execute("kept")["error"]["type"] == "NameError"
    assert client.value("import os; os.getpid()") == before
    assert client.value("os.getcwd()") == repr(str(shared_machine.home))


def test_kill_ends_processes_of_dead_server_and_reaper(here: Machine) -> None:
    client = here.start("vllm", *_BRIEFLY)
    pids = _start_children(here, client)
    reaper = int(client.value("os.getppid()"))
    # Stop both first, so that neither can react to the death of the other.
    for pid in (client.pid, reaper):
        here.kill("STOP", pid)
    for pid in (client.pid, reaper):
        here.kill("KILL", pid)
    _assert_gone(here, [client.pid, reaper])
    killed = here.mrmd("--kill", "vllm")
    assert killed.returncode == 0, killed.stderr
    assert here.alive(pids) == []


# A process in a session of its own that has wiped its environment, as setproctitle does (proc_pid_stat(5), env_start).
_START_RENAMED = """
import subprocess, sys
program = '''
import ctypes, time
start, end = map(int, open("/proc/self/stat").read().rpartition(")")[2].split()[47:49])
ctypes.memset(start, 0, end - start)
print(flush=True)
time.sleep(1000)
'''
renamed = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE)
assert renamed.stdout.readline()
renamed.pid
"""


@pytest.mark.parametrize("end", ["kill", "kill all", "start", "kill the reaper alone"])
def test_process_without_its_environment_is_killed_when_server_and_reaper_were(here: Machine, end: str) -> None:
    client = here.start("vllm")
    renamed = int(client.value(_START_RENAMED))
    other = int(client.value(_START_RENAMED, session="other"))
    assert b"MRMD" not in Path(f"/proc/{renamed}/environ").read_bytes()
    killed = [int(client.value("import os; os.getppid()"))]
    if end != "kill the reaper alone":
        killed += [client.pid, int(client.value("import os; os.getppid()", session="other"))]
    for pid in killed:
        here.kill("STOP", pid)
    for pid in killed:
        here.kill("KILL", pid)
    _assert_gone(here, killed)
    if end == "kill":
        here.kill("KILL", other)
        assert ": 1 process, " in here.mrmd("--kill", "vllm").stdout
    elif end == "kill all":
        assert here.mrmd("--kill-all").returncode == 0
    elif end == "start":
        here.start("vllm")
    _assert_gone(here, [renamed])
    assert here.alive([other]) == ([other] if end == "kill the reaper alone" else [])


_EXIT_MAIN_THREAD = """
import os, subprocess, sys
program = '''
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(93 if platform.machine() == "aarch64" else 60, 0)  # exit(2) ends only this thread
'''
child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
child.pid
"""


@pytest.mark.parametrize("end", ["kill", "delete", "crash"])
def test_process_whose_main_thread_exited_is_killed(here: Machine, end: str) -> None:
    """Such a process looks like a zombie, but it still runs and holds its resources."""
    client = here.start("a")
    pid = int(client.value(_EXIT_MAIN_THREAD))
    tasks = Path(f"/proc/{pid}/task")
    wait_until(lambda: "Z" in here.read("ps", "-o", "stat=", "-p", str(pid)), "its main thread has ended")
    assert len(list(tasks.iterdir())) == 2
    if end == "kill":
        assert here.mrmd("--kill", "a").returncode == 0
    elif end == "delete":
        assert client.request("DELETE", "/sessions/default")[0] == 200
    else:
        here.kill("KILL", client.pid)
    wait_until(lambda: not tasks.exists(), "the process is gone", 5 if end == "crash" else 1)


@pytest.mark.systemd
def test_process_outside_the_cgroup_ends_when_the_server_is_killed(box: Machine) -> None:
    client = box.start("a")
    client.execute(
        "import subprocess; subprocess.Popen(['systemd-run', '--user', '--scope', '--quiet', 'sleep', '1234567'])"
    )
    wait_until(lambda: "sleep 1234567" in box.read("ps", "-e", "-o", "args="), "the process runs")
    box.kill("KILL", client.pid)
    wait_until(lambda: "sleep 1234567" not in box.read("ps", "-e", "-o", "args="), "the process has ended")


@pytest.mark.systemd
@pytest.mark.parametrize("backend", ["systemd", "fork"])
def test_kill_names_process_of_another_user_and_kills_the_rest(box: Machine, backend: str) -> None:
    """A set-uid program, such as sudo, runs as another user, who alone may kill it."""
    client = box.start("a", "--backend", backend)
    become_root = "import os, time; os.setresuid(0, 0, 0); time.sleep(1000)"
    program = ["/usr/local/bin/suid-python", "-c", become_root]
    pids = [int(client.value(f"import subprocess; child = subprocess.Popen({program}); child.pid"))]
    wait_until(lambda: box.read("ps", "-o", "ruser=", "-p", str(pids[0])) == "root", "the process belongs to root")
    assert client.request("DELETE", "/sessions/default")[0] == 200, "the process of another user blocks the deletion"
    killed = box.mrmd("--kill", "a")
    assert killed.returncode == 1, "--kill claims to have killed a process that the user may not kill"
    assert str(pids[0]) in killed.stderr
    assert len(killed.stderr.splitlines()) == 1
    root = [*box.prefix[: box.prefix.index("setpriv")], "kill", "-KILL", str(pids[0])]
    subprocess.run(root, check=True)
    wait_until(lambda: box.alive(pids) == [], "root has killed the process")
    assert box.mrmd("--kill", "a").returncode == 0
    assert box.mrmd("--list").stdout.startswith("No runtimes")


def test_kill_does_not_wait_out_the_grace_period(here: Machine) -> None:
    """Children that end at SIGTERM end --kill early."""
    client = here.start("quick")
    client.execute("import subprocess; children = [subprocess.Popen(['sleep', '1000']) for _ in range(50)]")
    started = time.monotonic()
    assert here.mrmd("--kill", "quick").returncode == 0
    assert time.monotonic() - started < 8, "--kill waited for the timeout before SIGKILL"
