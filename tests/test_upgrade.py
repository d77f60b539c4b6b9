"""A package that is upgraded while its runtimes run, and records of 0.4.2, which this version only reports."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.client import Client
from tests.interpreters import make_venv
from tests.machine import Machine, assert_error, wait_until

_PACKAGE = Path(__file__).parents[1] / "src" / "mrmd_python"


def _installed(here: Machine) -> tuple[Path, Client]:
    """Start a runtime from a copy of the package in a venv; return the copy and a client of the runtime."""
    python = make_venv(sysconfig.get_python_version(), here.home / "venv")
    (site,) = (here.home / "venv").glob("lib/python*/site-packages")
    (site / "needed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    shutil.copytree(_PACKAGE, site / "mrmd_python", ignore=shutil.ignore_patterns("__pycache__"))
    assert here.run(python, "-m", "mrmd_python", "--id", "a").returncode == 0
    return site / "mrmd_python", here.client("a")


def _start_sessions(client: Client) -> list[str]:
    """Try to start sessions in each way there is; return the errors."""
    created = client.request("POST", "/sessions", {"id": "created"})
    required = client.request("POST", "/sessions", {"id": "required", "dependencies": ["pip"]})
    assert (created[0], required[0]) == (422, 422)
    return [created[1]["error"], required[1]["error"], client.execute("1", session="b")["error"]["message"]]


def test_upgraded_package_is_reported_where_a_session_cannot_start(here: Machine) -> None:
    package, client = _installed(here)
    client.execute("kept = 42")
    version_file = package / "__init__.py"
    version_file.write_text(re.sub('__version__ = ".*"', '__version__ = "0.4.99"', version_file.read_text()))
    upgraded = "mrmd-python was upgraded since this runtime started; restart the runtime"
    assert _start_sessions(client) == [upgraded] * 3
    assert client.value("kept") == "42", "the running session is lost"


def test_removed_package_is_reported_where_it_is_missed(here: Machine) -> None:
    package, client = _installed(here)
    shutil.rmtree(package)
    removed = "mrmd-python was removed since this runtime started; install it again and restart the runtime"
    assert _start_sessions(client) == [removed] * 3
    page = client.fetch("GET", "/")
    assert (page.status, page.body.decode()) == (503, f"There is no console: {removed}.\n")
    first = client.execute("6 * 7")
    assert (first["result"], first["stderr"]) == ("42", "")
    assert client.post("/complete", {"code": "pri", "cursor": 3})["matches"]
    assert here.mrmd("--kill", "a").returncode == 0


def _old_record(here: Machine, pid: int) -> Path:
    """Write a record as 0.4.2 did: it has no start time, so the pid may belong to another process by now."""
    path = here.home / ".mrmd" / "runtimes" / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "id": "a", "pid": pid, "port": 8765, "host": "localhost", "url": "http://localhost:8765/mrp/v1",
        "venv": "/usr", "cwd": "/", "assets_dir": None, "created": "2025-01-01", "lastActivity": "2025-01-01",
    }  # fmt: skip
    path.write_text(json.dumps(fields))
    return path


def test_record_of_old_version_is_reported_and_kept(here: Machine) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            path = _old_record(here, process.pid)
            advice = f"if `ps {process.pid}` shows it, stop it with: kill {process.pid} && rm {path}"
            listed = here.mrmd("--list")
            assert listed.stdout.splitlines()[1].split()[:2] == ["a", "older"]
            assert listed.stderr == f"mrmd-python: note: 'a' was started by mrmd-python 0.4.2 or older; {advice}\n"
            for option in ("--id", "--info", "--kill", "--restart", "--enable"):
                assert_error(here.mrmd(option, "a"), 1, advice)
            assert_error(here.mrmd("--kill-all"), 1, advice)
            assert path.exists()
            assert process.poll() is None
            here.start("b")
            assert here.states() == {"a": "older", "b": "running"}
        finally:
            process.kill()
    wait_until(lambda: here.states()["a"] == "dead", "the record of the ended process is dead")
    path.unlink()


@pytest.mark.parametrize("replaces", [True, False])
def test_dead_record_of_old_version_can_be_killed_and_replaced(here: Machine, replaces: bool) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    path = _old_record(here, process.pid)
    if replaces:
        assert here.start("a").value("1 + 1") == "2"
    else:
        assert here.mrmd("--kill", "a").stdout == "'a' was already dead; removed its files.\n"
        assert not path.exists()
