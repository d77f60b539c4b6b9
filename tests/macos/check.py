"""Checks on a real Mac what the tests with stand-ins assume, with the mrmd-python of the Python that runs this.

    python check.py DIRECTORY

What launchd and the kernel say goes to files in DIRECTORY, to hold the stand-ins against. All is ended at the end.
"""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrmd_python.runtime import libproc

_DOMAIN = f"gui/{os.getuid()}"
_LABEL = "dev.mrmd.python."
_COMMAND = str(Path(sys.executable).with_name("mrmd-python"))
_ENVIRON = {**os.environ, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
_ROUNDS = 20
_SPECIAL = "line\n\ttab\n\tpid = 1\n\t}\n"
_START_PROCESSES = """
import json, os, subprocess
script = "exec 3>&1 >/dev/null 2>&1; /bin/sleep 1000 3>&- & echo $! >&3; "
script += "/bin/sh -c 'trap : TERM; while :; do /bin/sleep 1000; done' 3>&- & echo $! >&3"
pids = [int(pid) for pid in subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE).stdout.split()]
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    child = os.fork()
    if child == 0:
        os.closerange(0, 100)
        os.execv("/bin/sleep", ["sleep", "1000"])
    os.write(writer, str(child).encode())
    os._exit(0)
os.wait()
pids.append(int(os.read(reader, 20)))
pids.append(subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True).pid)
print(json.dumps(pids))
"""


def run(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command, and print it with what it prints."""
    print("$", *command, flush=True)
    environ = _ENVIRON | variables
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    print(f"{done.stdout[:2000]}{done.stderr}[{done.returncode}]", flush=True)
    return done


def mrmd(*arguments: str, **variables: str) -> str:
    """Run mrmd-python, which must succeed, and return what it prints."""
    done = run(_COMMAND, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def info(runtime_id: str) -> Any:
    return json.loads(mrmd("--info", runtime_id, "--json"))


def start(runtime_id: str, *options: str, **variables: str) -> Any:
    mrmd("--id", runtime_id, "--backend", "launchd", *options, **variables)
    return info(runtime_id)


def request(record: Any, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{record['port']}/mrp/v1{path}", data, headers), timeout=60
    ) as answer:
        return json.load(answer)


def execute(record: Any, code: str) -> Any:
    result = request(record, "/execute", {"code": code})
    assert result["error"] is None, result
    return json.loads(result["stdout"])


def alive(pids: "list[int]") -> "list[int]":
    return [pid for pid in pids if libproc.read(pid) is not None]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting until {what}"
        time.sleep(0.2)


def is_loaded_from(agent: Path) -> bool:
    run("launchctl", "bootstrap", _DOMAIN, str(agent))
    return run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").returncode == 0


def check_system(directory: Path) -> None:
    """There are no GNU tools, and there is a GUI domain."""
    assert run("date", "--version").returncode != 0, "the date on PATH is GNU's"
    facts = [run("sw_vers").stdout, run("launchctl", "managername").stdout, sys.version, sys.executable]
    facts += [f"framework: {sysconfig.get_config_var('PYTHONFRAMEWORK')}"]
    (directory / "system.txt").write_text("\n".join(facts))
    assert run("launchctl", "print", _DOMAIN).returncode == 0, "this user has no GUI domain"


def check_libproc(directory: Path) -> None:
    me = libproc.read(os.getpid())
    assert me is not None
    assert me[1] == os.getppid()
    assert libproc.boot_id()
    assert os.getpid() in list(libproc.pids())
    assert 0 <= libproc.age(os.getpid(), me[0]) < 600
    assert b"check.py" in libproc.command_line(os.getpid())
    assert f"\0HOME={os.environ['HOME']}\0".encode() in libproc.environ(os.getpid())
    child = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    try:
        wait_until(lambda: b"sleep" in libproc.command_line(child.pid), "the program runs")
        assert libproc.origin(child.pid) == (me[0], child.pid)
        assert libproc.environ(child.pid) == b"", "the environment of /bin/sleep is not hidden"
        assert libproc.memory(child.pid) > 0
    finally:
        child.kill()
        child.wait()


def check_memory_and_ends(directory: Path) -> None:
    """All processes of a runtime end with it: Apple's programs, orphans, and one that traps SIGTERM."""
    record = start("a", "--stop-timeout", "1s")
    assert record["memory"] > 0
    pids = execute(record, _START_PROCESSES)
    worker = request(record, "/sessions/default")["pid"]
    named = {"server": record["pid"], "worker": worker, "orphan": pids[0], "daemon": pids[2]}
    coalitions = {name: libproc.coalition(pid) for name, pid in named.items()}
    (directory / "coalitions.json").write_text(json.dumps({**coalitions, "terminal": libproc.coalition(os.getpid())}))
    assert len({*coalitions.values()}) == 1, coalitions
    assert record["coalition"] == coalitions["server"], "the server does not take its coalition for its own"
    assert alive(pids) == pids
    mrmd("--kill", "a")
    assert alive(pids) == []
    assert run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").returncode == 113


def check_ends_of_a_daemon(directory: Path) -> None:
    """Without launchd, all end but the one whose parent and session leader have ended."""
    mrmd("--id", "a", "--backend", "fork", "--stop-timeout", "1s", "--env", "PATH=/nowhere")
    pids = execute(info("a"), _START_PROCESSES)
    mrmd("--kill", "a")
    left = alive(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left in ([], [pids[2]]), left


def check_restarts(directory: Path) -> None:
    """`kill -9` comes back on its port, SIGTERM does not."""
    record = start("a")
    (directory / "print-running.txt").write_text(run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").stdout)
    os.kill(record["pid"], signal.SIGKILL)
    (directory / "print-killed.txt").write_text(run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").stdout)
    wait_until(lambda: info("a")["status"] == "running", "launchd has restarted it")
    again = info("a")
    assert again["pid"] != record["pid"]
    assert again["port"] == record["port"]
    os.kill(again["pid"], signal.SIGTERM)
    wait_until(lambda: info("a")["status"] == "stopped", "it has stopped")
    time.sleep(15)  # longer than launchd waits before a restart
    (directory / "print-stopped.txt").write_text(run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").stdout)
    assert info("a")["status"] == "stopped"
    mrmd("--kill", "a")


def check_repeated_restarts(directory: Path) -> None:
    start("a")
    for _ in range(_ROUNDS):
        mrmd("--restart", "a")
    for _ in range(_ROUNDS):
        mrmd("--kill", "a")
        start("a")
    assert execute(info("a"), "print(1 + 1)") == 2
    mrmd("--kill", "a")


def check_disabled_label(directory: Path) -> None:
    run("launchctl", "disable", f"{_DOMAIN}/{_LABEL}a")
    start("a")
    mrmd("--kill", "a")


def check_login(directory: Path) -> None:
    """What launchd does at login: bootstrap of the file in LaunchAgents."""
    record = start("a")
    mrmd("--enable", "a")
    agent = Path.home() / "Library/LaunchAgents" / f"{_LABEL}a.plist"
    assert run("plutil", "-lint", str(agent)).returncode == 0
    assert run("launchctl", "bootout", f"{_DOMAIN}/{_LABEL}a").returncode == 0
    wait_until(lambda: run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").returncode == 113, "it is not loaded")
    wait_until(lambda: is_loaded_from(agent), "launchd takes it")
    run("launchctl", "kickstart", f"{_DOMAIN}/{_LABEL}a")  # it may not start so soon after a bootout
    wait_until(lambda: info("a")["status"] == "running", "it runs")
    assert (info("a")["port"], info("a")["enabled"]) == (record["port"], True)
    mrmd("--kill", "a")
    assert not agent.exists()


def check_spelling(directory: Path) -> None:
    record = start("a")
    if (Path.home() / ".MRMD").exists():
        assert run(_COMMAND, "--id", "A").returncode == 1
        assert run(_COMMAND, "--kill", "A").returncode == 1
    assert info("a")["pid"] == record["pid"]
    mrmd("--kill", "a")


def check_environment(directory: Path) -> None:
    """Values may have newlines and tabs, and a PATH without ps."""
    record = start("a", "--env", "PATH=/nowhere", SPECIAL=_SPECIAL)
    assert execute(record, "import json, os; print(json.dumps(os.environ['SPECIAL']))") == _SPECIAL
    assert execute(record, "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])") == 4096
    pids = execute(record, _START_PROCESSES)
    agent = next((Path.home() / "Library/Application Support/mrmd-python").glob("*.plist"))
    assert run("plutil", "-lint", str(agent)).returncode == 0
    (directory / "print-environment.txt").write_text(run("launchctl", "print", f"{_DOMAIN}/{_LABEL}a").stdout)
    os.kill(record["pid"], signal.SIGTERM)
    wait_until(lambda: info("a")["status"] == "stopped", "it has stopped")
    assert alive(pids) == []
    mrmd("--kill", "a")


def end_all() -> None:
    """End all runtimes, and boot out all agents, whatever has happened."""
    run(_COMMAND, "--kill-all")
    listed = run("launchctl", "list").stdout.split()
    for label in {"dev.mrmd.python.a", *(word for word in listed if word.startswith(_LABEL))}:
        run("launchctl", "bootout", f"{_DOMAIN}/{label}")
        run("launchctl", "enable", f"{_DOMAIN}/{label}")


def main() -> int:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    failed = []
    try:
        for name, check in [(name, check) for name, check in globals().items() if name.startswith("check_")]:
            print(f"\n=== {name}", flush=True)
            try:
                check(directory)
            except Exception:  # the other checks are of use, too
                traceback.print_exc()
                failed.append(name)
                end_all()
    finally:
        end_all()
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
