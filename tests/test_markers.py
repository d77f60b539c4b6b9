"""--kill ends only processes that carry the marker of the runtime."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.machine import MRMD, Machine

_KILL_BESIDE_TWO_PROCESSES = """
MRMD_RUNTIME="$1" sleep 1000 & marked=$!
sleep 1000 & unmarked=$!
shift
"$@" --kill x
echo "status $?"
for pid in $marked $unmarked; do grep -qs '^State:.[^Z]' /proc/$pid/status && echo alive || echo gone; done
"""


def _environment_file(machine: Machine, runtime_id: str) -> Path:
    return machine.home / ".mrmd" / "env" / f"{runtime_id}.env"


@pytest.mark.parametrize("marker", ["None", "", "x", "x:", "x:1234", f"y:{'a' * 32}", f"x:{'a' * 32}/../y"])
def test_kill_ignores_invalid_marker_in_the_environment_file(here: Machine, marker: str) -> None:
    """Runs in a separate pid namespace, because a bug here would kill every process."""
    environment_file = _environment_file(here, "x")
    environment_file.parent.mkdir(parents=True)
    environment_file.write_text(f'MRMD_RUNTIME="{marker}"\n')
    command = here.command("sh", "-c", _KILL_BESIDE_TWO_PROCESSES, "sh", marker, MRMD)
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        namespace += ["--user", "--map-root-user"]
    done = subprocess.run([*namespace, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-3:] == ["status 0", "alive", "alive"], done


def test_kill_ignores_another_runtimes_marker_in_the_environment_file(here: Machine) -> None:
    other = here.start("other")
    here.start("x")
    _environment_file(here, "x").write_bytes(_environment_file(here, "other").read_bytes())
    assert here.mrmd("--kill", "x").returncode == 0
    assert here.states() == {"other": "running"}
    assert other.value("1 + 1") == "2"


def test_restart_replaces_a_malformed_marker(here: Machine) -> None:
    here.start("x")
    environment_file = _environment_file(here, "x")
    environment_file.write_text(re.sub(r'MRMD_RUNTIME="[^"]*"', 'MRMD_RUNTIME="None"', environment_file.read_text()))
    assert here.mrmd("--restart", "x").returncode == 0
    assert re.search(r'^MRMD_RUNTIME="x:[0-9a-f]{32}"$', environment_file.read_text(), re.MULTILINE)
    assert here.client("x").value("1 + 1") == "2"
