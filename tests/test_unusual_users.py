"""Users without a home or a name, files that cannot be read, and interpreters that are not where they seem to be."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interpreters import interpreters, make_venv
from tests.machine import BIN, Box, Machine, assert_error

_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _nameless(here: Machine, **variables: str) -> Machine:
    """Return this machine as a user who has no home and no entry in the password database, as in a container."""
    environ = {name: value for name, value in here.environ.items() if name != "HOME"} | variables
    return dataclasses.replace(here, prefix=["unshare", "--user", "--map-user=4343"], environ=environ)


def test_user_without_home_is_asked_for_one(here: Machine) -> None:
    machine = _nameless(here)
    for options in (["--id", "a"], ["--list"], ["--kill", "a"], ["--foreground"], ["--render", "fork"]):
        assert_error(machine.mrmd(*options), 1, "HOME is not set", "4343", "MRMD_HOME")


def test_user_without_home_can_use_another_directory(here: Machine) -> None:
    machine = _nameless(here, MRMD_HOME=str(here.home / ".mrmd"))
    assert machine.mrmd("--id", "a").returncode == 0
    assert machine.states() == {"a": "running"}
    assert machine.mrmd("--restart", "a").returncode == 0
    assert "Ended 'a'" in machine.mrmd("--kill", "a").stdout


@contextmanager
def _without_boot_id(here: Machine) -> Iterator[Machine]:
    """Give this machine, seen from a mount namespace in which the kernel's boot id is hidden."""
    hide = "mount -t tmpfs none /proc/sys/kernel/random && echo && read end"
    namespace = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        namespace += ["--user", "--map-root-user"]
    with subprocess.Popen([*namespace, "sh", "-c", hide], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"\n"
        enter = ["nsenter", f"--target={holder.pid}", "--mount"]
        if os.geteuid() != 0:
            enter += ["--user", "--preserve-credentials"]
        machine = dataclasses.replace(here, prefix=[*enter, "--"])
        try:
            yield machine
        finally:
            assert machine.mrmd("--kill-all").returncode == 0
            holder.stdin.close()


def test_commands_work_without_a_boot_id(here: Machine) -> None:
    with _without_boot_id(here) as machine:
        client = machine.start("a")
        assert client.value("1 + 1") == "2"
        assert machine.states() == {"a": "running"}
        client.execute("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
        assert "4 processes" in machine.mrmd("--kill", "a").stdout
        assert machine.states() == {}


@pytest.mark.systemd
def test_unreadable_directory_is_named_and_not_taken_for_empty(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    root.read("mkdir", "-p", "/srv/project", "/srv/venv/bin")
    root.read("chmod", "0700", "/srv/venv")
    # The directory can be entered, but not its .venv: as one that root has made, or that of a colleague.
    root.read("cp", "-a", "/srv/venv", "/srv/project/.venv")
    for options in (["--venv", str(sys.prefix)], []):
        started = dev.mrmd("--id", "a", *options, cwd="/srv/project")
        assert started.returncode == 0, started.stderr
        note = "" if options else "mrmd-python: note: /srv/project/.venv is not used: Permission denied\n"
        assert started.stderr == note
        assert dev.mrmd("--kill", "a").returncode == 0
    assert_error(dev.mrmd("--venv", "/srv/venv"), 1, "/srv/venv cannot be read", "Permission denied")
    config = {"XDG_CONFIG_HOME": "/srv/venv/config"}
    assert dev.mrmd("--id", "a", "--backend", "fork", env=config).returncode == 0
    for arguments in (["--list"], ["--kill", "a"]):
        done = dev.mrmd(*arguments, env=config)
        assert (done.returncode, done.stderr) == (0, "")
    root.read("mkdir", "-p", "/srv/home/.mrmd/runtimes")
    for mode, owner, problem in (("0700", "root", "belongs to root"), ("0000", "dev", "Permission denied")):
        root.read("chmod", mode, "/srv/home/.mrmd")
        root.read("chown", owner, "/srv/home/.mrmd")
        for option in (["--list"], ["--kill-all"], *([["--id", "a"]] if owner == "root" else [])):
            assert_error(dev.mrmd(*option, env={"HOME": "/srv/home"}), 1, "/srv/home/.mrmd", problem)


@pytest.mark.parametrize("backend", ["fork", "launchd"])
def test_log_that_cannot_be_written_is_named(request: pytest.FixtureRequest, backend: str) -> None:
    machine: Machine = request.getfixturevalue("here" if backend == "fork" else "mac")
    log = machine.home / ".mrmd" / "logs" / "a.log"
    log.mkdir(parents=True)
    assert_error(machine.mrmd("--id", "a"), 1, f"cannot write the log {log}: Is a directory")
    assert machine.states() == {}
    log.rmdir()
    assert machine.start("a").value("1 + 1") == "2"


@pytest.mark.systemd
def test_log_of_another_user_is_named(own_box: Box) -> None:
    dev, root = own_box.user, own_box.root
    dev.start("a", "--backend", "fork")
    assert dev.mrmd("--kill", "a").returncode == 0
    log = f"{dev.home}/.mrmd/logs/a.log"
    root.read("chown", "root", log)
    done = dev.mrmd("--id", "a", "--backend", "fork")
    assert_error(done, 1, f"cannot write the log {log}: Permission denied; remove it or change its owner")


def test_shim_is_resolved_to_the_python_that_it_starts(here: Machine) -> None:
    """As of pyenv: a script, outside any environment, that starts the Python that it finds for the directory."""
    real = here.home / "versions" / "real"
    make_venv(_VERSION, real)
    shim = here.script("pyenv/shims/python3", f'exec {real}/bin/python "$@"')
    (tool := here.home / "tool").mkdir()
    make_venv(_VERSION, tool)
    (tool / "uv-receipt.toml").write_text("")
    (site,) = tool.glob("lib/python*/site-packages")
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith(("site-packages", "src"))))
    env = {"PATH": f"{Path(shim).parent}:/usr/bin:/bin"}
    started = here.run(f"{tool}/bin/python", "-m", "mrmd_python", "--id", "a", env=env)
    assert started.returncode == 0, started.stderr
    record = here.info("a")
    assert (record["venv"], record["python"], record["venv_source"]) == (str(real), f"{real}/bin/python", "system")
    assert here.start("b", "--venv", shim).value("import sys; sys.prefix") == repr(str(real))
    assert (here.info("b")["venv"], here.info("b")["python"]) == (str(real), shim)


def test_active_environment_that_is_not_used_is_mentioned(here: Machine) -> None:
    project, conda = here.home / "project" / ".venv", here.home / "conda"
    for prefix in (project, conda):
        make_venv(_VERSION, prefix)

    def notes(*options: str, **env: str) -> list[str]:
        started = here.mrmd("--id", "a", *options, env=env, cwd=str(project.parent) if "PROJECT" in env else None)
        assert started.returncode == 0, started.stderr
        assert here.mrmd("--kill", "a").returncode == 0
        return started.stderr.splitlines()

    def note(prefix: Path) -> str:
        return f"mrmd-python: note: {prefix} is not used; to use it: --venv {prefix}"

    assert notes(VIRTUAL_ENV=str(project)) == [note(project)]
    assert notes(CONDA_PREFIX=str(conda)) == [note(conda)]
    assert notes(CONDA_PREFIX=str(conda), VIRTUAL_ENV=str(project), PROJECT="yes") == [note(project)]
    assert notes(VIRTUAL_ENV=sys.prefix, CONDA_PREFIX=str(conda)) == []
    assert notes("--venv", str(project), CONDA_PREFIX=str(conda)) == []
    assert notes(VIRTUAL_ENV="/nowhere") == []


def _uv_run(here: Machine, *options: str) -> "subprocess.CompletedProcess[str]":
    uv = shutil.which("uv", path=str(BIN))
    assert uv is not None, "uv is one of the development dependencies"
    names = [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_")) or name.endswith("_proxy")]
    tree = str(Path(__file__).parents[1])
    command = [uv, "run", "--quiet", "--python", interpreters()[_VERSION], "--with-editable", tree]
    env = {name: os.environ[name] for name in names} | {"PATH": "/usr/bin:/bin"}
    return here.run(*command, *options, cwd=str(here.home / "project"), env=env)


def test_uv_run_with_gives_a_runtime_that_outlives_its_environment(here: Machine) -> None:
    project = here.home / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "project"\nversion = "1"\n')
    started = _uv_run(here, "mrmd-python", "--id", "a")
    assert started.returncode == 0, started.stderr
    record = here.info("a")
    assert (record["venv"], record["venv_source"]) == (f"{project}/.venv", "uv")
    assert here.client("a").value("import sys; sys.prefix") == repr(f"{project}/.venv")
    assert here.client("a").value("1 + 1", session="another") == "2", "the server's Python is gone"
    assert here.mrmd("--restart", "a").returncode == 0
    isolated = _uv_run(here, "--isolated", "mrmd-python", "--id", "b")
    assert_error(isolated, 1, "uv removes", "--isolated", "--venv")
