"""The command: its output on terminals and pipes, its options, its errors, and shell completion."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import MRMD, Machine, processes_of, wait_until

_ROW = re.compile(
    r"(?P<id>\S+) +(?P<status>\S+) +(?P<pid>\S+) +(?P<port>\S+) +(?P<uptime>.+?)  +(?P<memory>.+?)  +(?P<venv>\S+)"
)


def _error_of(machine: Machine, *arguments: str, status: int = 1) -> str:
    done = machine.mrmd(*arguments)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip()


def test_list_prints_the_same_as_table_and_json(machine: Machine) -> None:
    client = machine.start("a")
    heading, line = machine.mrmd("--list").stdout.splitlines()
    assert heading.split() == ["ID", "STATUS", "PID", "PORT", "UPTIME", "MEMORY", "VENV"]
    row = _ROW.fullmatch(line)
    assert row is not None, line
    assert (row["id"], row["status"], row["pid"], row["port"]) == ("a", "running", str(client.pid), str(client.port))
    assert re.fullmatch(r"\d+ s|\d+ min \d+ s", row["uptime"])
    assert re.fullmatch(r"\d+ MB", row["memory"])
    (found,) = json.loads(machine.mrmd("--list", "--json").stdout)
    assert found == machine.info("a") | {"uptime": found["uptime"], "memory": found["memory"]}
    assert (found["status"], found["pid"], found["port"]) == ("running", client.pid, client.port)
    assert 0 < found["uptime"] < 120


def test_memory_includes_detached_children(machine: Machine) -> None:
    client = machine.start("a")
    before = machine.info("a")["memory"]
    script = "import sys; held = b'x' * 200_000_000; print(flush=True); sys.stdin.read()"
    client.execute(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {script!r}], stdin=-1, stdout=-1, start_new_session=True)\n"
        "child.stdout.readline()"
    )
    after = machine.info("a")["memory"]
    assert after - before > 190_000_000
    killed = json.loads(machine.mrmd("--kill", "a", "--json").stdout)
    assert killed[0]["memory"] > 190_000_000
    assert killed[0]["processes"] == 4, "server, reaper, worker and child"
    assert killed[0]["gpuMemory"] is None


def test_kill_prints_what_it_freed(machine: Machine) -> None:
    machine.start("a")
    output = machine.mrmd("--kill", "a").stdout
    assert re.fullmatch(r"Ended 'a' and every process it started: 3 processes, \d+ MB of memory freed\.\n", output), (
        output
    )


@pytest.mark.parametrize("option", ["--info", "--kill", "--logs", "--restart", "--enable", "--disable"])
def test_unknown_id_is_an_error(machine: Machine, option: str) -> None:
    assert _error_of(machine, option, "unknown") == "mrmd-python: no runtime named 'unknown'; see `mrmd-python --list`"


def test_restart_keeps_everything_except_variables(machine: Machine) -> None:
    machine.read("mkdir", f"{machine.home}/images")
    client = machine.start("a", "--cwd", "/usr", "--assets-dir", f"{machine.home}/images", env={"GIVEN": "one\ntwo"})
    client.execute("kept = 42")
    record = machine.info("a")
    restarted = machine.mrmd("--restart", "a")
    assert restarted.returncode == 0, restarted.stderr
    again = machine.client("a")
    assert f"Restarted 'a': http://localhost:{client.port}/mrp/v1, PID {again.pid}." in restarted.stdout
    assert again.pid != client.pid
    assert again.value("import os; os.getcwd(), os.environ['GIVEN'], 'kept' in globals()") == repr(
        ("/usr", "one\ntwo", False)
    )
    changed = ("pid", "pid_started", "created", "lastActivity", "uptime", "memory")
    after = machine.info("a")
    assert {name: after[name] for name in after if name not in changed} == {
        name: record[name] for name in record if name not in changed
    }
    assert machine.alive([client.pid]) == []
    assert machine.mrmd("--restart", "a").returncode == 0, "the second restart failed"
    assert machine.client("a").value("os.environ['GIVEN'] if 'os' in globals() else 'fresh'") == "'fresh'"


def test_dead_daemon_can_be_restarted(here: Machine) -> None:
    client = here.start("a", env={"GIVEN": "yes"})
    worker = int(client.value("import os; os.getpid()"))
    here.kill("KILL", client.pid)
    wait_until(lambda: "dead" in here.mrmd("--list").stdout, "the runtime is listed as dead")
    assert here.mrmd("--restart", "a").returncode == 0
    again = here.client("a")
    assert (again.port, again.value("import os; os.environ['GIVEN']")) == (client.port, "'yes'")
    assert here.alive([worker]) == []


def test_restart_that_cannot_succeed_leaves_the_runtime_running(machine: Machine) -> None:
    machine.read("mkdir", f"{machine.home}/work")
    machine.read(sys.executable, "-m", "venv", "--without-pip", f"{machine.home}/venv")
    options = ("--venv", f"{machine.home}/venv", "--cwd", f"{machine.home}/work", "--token")
    assert machine.mrmd("--id", "a", *options).returncode == 0
    pid = machine.info("a")["pid"]
    for lost in (".mrmd/env/a.env", ".mrmd/tokens/a", "work", "venv/bin/python"):
        machine.read("mv", f"{machine.home}/{lost}", f"{machine.home}/lost")
        assert f"{machine.home}/{lost} no longer exists" in _error_of(machine, "--restart", "a")
        machine.read("mv", f"{machine.home}/lost", f"{machine.home}/{lost}")
    assert (machine.states(), machine.info("a")["pid"]) == ({"a": "running"}, pid)
    machine.read("rm", "-rf", f"{machine.home}/work", f"{machine.home}/venv")


def test_start_after_crash_reuses_the_port(here: Machine) -> None:
    client = here.start("a", "--token")
    here.kill("KILL", client.pid)
    again = here.start("a")
    assert (again.port, again.value("1 + 1")) == (client.port, "2"), (
        "the new runtime must reuse the port and require no token"
    )


def test_failed_restart_can_be_repeated(machine: Machine) -> None:
    directory = f"{machine.home}/project"
    machine.read("mkdir", directory)
    client = machine.start("a", "--cwd", directory, "--env", "GIVEN=yes", "--nice", "3")
    machine.read("mv", directory, f"{directory}-away")
    machine.read("touch", directory)
    for _ in range(2):
        failed = machine.mrmd("--restart", "a")
        assert failed.returncode == 1
        assert directory in failed.stderr
        assert machine.states()["a"] in ("dead", "failed")
    machine.read("rm", directory)
    machine.read("mv", f"{directory}-away", directory)
    done = machine.mrmd("--restart", "a", "--json")
    assert done.returncode == 0, done.stderr
    again = machine.client("a")
    assert again.port == client.port
    assert again.value("import os; os.getcwd()") == repr(directory)
    assert again.value("os.environ['GIVEN'], os.nice(0)") == "('yes', 3)"
    assert machine.mrmd("--kill", "a").returncode == 0
    assert machine.leftovers() == ""


def test_interrupted_restart_can_be_repeated(here: Machine) -> None:
    command = here.script("python", f'[ -e {here.home}/hang ] && exec sleep 7531; exec {sys.executable} "$@"')
    here.read("mkdir", "-p", f"{here.home}/venv/bin")
    here.read("mv", command, f"{here.home}/venv/bin/python")
    client = here.start("a", "--venv", f"{here.home}/venv", "--env", "GIVEN=yes")
    here.read("touch", f"{here.home}/hang")
    with subprocess.Popen(here.command(MRMD, "--restart", "a"), stderr=subprocess.PIPE, text=True) as restart:
        wait_until(lambda: "sleep 7531" in here.read("ps", "-e", "-o", "args="), "the new server is starting")
        restart.send_signal(signal.SIGINT)
        assert restart.communicate(timeout=30)[1].strip() == "mrmd-python: interrupted"
    wait_until(lambda: here.states() == {"a": "dead"}, "the runtime has ended")
    here.read("rm", f"{here.home}/hang")
    assert here.mrmd("--restart", "a").returncode == 0
    again = here.client("a")
    assert (again.port, again.value("import os; os.environ['GIVEN']")) == (client.port, "'yes'")


def test_restart_rejects_foreground_runtime(here: Machine) -> None:
    with subprocess.Popen(here.command(MRMD, "--id", "a", "--foreground"), stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: "running" in here.mrmd("--list").stdout, "the runtime is running")
            assert "runs in the foreground of a terminal" in _error_of(here, "--restart", "a")
            assert here.mrmd("--kill", "a").returncode == 0
        finally:
            server.terminate()


def test_logs_prints_and_follows_the_log(machine: Machine) -> None:
    client = machine.start("a")
    assert "runtime a answers at" in machine.mrmd("--logs", "a").stdout
    # Output between executions goes to the log.
    late = "import os, threading; threading.Timer(0.1, os.write, (1, b'late words\\n')).start()"
    following = subprocess.Popen(
        machine.command(MRMD, "--logs", "a", "-f", "-n", "0"), stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert following.stdout is not None
        output = following.stdout.fileno()

        def is_followed() -> bool:
            client.execute(late)
            return _is_printed(output, b"late words")

        # The first lines may be logged before the command follows the log.
        wait_until(is_followed, "--logs -f prints a new line of the log", 60)
    finally:
        following.terminate()
        following.wait()
        following.stdout.close()  # type: ignore[union-attr]
    wait_until(lambda: "late words" in machine.mrmd("--logs", "a").stdout, "--logs prints the line")
    assert len(machine.mrmd("--logs", "a", "--lines", "1").stdout.splitlines()) == 1
    assert machine.mrmd("--kill", "a").returncode == 0
    assert "late words" in machine.mrmd("--logs", "a").stdout, "the log was deleted with the runtime"


@pytest.mark.parametrize("end", ["rm", "mv"])
def test_removed_log_is_written_again(here: Machine, end: str) -> None:
    client = here.start("a")
    log = here.home / ".mrmd" / "logs" / "a.log"
    here.read("sh", "-c", 'if [ "$1" = rm ]; then rm "$0"; else mv "$0" "$0.1"; fi', str(log), end)
    assert f"'a' writes to {log}" in _error_of(here, "--logs", "a")
    client.execute("import os; os._exit(3)")
    wait_until(lambda: log.exists() and "exited with status 3" in log.read_text(), "the log is written again")
    crash = "faulthandler: the last words of a crash"
    here.read("sh", "-c", f"echo '{crash}' >> /proc/{client.pid}/fd/2")
    assert crash in here.mrmd("--logs", "a").stdout, "standard error of the server is another file"


def _is_printed(descriptor: int, words: bytes) -> bool:
    """Return whether a pipe delivers `words` within one second."""
    os.set_blocking(descriptor, False)
    deadline = time.monotonic() + 1
    found = b""
    while words not in found and time.monotonic() < deadline:
        try:
            found += os.read(descriptor, 65536)
        except BlockingIOError:
            time.sleep(0.02)
    return words in found


def test_env_options_set_variables(machine: Machine) -> None:
    file = f"{machine.home}/a.env"
    content = "# mine\nexport A='one two'\nB=\"x\\ny\"\nC=$HOME # not expanded\nD=of the file\n"
    machine.read("sh", "-c", 'printf %s "$1" > "$2"', "sh", content, file)
    client = machine.start(
        "a",
        *("--env-file", file, "--env", "D=of the option", "--env", "E=a=b\n'$%\\", "--env", "TERM", "--gpus", "0,3"),
        env={"TERM": "xterm-of-the-caller", "CUDA_VISIBLE_DEVICES": "7"},
    )
    names = ("A", "B", "C", "D", "E", "TERM", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    shown = client.execute(f"import json, os; print(json.dumps([os.environ[name] for name in {names}]))")["stdout"]
    assert json.loads(shown) == [
        *("one two", "x\ny", "$HOME", "of the option", "a=b\n'$%\\", "xterm-of-the-caller", "0,3", "0,3")
    ]
    assert machine.mrmd("--restart", "a").returncode == 0
    assert machine.client("a").value("import os; os.environ['E'], os.environ['TERM']") == repr(
        ("a=b\n'$%\\", "xterm-of-the-caller")
    )


def test_gpus_none_hides_all_gpus(here: Machine) -> None:
    assert here.start("a", "--gpus", "none").value("import os; os.environ['CUDA_VISIBLE_DEVICES']") == "''"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--env", "NOT_SET_HERE"), "NOT_SET_HERE"),
        (("--env", "MRMD_RUNTIME=x"), "MRMD_RUNTIME"),
        (("--env", "NOTIFY_SOCKET=x"), "NOTIFY_SOCKET"),
        (("--env-file", "/nowhere/at.env"), "/nowhere/at.env: No such file"),
        (("--env-file", "/usr"), "/usr: Is a directory"),
        (("--env-file", "/bin/sh"), "/bin/sh: it is not UTF-8"),
        (("--env-file", "/etc/hosts"), "/etc/hosts: line 1"),
        (("--memory-max", "1G"), "--memory-max: cannot be enforced for a daemon"),
        (("--property", "Nice=3", "--tasks-max", "3"), "--tasks-max, --property: cannot be enforced for a daemon"),
        (("--foreground", "--nice", "3"), "--nice: cannot be enforced for a foreground process"),
    ],
)
def test_start_errors_are_one_line(here: Machine, arguments: tuple[str, ...], words: str) -> None:
    error = _error_of(here, *arguments)
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (here.home / ".mrmd" / "runtimes" / "default.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory-max", "lots"), ("--memory-high", "-1"), ("--cpu-quota", "2"), ("--tasks-max", "many"),
        ("--nice", "20"),
        ("--gpus", "0;1"), ("--property", "Nice"), ("--property", "Nice=1\nExecStartPre=/bin/false"),
        ("--property", "Nice=1\\"), ("--env", "A B=1"), ("--idle-timeout", "soon"), ("--timeout", "3 fortnights"),
        ("--info", "a", "--kill", "a"), ("--completion", "tcsh"),
        ("--render", "docker"), ("--lines", "-1", "--logs", "a"), ("--nonsense",),
    ],
)  # fmt: skip
def test_usage_errors_create_nothing(here: Machine, arguments: tuple[str, ...]) -> None:
    assert "Error: " in _error_of(here, *arguments, status=2)
    assert list(here.home.iterdir()) == []


def test_nice_applies_after_start_and_restart(machine: Machine) -> None:
    client = machine.start("a", "--nice", "4")
    assert client.value("import os; os.nice(0)") == "4"
    assert machine.mrmd("--restart", "a").returncode == 0
    assert machine.client("a").value("import os; os.nice(0)") == "4"


def test_no_wait_returns_before_the_runtime_is_ready(machine: Machine) -> None:
    begun = machine.mrmd("--id", "a", "--no-wait")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert "is starting" in begun.stdout
    waited = machine.mrmd("--id", "a", "--json")
    assert json.loads(waited.stdout)["alreadyRunning"] is True
    assert machine.client("a").value("1 + 1") == "2"


def test_start_times_out_and_leaves_nothing(machine: Machine) -> None:
    python = machine.script("hangs/bin/python", "exec sleep 7654321")
    error = _error_of(machine, "--id", "a", "--venv", f"{machine.home}/hangs", "--timeout", "2s")
    assert f"{python} was not ready to run code within 2 s" in error
    assert machine.mrmd("--list").stdout.startswith("No runtimes")
    if machine.backend == "systemd":
        assert "sleep 7654321" not in machine.read("ps", "-e", "-o", "args=")
    else:
        assert processes_of(machine.home) == []


def test_unused_runtime_stops_after_idle_timeout(machine: Machine) -> None:
    client = machine.start("a", "--idle-timeout", "3s")
    with client.streaming("import os, time; print(os.getpid()); time.sleep(6)") as events:
        next(events)
    # The client has disconnected, but the execution takes longer than the timeout.
    (running,) = client.get("/executions")["executions"]
    wait_until(lambda: client.get(f"/executions/{running['execId']}")["state"] == "done", "the execution has ended")
    worker = client.get("/sessions/default")["pid"]
    wait_until(lambda: machine.alive([client.pid, worker]) == [], "the idle runtime has stopped", 60)
    if machine.backend == "systemd":
        assert re.search(r"^a +stopped ", machine.mrmd("--list").stdout, re.MULTILINE)
    else:
        assert machine.mrmd("--list").stdout.startswith("No runtimes")
        assert not list((machine.home / ".mrmd" / "env").iterdir()), "the stopped runtime left its environment file"
    assert "no execution and no client for 3 s" in machine.mrmd("--logs", "a").stdout
    assert machine.start("a").value("1 + 1") == "2"


def test_open_stream_postpones_idle_timeout(here: Machine) -> None:
    client = here.start("a", "--idle-timeout", "2s")
    with client.streaming("input()") as events:
        assert [next(events).name for _ in range(2)] == ["start", "stdin_request"]
        deadline = time.monotonic() + 5
        wait_until(lambda: time.monotonic() > deadline, "the idle timeout has passed")
        assert client.get("/capabilities")["runtime"] == "mrmd-python"
        client.post("/interrupt")


def _on_terminal(command: list[str]) -> str:
    """Run a command on a terminal and return what it prints."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    printed = b""
    try:
        while chunk := os.read(terminal, 4096):
            printed += chunk
    except OSError:
        pass  # EIO: the command has closed its end (pty(7))
    finally:
        os.close(terminal)
    os.waitpid(child, 0)
    return printed.decode()


def test_colours_are_used_only_on_terminals(here: Machine) -> None:
    here.start("a")
    listing = [MRMD, "--list"]
    assert "\x1b[32mrunning\x1b[0m" in _on_terminal(here.command(*listing, env={"TERM": "xterm"}))
    assert "\x1b" not in _on_terminal(here.command(*listing, env={"TERM": "xterm", "NO_COLOR": "1"}))
    assert "\x1b" not in here.mrmd("--list", env={"TERM": "xterm"}).stdout


def test_progress_is_shown_only_on_terminals(here: Machine) -> None:
    here.script("hangs/bin/python", "exec sleep 1000")
    start = [MRMD, "--id", "a", "--venv", "hangs", "--timeout", "1s"]
    shown = _on_terminal(here.command(*start, env={"TERM": "xterm"}))
    assert "\r| Starting 'a': 0 s" in shown
    assert "\r\x1b[Kmrmd-python: " in shown, "the progress line was not cleared before the error"
    assert "Starting" not in _on_terminal(here.command(*start, env={"TERM": "dumb"}))
    assert "Starting" not in here.run(*start).stderr


def test_render_prints_the_unit_and_creates_nothing(here: Machine) -> None:
    options = ("--id=a+b", "--cwd=/usr", "--memory-max=8G", "--property=LimitNOFILE=4096", "--timeout=5min")
    unit = here.mrmd(*options, "--render", "systemd")
    assert unit.returncode == 0, unit.stderr
    lines = unit.stdout.splitlines()
    for line in (
        "Description=mrmd-python runtime a+b",
        f"EnvironmentFile={here.home}/.mrmd/env/a+b.env",
        "    --cwd=/usr \\",
        "MemoryMax=8G",
        "LimitNOFILE=4096",
        "TimeoutStartSec=310s",
    ):
        assert line in lines, unit.stdout
    assert here.mrmd(*options, "--render").stdout == unit.stdout, "the default format on Linux must be systemd"
    agent = here.mrmd("--id", "a+b", "--render", "launchd")
    assert agent.stdout.startswith("<?xml"), agent.stderr
    assert "<string>dev.mrmd.python.a+b</string>" in agent.stdout
    assert list(here.home.iterdir()) == []


def _completed_by_bash(machine: Machine, line: str) -> list[str]:
    script = 'eval "$("$1" --completion bash)"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
    script += '[[ $2 == *" " ]] && { COMP_CWORD=${#COMP_WORDS[@]}; COMP_WORDS+=(""); }; '
    script += '_mrmd_python_completion mrmd-python; printf "%s\\n" "${COMPREPLY[@]}"'
    return machine.read("bash", "-c", script, "bash", MRMD, line).split()


def _completed_by_fish(machine: Machine, line: str) -> list[str]:
    script = "$argv[1] --completion fish | source; complete --do-complete $argv[2]"
    return [word.split("\t")[0] for word in machine.read("fish", "-c", script, MRMD, line).splitlines()]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_shells_complete_options_and_running_ids(here: Machine, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    completed: dict[str, Callable[[Machine, str], list[str]]] = {"bash": _completed_by_bash, "fish": _completed_by_fish}
    complete = completed[shell]
    here.start("vllm-1")
    assert sorted(complete(here, "mrmd-python --memory-")) == ["--memory-high", "--memory-max"]
    for option in ("--id", "--info", "--kill", "--logs", "--restart", "--enable", "--disable"):
        assert complete(here, f"mrmd-python {option} v") == ["vllm-1"]
    assert complete(here, "mrmd-python --backend l") == ["launchd"]


def test_zsh_completion_script_is_valid(here: Machine) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    script = here.mrmd("--completion", "zsh").stdout
    path = Path(here.home, "_mrmd-python")
    path.write_text(script)
    assert here.run("zsh", "-n", str(path)).returncode == 0
    assert script.startswith("#compdef mrmd-python")


def test_manual_documents_exactly_the_options(here: Machine) -> None:
    manual = (Path(__file__).parents[1] / "man" / "mrmd-python.1").read_text()
    entries = re.findall(r"^\.It (Fl .*)$", manual, re.MULTILINE)
    described = {f"-{name}" for entry in entries for name in re.findall(r"Fl (\S+)", entry)}
    printed = here.mrmd("--help", env={"COLUMNS": "200"}).stdout
    offered = set(
        re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "".join(re.findall(r"^  -.*?(?:  |$)", printed, re.MULTILINE)))
    )
    assert described == offered


_HOSTILE = "\x1b]0;title\x07\x1b[2Jx\nmrmd-python forged\r\u202e"


def _check_is_harmless(printed: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", printed), ascii(printed)
    assert "\nmrmd-python forged" not in printed
    assert r"\x1b]0;title\x07" in printed


def test_control_characters_in_names_are_shown_escaped(here: Machine) -> None:
    project = here.home / _HOSTILE
    project.mkdir()
    venv.create(project / "venv", symlinks=True)
    named = ("--venv", str(project / "venv"))
    started = here.mrmd("--id", "a", "--assets-dir", str(project / "assets"), *named, cwd=str(project))
    assert started.returncode == 0, started.stderr
    for printed in (started.stdout, here.mrmd("--list").stdout, here.mrmd("--info", "a").stdout):
        _check_is_harmless(printed)
    for arguments in (["--id", "b", "--cwd", str(project / "missing")], ["--id", "b", "--venv", str(project)]):
        failed = here.mrmd(*arguments)
        assert failed.returncode == 1
        _check_is_harmless(failed.stderr)


def test_control_characters_are_logged_escaped(here: Machine) -> None:
    client = here.start("a")
    code = f"import threading; go = threading.Event()\ndef late():\n    go.wait(); print({_HOSTILE!r}, flush=True)\n"
    client.execute(f"{code}threading.Thread(target=late).start()")
    client.execute("threading.Timer(0.05, go.set).start()")
    log = here.home / ".mrmd" / "logs" / "a.log"
    wait_until(lambda: "forged" in log.read_text(), "it is logged")
    _check_is_harmless(here.mrmd("--logs", "a").stdout)
