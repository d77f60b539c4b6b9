"""What a session inherits from the caller: environment variables, working directory and Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import BIN, MRMD, Machine


def test_login_session_variables_are_dropped_and_others_kept(machine: Machine) -> None:
    given = {
        "CUDA_VISIBLE_DEVICES": "1",
        "SSH_CONNECTION": "1.2.3.4 5",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "TERM": "xterm",
        "SHLVL": "3",
        "OLDPWD": "/etc",
        "TMUX": "/tmp/tmux",
        "NOTIFY_SOCKET": "/run/caller",
        "INVOCATION_ID": "0123",
        "PYTHONPATH": "/nowhere/at/all",
    }
    client = machine.start("a", env=given)
    found = json.loads(client.execute("import json, os; print(json.dumps(dict(os.environ)))")["stdout"])
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert found["PYTHONPATH"] == "/nowhere/at/all"
    assert {name for name in given if found.get(name) == given[name]} == {"CUDA_VISIBLE_DEVICES", "PYTHONPATH"}
    assert not {"WATCHDOG_USEC", "JOURNAL_STREAM", "MRMD_CONTROL_FD"} & found.keys()
    assert found["HOME"] == str(machine.home)


@pytest.mark.systemd
def test_user_manager_variables_are_not_inherited(box: Machine) -> None:
    box.read("systemctl", "--user", "set-environment", "CUDA_VISIBLE_DEVICES=7", "LEAK=manager")
    try:
        client = box.start("a")
        code = "import os; [os.environ.get(name) for name in ('CUDA_VISIBLE_DEVICES', 'LEAK', 'HOME')]"
        assert client.value(code) == "[None, None, '/home/dev']"
    finally:
        box.read("systemctl", "--user", "unset-environment", "CUDA_VISIBLE_DEVICES", "LEAK")


@pytest.mark.systemd
def test_value_that_systemd_rejects_is_omitted(box: Machine) -> None:
    client = box.start("a", env={"NONCHARACTER": "\ufdd0", "FINE": "\ufeff"})
    assert client.value("import os; [os.environ.get(name) for name in ('NONCHARACTER', 'FINE')]") == "[None, '\\ufeff']"


@pytest.mark.systemd
def test_systemd_finds_home_with_any_name(box: Machine) -> None:
    home = f"{box.home}/a[b]* ?c\\d %h"
    env = {"MRMD_HOME": home, "GIVEN": "yes"}
    box.read("mkdir", "-p", home)
    assert box.start("h", env=env).value("import os; os.environ['GIVEN']") == "'yes'"
    assert box.mrmd("--kill-all", env=env).returncode == 0


@pytest.mark.systemd
def test_unit_directory_unknown_to_systemd_falls_back_to_daemon(box: Machine) -> None:
    env = {"XDG_CONFIG_HOME": f"{box.home}/elsewhere"}
    assert box.start("a", env=env).value("1 + 1") == "2"
    assert box.info("a")["backend"] == "fork"
    done = box.mrmd("--id", "b", "--backend", "systemd", env=env)
    assert done.returncode == 1
    assert "XDG_CONFIG_HOME" in done.stderr


@pytest.mark.parametrize("name", ["v%h$HOME", "v e%h n v", "v' \"\\n${HOME}"])
def test_venv_path_may_have_any_name(machine: Machine, name: str) -> None:
    """The command itself runs from that venv, so the path is in the unit's ExecStart too."""
    venv = f"{machine.home}/{name}"
    machine.read(sys.executable, "-m", "venv", "--without-pip", venv)
    site = machine.read("find", venv, "-name", "site-packages")
    paths = "\n".join(path for path in sys.path if path.endswith(("site-packages", "src")))
    machine.read("sh", "-c", 'printf %s "$1" > "$2"', "sh", paths, f"{site}/here.pth")
    started = machine.run(f"{venv}/bin/python", "-m", "mrmd_python", "--id", "a")
    assert started.returncode == 0, started.stderr
    assert machine.client("a").value("import sys; sys.prefix") == repr(venv)


def test_environment_file_is_private_and_removed_by_kill(machine: Machine) -> None:
    machine.start("a", env={"SECRET": "s3cret"})
    path = f"{machine.home}/.mrmd/env/a.env"
    assert machine.read("stat", "--format=%a", path) == "600"
    processes = machine.read("ps", "-e", "-o", "args=").splitlines()
    assert not any("s3cret" in line for line in processes if "/mrmd_python/" in line)
    if machine.backend == "systemd":
        assert "s3cret" not in machine.read("systemctl", "--user", "cat", "mrmd-python@a")
    machine.mrmd("--kill", "a")
    assert machine.run("test", "-e", path).returncode == 1


@pytest.mark.parametrize("name", ["-per%cent%h$HOME", "é😀 quo'te\"s %h ${HOME}\nback\\slash\\"])
def test_cwd_may_have_any_name(machine: Machine, name: str) -> None:
    directory = f"{machine.home}/{name}"
    machine.read("mkdir", "-p", "--", directory)
    client = machine.start("a", f"--cwd={directory}")
    assert client.execute("import os; print(os.getcwd(), end='')")["stdout"] == directory
    assert client.get("/sessions/default")["environment"]["cwd"] == directory
    assert machine.info("a")["cwd"] == directory


def test_cwd_defaults_to_callers_and_cannot_shadow_server_modules(here: Machine) -> None:
    directory = here.home / "project"
    directory.mkdir()
    for name in ("aiohttp", "asyncio", "json", "click", "mrmd_python", "sdnotify", "socket"):
        (directory / f"{name}.py").write_text("raise SystemExit('imported from the cwd')")
    (directory / "mine.py").write_text("value = 42")
    client = here.start("a", cwd=str(directory))
    assert client.value("import mine; mine.value") == "42"
    assert client.value("1 + 1", session="other") == "2"


def test_pythonpath_cannot_shadow_the_commands_modules(here: Machine) -> None:
    """It is for the sessions, and a project may have a module of any name."""
    folder = here.home / "modules"
    folder.mkdir()
    for name in ("click", "dataclasses", "json", "msgspec", "pathlib", "shutil", "signal", "subprocess", "typing"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from PYTHONPATH')")
    (folder / "mine.py").write_text("value = 42")
    elsewhere = {"PYTHONPATH": str(folder)}
    for command in ("--list", "--help", "--version", "--kill-all"):
        done = here.mrmd(command, env=elsewhere)
        assert (done.returncode, done.stderr) == (0, "")
    (folder / "dataclasses.py").unlink()  # IPython in the session needs these
    for name in ("json", "pathlib", "shutil", "signal", "subprocess", "typing"):
        (folder / f"{name}.py").unlink()
    client = here.start("a", env=elsewhere)
    assert client.value("import mine; mine.value") == "42"
    assert client.execute("import click")["error"]["message"] == "imported from PYTHONPATH"
    for command in ("--info", "--restart", "--kill"):
        done = here.mrmd(command, "a", env=elsewhere)
        assert (done.returncode, done.stderr) == (0, "")
    assert here.run(sys.executable, "-m", "mrmd_python.cli", "--kill-all", cwd=str(folder)).returncode == 0


def test_pythonstartup_is_run_as_in_jupyter(here: Machine) -> None:
    startup = here.home / "startup.py"
    startup.write_text("from_startup = 42")
    assert here.start("a", env={"PYTHONSTARTUP": str(startup)}).value("from_startup") == "42"


def test_default_venv_is_the_one_that_has_mrmd_python(here: Machine) -> None:
    client = here.start("a")
    assert client.value("import sys; sys.prefix") == repr(sys.prefix)
    assert "mrmd-python is installed in it" in here.mrmd("--info", "a").stdout


def test_virtual_env_is_used_when_installed_as_a_tool(here: Machine, tmp_path: Path) -> None:
    """The user has not chosen the venv that uvx or pipx installs the command into, so it is not used for sessions."""
    project = here.home / "project" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project], check=True)
    tool = tmp_path / "tool"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tool], check=True)
    (tool / "uv-receipt.toml").write_text("")
    (site,) = tool.glob("lib/python*/site-packages")
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith(("site-packages", "src"))))
    command = [f"{tool}/bin/python", "-m", "mrmd_python"]
    assert here.run(*command, "--id", "a", env={"VIRTUAL_ENV": str(project)}).returncode == 0
    assert f"{project} (named by VIRTUAL_ENV)" in here.mrmd("--info", "a").stdout
    outside = {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": ""}
    started = here.run(*command, "--id", "b", env=outside, cwd=str(project.parent))
    assert f"{project} is not used; to use it: --venv {project}" in started.stderr
    assert started.returncode == 0 or "IPython" in started.stderr
    missing = here.run(*command, "--id", "c", env={"VIRTUAL_ENV": "/nowhere/venv"})
    assert missing.returncode == 1
    assert "VIRTUAL_ENV: /nowhere/venv" in missing.stderr


def test_uvx_uses_the_venv_of_the_project(here: Machine) -> None:
    """The real uvx, from the source tree."""
    uv = shutil.which("uv", path=str(BIN))
    assert uv is not None, "this test needs uv, one of the development dependencies"
    project = here.home / "project" / ".venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, project], check=True)
    tree = Path(__file__).parents[1]
    names = [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_")) or name.endswith("_proxy")]
    env = {"VIRTUAL_ENV": str(project)} | {name: os.environ[name] for name in names}
    uvx = [uv, "tool", "run", "--quiet", "--python", sys.executable, "--from", str(tree)]
    started = here.run(*uvx, "mrmd-python", "--id", "a", env=env)
    assert started.returncode == 0, started.stderr
    assert "named by VIRTUAL_ENV" in here.mrmd("--info", "a").stdout
    assert here.client("a").value("import sys; sys.prefix") == repr(str(project))


def test_foreground_serves_until_a_signal(here: Machine) -> None:
    with subprocess.Popen(here.command(MRMD, "--id", "a", "--foreground"), stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "answers at" in line:
                    break
            client = here.client("a")
            assert client.pid == server.pid, "the server is not the process of the command"
            pid = int(client.value("import os; os.getpid()"))
        finally:
            server.terminate()
        assert server.wait(timeout=20) == 0
    assert here.alive([pid]) == []
    assert here.mrmd("--list").stdout.startswith("No runtimes")
