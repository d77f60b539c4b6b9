"""Runtimes as launchd agents: their property lists, and launchctl commands against a strict stand-in for launchd.

The stand-in, tests/launchd, runs the agents as real processes, but it cannot replace a test on macOS.
"""

import dataclasses
import json
import os
import plistlib
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrmd_python.manager.backends.launchd import LaunchdBackend
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec
from tests.launchd.agent import Agent
from tests.machine import MRMD, Machine, assert_error, processes_of, wait_until

_UID = os.getuid()
_SPEC = RuntimeSpec(
    id="rt:a+b",
    venv="/v en%v",
    python="/v en%v/bin/python",
    venv_source="option",
    cwd='/w <&> "d" é\n',
    assets_dir="-assets",
    umask="0027",
)
_SPECIAL = "a '\"%$\\\n<&>-é😀\t\x7f\u2028"
_NOT_IN_XML = "\r\x01\x1b"


def _agents(machine: Machine) -> list[Path]:
    return [path for path in (machine.home / "Library").rglob("*") if path.is_file()]


def _is_loaded(machine: Machine, runtime_id: str) -> bool:
    return machine.run("launchctl", "print", f"gui/{_UID}/dev.mrmd.python.{runtime_id}").returncode == 0


def _state(machine: Machine, runtime_id: str) -> str:
    output = machine.read("launchctl", "print", f"gui/{_UID}/dev.mrmd.python.{runtime_id}")
    return next(line for line in output.splitlines() if line.startswith("\tstate = ")).removeprefix("\tstate = ")


def _rendered(environment: dict[str, str], spec: RuntimeSpec = _SPEC) -> tuple[bytes, dict[str, Any]]:
    content = LaunchdBackend().render(Home(Path("/home/x/.mrmd")), spec, environment)
    return content, plistlib.loads(content)


def test_agent_has_all_keys_and_only_documented_ones(tmp_path: Path) -> None:
    environment = {"A": "<&>\"'%$\\\n é😀", "EMPTY": ""}
    content, agent = _rendered(environment)
    path = tmp_path / "dev.mrmd.python.rt:a+b.plist"
    path.touch(mode=0o600)
    path.write_bytes(content)
    assert Agent.read(path).keys == agent, "the agent changed when it was read and checked against launchd.plist(5)"
    arguments = agent.pop("ProgramArguments")
    assert agent == {
        "Label": "dev.mrmd.python.rt:a+b",
        "EnvironmentVariables": environment,
        "WorkingDirectory": "/",
        "StandardOutPath": "/home/x/.mrmd/logs/rt:a+b.log",
        "StandardErrorPath": "/home/x/.mrmd/logs/rt:a+b.log",
        "RunAtLoad": True,
        "Umask": 0o27,
        "KeepAlive": {"SuccessfulExit": False, "Crashed": True},
        "ThrottleInterval": 10,
        "ExitTimeOut": 15,
        "AbandonProcessGroup": False,
        "SoftResourceLimits": {"NumberOfFiles": 4096},
        "ProcessType": "Interactive",
    }
    assert Path(arguments[0]).is_file()
    assert Path(arguments[2], "__main__.py").is_file()
    assert arguments[1:] == ["-E", arguments[2], "--foreground", *_SPEC.options()]


@settings(deadline=None, derandomize=True)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@example(text=_SPECIAL)
@example(text=_SPECIAL + _NOT_IN_XML)
def test_agent_keeps_any_value(text: str) -> None:
    """The agent is XML, which users can read, unless a value cannot be written in XML."""
    content, agent = _rendered({"VALUE": text}, dataclasses.replace(_SPEC, cwd=f"/{text}"))
    assert agent["EnvironmentVariables"] == {"VALUE": text}
    assert f"--cwd=/{text}" in agent["ProgramArguments"]
    assert content.startswith((b"<?xml", b"bplist"))
    if text.isprintable():
        assert content.startswith(b"<?xml")


@pytest.mark.parametrize("text", [_SPECIAL, _SPECIAL + _NOT_IN_XML])
def test_plistutil_reads_the_same_agent(text: str, tmp_path: Path) -> None:
    plistutil = shutil.which("plistutil")
    if plistutil is None:
        pytest.skip("plistutil is missing: apt-get install libplist-utils")
    content, agent = _rendered({"VALUE": text}, dataclasses.replace(_SPEC, cwd=f"/{text}"))
    (tmp_path / "given").write_bytes(content)
    subprocess.run([plistutil, "-i", tmp_path / "given", "-o", tmp_path / "read", "-f", "bin"], check=True)
    assert plistlib.loads((tmp_path / "read").read_bytes()) == agent


def test_start_rejects_path_that_is_not_unicode() -> None:
    with pytest.raises(ServiceError, match="UTF-8"):
        _rendered({}, dataclasses.replace(_SPEC, cwd="/\udcff"))


def test_start_info_second_start_and_kill(mac: Machine) -> None:
    client = mac.start("a")
    children = json.loads(
        client.value(
            "import os, subprocess, json\n"
            "[os.getpid(), *(subprocess.Popen(['sleep', '1000'], start_new_session=new).pid for new in (False, True))]"
        )
    )
    record = mac.info("a")
    assert (record["backend"], record["unit"]) == ("launchd", "dev.mrmd.python.a")
    assert record["log"] == str(mac.home / ".mrmd/logs/a.log")
    assert "launchd (dev.mrmd.python.a)" in mac.mrmd("--info", "a").stdout
    again = json.loads(mac.mrmd("--id", "a", "--json").stdout)
    assert again.pop("alreadyRunning") is True
    assert again.items() <= record.items()
    assert mac.read("ps", "-o", "pgid=", "-p", str(client.pid)) == str(client.pid), (
        "the server does not lead a process group"
    )
    killed = mac.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert mac.alive([client.pid, *children]) == []
    assert not _is_loaded(mac, "a")
    assert _agents(mac) == []


def test_runtimes_of_another_home_are_left_alone(mac: Machine) -> None:
    client = mac.start("a")
    other = {"MRMD_HOME": f"{mac.home}/other"}
    assert_error(mac.mrmd("--id", "a", env=other), 1, "belongs to a runtime in another MRMD_HOME")
    assert "no runtime named 'a'" in mac.mrmd("--kill", "a", env=other).stderr
    assert mac.mrmd("--id", "a", "--backend", "fork", env=other).returncode == 0
    assert mac.mrmd("--kill-all", env=other).returncode == 0
    assert (mac.states(), mac.info("a")["pid"]) == ({"a": "running"}, client.pid)


def test_simultaneous_starts_give_one_runtime(mac: Machine) -> None:
    command = mac.command(MRMD, "--id", "race", "--json")
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
    printed = [start.communicate(timeout=100) for start in starts]
    assert [start.returncode for start in starts] == [0] * 5, printed
    assert len({json.loads(out)["pid"] for out, _ in printed}) == 1


@pytest.mark.parametrize("end", ["SEGV", "KILL"])
def test_killed_server_restarts_on_its_port(mac: Machine, end: str) -> None:
    client = mac.start("a")
    client.execute("kept = 42")
    code = "import os, subprocess; [os.getpid(), subprocess.Popen(['sleep', '1000']).pid]"
    pids = json.loads(client.value(code))
    mac.kill(end, client.pid)
    wait_until(lambda: mac.states() == {"a": "starting"}, "launchd waits before it restarts the server")
    wait_until(lambda: mac.alive(pids) == [], "the children of the killed server have ended")
    again = mac.start("a")  # waits until launchd has restarted it
    assert again.port == client.port
    assert again.pid != client.pid
    result = again.execute("kept")
    assert result["error"]["type"] == "NameError"
    assert "its server had died" in result["stderr"]


def test_server_that_exits_cleanly_is_not_restarted(mac: Machine) -> None:
    client = mac.start("a", env={"GIVEN": "1"})
    mac.kill("TERM", client.pid)
    wait_until(lambda: mac.alive([client.pid]) == [], "the server has exited")
    assert _is_loaded(mac, "a")
    assert mac.states() == {"a": "stopped"}
    assert mac.start("a", env={"GIVEN": "2"}).value("import os; os.environ['GIVEN']") == "'2'"
    mac.kill("TERM", mac.client("a").pid)
    wait_until(lambda: mac.states() == {"a": "stopped"}, "the server has exited")
    assert mac.mrmd("--kill", "a").returncode == 0
    assert not _is_loaded(mac, "a")
    assert mac.states() == {}


def test_launchd_does_not_restart_server_that_cannot_serve(mac: Machine) -> None:
    """For example at a login after the venv was deleted."""
    venv = mac.home / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    client = mac.start("a", f"--venv={venv}")
    mac.kill("TERM", client.pid)
    wait_until(lambda: _state(mac, "a") == "not running", "the server has exited")
    shutil.rmtree(venv)
    mac.read("launchctl", "kickstart", f"gui/{_UID}/dev.mrmd.python.a")
    # A restart would be "spawn scheduled".
    wait_until(lambda: _state(mac, "a") == "not running", "the server has failed and is not restarted")
    assert mac.mrmd("--kill", "a").returncode == 0
    assert not _is_loaded(mac, "a")


def test_kill_ends_stopped_server(mac: Machine) -> None:
    client = mac.start("a")
    pid = int(client.value("import os; os.getpid()"))
    mac.kill("STOP", client.pid)
    killed = mac.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert mac.alive([client.pid, pid]) == []


def test_failed_start_reports_the_cause_and_leaves_nothing(mac: Machine) -> None:
    python = mac.home / "broken" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/false")
    done = mac.mrmd("--id", "a", "--venv", str(mac.home / "broken"))
    assert_error(done, 1, f"{python} cannot run a session: its process exited with status 1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_error(mac.mrmd("--id", "a", "--port", port), 1, f"port {port} is in use")
    assert not _is_loaded(mac, "a")
    assert _agents(mac) == []
    assert [path.name for path in (mac.home / ".mrmd").rglob("*") if path.is_file()] == ["a.log"]


def test_interrupted_start_leaves_nothing(mac: Machine) -> None:
    mac.script("slow/bin/python", "exec sleep 1000")
    command = mac.command(MRMD, "--id", "a", "--venv", str(mac.home / "slow"))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as start:
        wait_until(lambda: _is_loaded(mac, "a"), "launchd has loaded the agent", seconds=60)
        start.send_signal(signal.SIGINT)
        assert start.wait(timeout=60) == 130
    assert not _is_loaded(mac, "a")
    assert _agents(mac) == []
    wait_until(lambda: processes_of(mac.home) == [], "all processes of the start have ended")


def test_runtime_gets_the_callers_environment(mac: Machine) -> None:
    given = {
        "MRMD_T_SPECIAL": f"{_SPECIAL}{_NOT_IN_XML} $HOME ${{HOME}} `id` %h \\n # ;",
        "MRMD_T_SPACE": " \t",
        "MRMD_T_EMPTY": "",
    }
    callers_only = {"XPC_SERVICE_NAME": "application.com.apple.Terminal", "__CFBundleIdentifier": "com.apple.Terminal"}
    client = mac.start("a", env={**given, **callers_only, "SSH_AUTH_SOCK": "/tmp/agent", "TERM": "xterm"})
    found = json.loads(client.execute("import json, os; print(json.dumps(dict(os.environ)))")["stdout"])
    assert {name: value for name, value in found.items() if name.startswith("MRMD_T_")} == given
    assert not {"XPC_SERVICE_NAME", "XPC_FLAGS", "__CFBundleIdentifier"} & found.keys()
    assert found["TERM"] != "xterm"
    assert found["SSH_AUTH_SOCK"] == "/tmp/of-the-domain", (
        "the agent must get the SSH agent of the login session, not the caller's"
    )
    assert found["HOME"] == str(mac.home)


@pytest.mark.parametrize("valid", ["x" * 128, "+_a.b:c@d+e-f"])
def test_valid_ids_are_accepted(mac: Machine, valid: str) -> None:
    assert mac.start(valid).value("1 + 1") == "2"
    assert _is_loaded(mac, valid)
    assert mac.mrmd("--kill", valid).returncode == 0
    assert not _is_loaded(mac, valid)


@pytest.mark.parametrize("name", ["-dash é😀 quo'te\"s <&> back\\slash $HOME", "new\nline\r"])
def test_paths_may_have_any_name(mac: Machine, name: str) -> None:
    home, cwd, venv, assets = (mac.home / name / part for part in ("home", "cwd", "-venv", "assets"))
    cwd.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    env = {"MRMD_HOME": str(home)}
    options = (f"--cwd={cwd}", f"--venv={venv}", f"--assets-dir={assets}")
    client = mac.start("a", *options, env=env)
    record = mac.info("a", env)
    assert (record["cwd"], record["venv"], record["assets_dir"]) == (str(cwd), str(venv), str(assets))
    assert client.execute("import os; print(os.getcwd(), end='')")["stdout"] == str(cwd)
    assert client.value("import sys; sys.prefix") == repr(str(venv))
    assert mac.mrmd("--kill", "a", env=env).returncode == 0


def test_agent_and_log_are_private(mac: Machine) -> None:
    mac.start("a", env={"SECRET": "s3cret"})
    (agent,) = _agents(mac)
    for path in (agent, mac.home / ".mrmd/logs/a.log"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_agent_starts_at_login_only_if_enabled(mac: Machine) -> None:
    login = mac.home / "Library/LaunchAgents/dev.mrmd.python.a.plist"

    mac.start("a")
    assert not login.exists()
    assert mac.info("a")["enabled"] is False
    assert mac.mrmd("--enable", "a").stdout == "Enabled 'a': it starts at login.\n"
    assert mac.mrmd("--enable", "a").returncode == 0
    assert _agents(mac) == [login]
    mac.kill("TERM", mac.client("a").pid)
    wait_until(lambda: mac.states() == {"a": "stopped"}, "the server has exited")
    assert mac.info("a")["enabled"] is True
    mac.read("launchctl", "bootout", f"gui/{_UID}/dev.mrmd.python.a")
    assert mac.states() == {"a": "stopped"}, "an agent that is not loaded is not listed"
    mac.start("a")
    assert _agents(mac) == [login], "a new start disabled the agent"
    assert mac.info("a")["enabled"] is True
    assert mac.mrmd("--disable", "a").returncode == 0
    assert mac.mrmd("--disable", "a").returncode == 0
    assert not login.exists()
    assert len(_agents(mac)) == 1
    assert mac.mrmd("--enable", "a").returncode == 0
    assert mac.mrmd("--kill", "a").returncode == 0
    assert _agents(mac) == []


def test_restart_keeps_port_and_environment(mac: Machine) -> None:
    client = mac.start("a", env={"GIVEN": "yes"})
    restarted = mac.mrmd("--restart", "a")
    assert restarted.returncode == 0, restarted.stderr
    again = mac.client("a")
    assert mac.alive([client.pid, again.pid]) == [again.pid]
    assert again.port == client.port
    assert again.value("import os; os.environ['GIVEN']") == "'yes'"
    mac.kill("TERM", again.pid)
    wait_until(lambda: mac.alive([again.pid]) == [], "the server has exited")
    assert mac.mrmd("--restart", "a").returncode == 0
    assert mac.client("a").value("1 + 1") == "2"


def test_nice_applies_and_other_limits_are_rejected(mac: Machine) -> None:
    client = mac.start("a", "--nice", "5")
    assert client.value("import os; os.nice(0)") == "5"
    for option in (["--memory-max", "1G"], ["--tasks-max", "9"], ["--cpu-quota", "50%"], ["--property", "A=b"]):
        done = mac.mrmd("--id", "b", *option)
        assert_error(done, 1, option[0])
    assert not _is_loaded(mac, "b")


def test_render_prints_the_agent_that_is_written(mac: Machine, here: Machine) -> None:
    options = ("--id", "a", "--nice", "5", "--env", "A=<&>é")
    rendered = here.mrmd(*options, "--render", "launchd", env=mac.environ)
    assert rendered.returncode == 0, rendered.stderr
    mac.start(*options[1:])
    (path,) = _agents(mac)
    written = plistlib.loads(path.read_bytes())
    shown = plistlib.loads(rendered.stdout.encode())
    assert shown.pop("EnvironmentVariables").items() <= written.pop("EnvironmentVariables").items()
    assert shown == written


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        # https://github.com/duh17/oppi/issues/38
        (
            "echo 'Domain does not support specified action' >&2; exit 125",
            ("not logged in at the screen", "Domain does not support", "--backend fork"),
        ),
        ("exec sleep 1000", ("did not answer `launchctl print`", "--backend fork")),
    ],
)
def test_start_reports_unavailable_launchd(here: Machine, answer: str, words: tuple[str, ...]) -> None:
    here.script("bin/launchctl", answer)
    done = here.mrmd("--backend", "launchd", env={"PATH": f"{here.home}/bin:{here.environ['PATH']}"})
    assert_error(done, 1, *words)


def test_dead_launchd_record_does_not_block_start_without_launchd(mac: Machine, here: Machine) -> None:
    mac.start("a")
    path = mac.home / ".mrmd/runtimes/a.json"
    record = path.read_text()
    assert mac.mrmd("--kill", "a").returncode == 0
    path.write_text(record)
    assert here.start("a").value("1 + 1") == "2"
    assert here.mrmd("--kill", "a").returncode == 0


def _stand_in(mac: Machine, name: str, value: float) -> None:
    """Set how launchd behaves: tests/launchd/daemon.py."""
    mac.read("launchctl", "stand-in", name, str(value))


def test_disabled_agent_starts(mac: Machine) -> None:
    service = f"gui/{_UID}/dev.mrmd.python.a"
    mac.read("launchctl", "disable", service)
    mac.start("a")
    mac.read("launchctl", "disable", service)
    assert mac.mrmd("--restart", "a").returncode == 0


def test_start_survives_kickstarts_and_prints_that_fail(mac: Machine) -> None:
    _stand_in(mac, "ignore", 3)
    _stand_in(mac, "confuse", 3)
    mac.start("a")
    _stand_in(mac, "confuse", 3)
    assert mac.states() == {"a": "running"}
    _stand_in(mac, "confuse", 3)
    assert mac.mrmd("--kill", "a").returncode == 0


def test_start_falls_back_to_a_daemon_if_launchd_refuses_agents(mac: Machine) -> None:
    _stand_in(mac, "refuse", 125)
    refused = mac.mrmd("--id", "a")
    assert_error(refused, 1, "launchd refused the agent (Bootstrap failed: 125", "; use --backend fork")
    done = mac.mrmd("--id", "a", env={"MRMD_BACKEND": ""})
    assert done.returncode == 0, done.stderr
    assert "started as a daemon, not a launchd agent: launchd refused the agent" in done.stderr
    assert mac.info("a")["backend"] == "fork"
    assert _agents(mac) == []


def test_environment_cannot_imitate_the_state_of_the_agent(mac: Machine) -> None:
    value = "x\n\t}\n\tstate = running\n\truns = 7\n\tpid = 1\n\tlast exit code = 3\n"
    client = mac.start("a", env={"IMITATION": value})
    assert value.strip() in mac.read("launchctl", "print", f"gui/{_UID}/dev.mrmd.python.a")
    mac.kill("TERM", client.pid)
    wait_until(lambda: _state(mac, "a") == "not running", "the server has exited")
    assert mac.states() == {"a": "stopped"}


def test_error_in_a_private_directory_says_how_to_allow_access(mac: Machine) -> None:
    cwd = mac.home / "Documents" / "project"
    cwd.mkdir(parents=True)
    python = mac.script("bin/python", "echo 'Operation not permitted' >&2; exit 1")
    failed = mac.mrmd("--id", "a", "--venv", python, "--cwd", str(cwd))
    assert failed.returncode == 1
    assert "Operation not permitted (macOS may keep agents from " in failed.stderr
    assert f"{cwd}: move it elsewhere, or allow {python} and " in failed.stderr
    failed = mac.mrmd("--id", "a", "--venv", python, "--cwd", "/")
    assert "Full Disk Access" not in failed.stderr


def test_start_by_ssh_says_when_the_agent_ends(mac: Machine) -> None:
    assert "ends when you log out at the screen" in mac.mrmd("--id", "a", env={"SSH_CONNECTION": "1"}).stderr


def test_server_that_cannot_start_again_gives_up(mac: Machine) -> None:
    _stand_in(mac, "throttle", 0.1)
    python = mac.home / "python"
    python.symlink_to(sys.executable)
    client = mac.start("a", f"--venv={python}")
    python.unlink()
    python.symlink_to("/bin/false")
    mac.kill("KILL", client.pid)
    wait_until(lambda: mac.states() == {"a": "failed"}, "the server has given up", seconds=60)
    assert _state(mac, "a") == "not running"
    assert "failed (" in mac.mrmd("--list").stdout
    assert f"{python} cannot run a session" in mac.info("a")["detail"]
    python.unlink()
    python.symlink_to(sys.executable)
    assert mac.mrmd("--restart", "a").returncode == 0
    assert mac.states() == {"a": "running"}


def test_sessions_may_open_more_files_than_launchd_allows_by_default(mac: Machine) -> None:
    client = mac.start("a")
    assert client.value("import resource; resource.getrlimit(resource.RLIMIT_NOFILE)[0]") == "4096"
