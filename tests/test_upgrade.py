"""Records of runtimes that mrmd-python 0.4.2 started: this version reports them, but does not use or kill them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.machine import Machine, assert_error, wait_until


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
