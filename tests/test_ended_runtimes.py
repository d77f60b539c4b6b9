"""What runtimes leave that have ended: logs, and the files of those that crashed."""

import json
import os
import resource
import subprocess
import time
from zlib import crc32

from tests.machine import Machine


def _leave_dead_runtimes(here: Machine, ids: list[str]) -> None:
    """Leave the files of runtimes that crashed, as those of one that is ended in order here."""
    home = here.home / ".mrmd"
    here.start("model")
    record = json.loads((home / "runtimes" / "model.json").read_text())
    environment = (home / "env" / "model.env").read_text()
    assert here.mrmd("--kill", "model").returncode == 0
    for name in ids:
        changes = {"id": name, "pid_started": "another boot:1", "spec": {**record["spec"], "id": name}}
        (home / "runtimes" / f"{name}.json").write_text(json.dumps(record | changes))
        (home / "env" / f"{name}.env").write_text(environment.replace('"model:', f'"{name}:'))
        (home / "ports" / name).write_text("4000\n")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_many_dead_runtimes_are_removed_quickly(here: Machine) -> None:
    _leave_dead_runtimes(here, [f"dead{number}" for number in range(1000)])
    before = _cpu_seconds()
    killed = here.mrmd("--kill-all", "--json")
    assert {(each["wasAlive"], each["processes"]) for each in json.loads(killed.stdout)} == {(False, 0)}
    assert len(json.loads(killed.stdout)) == 1000
    assert _cpu_seconds() - before < 3
    left = [path for path in (here.home / ".mrmd").rglob("*") if path.is_file() and path.parent.name != "logs"]
    assert left == []


def test_kill_all_ends_the_processes_and_partial_files_of_dead_runtimes(here: Machine) -> None:
    _leave_dead_runtimes(here, ["a", "b", "c"])
    home = here.home / ".mrmd"
    marker = (home / "env" / "b.env").read_text().partition('MRMD_RUNTIME="')[2].partition('"')[0]
    part = home / "runtimes" / f".mrmd-{crc32(b'c.json'):08x}-0123456789abcdef"
    part.touch()
    with subprocess.Popen(["sleep", "1000"], env={"MRMD_RUNTIME": f"{marker}/0123456789abcdef"}) as left:
        killed = {each["id"]: each["processes"] for each in json.loads(here.mrmd("--kill-all", "--json").stdout)}
        assert left.wait(timeout=20) < 0
    assert killed == {"a": 0, "b": 1, "c": 0}
    assert [path for path in home.rglob("*") if path.is_file() and path.parent.name != "logs"] == []


def test_only_the_newest_logs_of_ended_runtimes_are_kept(here: Machine) -> None:
    logs = here.home / ".mrmd" / "logs"
    _leave_dead_runtimes(here, ["dead"])
    for number, name in enumerate(["dead", *(f"ended{number}" for number in range(60))]):
        for log in (logs / f"{name}.log", logs / f"{name}.log.1"):
            log.write_text("x\n")
            os.utime(log, (time.time() - 1000 + number,) * 2)
    here.start("a")
    kept = {log.name for log in logs.iterdir() if log.name.endswith(".log")}
    assert kept == {"a.log", "dead.log", "model.log", *(f"ended{number}.log" for number in range(11, 60))}
    assert not (logs / "ended10.log.1").exists()
    assert (logs / "ended11.log.1").exists()
