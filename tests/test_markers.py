"""--kill ends only processes that carry the marker of the runtime."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.machine import MRMD, Machine, assert_error

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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for files of another user")
def test_home_of_another_user_is_refused(here: Machine) -> None:
    """As root with that user's HOME (`sudo -E`): its files would say which processes to end."""
    home = here.home.parent / "theirs"
    marker = f"x:{'a' * 32}"
    environment_file = home / ".mrmd" / "env" / "x.env"
    environment_file.parent.mkdir(parents=True)
    environment_file.write_text(f'MRMD_RUNTIME="{marker}"\n')
    (home / ".mrmd" / "locks").symlink_to(here.home)
    here.home.chmod(0o755)
    subprocess.run(["chown", "-hR", "65534", str(home)], check=True)
    victim = here.command("sleep", "1000", cwd="/", env={"MRMD_RUNTIME": marker})
    with subprocess.Popen(victim, user=4243, group=4243, extra_groups=[], cwd="/") as process:
        try:
            for arguments in (["--kill", "x"], ["--kill-all"], ["--list"], ["--id", "x"], ["--info", "x"]):
                assert_error(here.mrmd(*arguments, env={"HOME": str(home)}), 1, "belongs to nobody", "sudo -H")
            assert process.poll() is None
        finally:
            process.kill()
    assert list(here.home.iterdir()) == []
    assert here.home.stat().st_mode & 0o777 == 0o755
    bare = here.home.parent / "bare"
    bare.mkdir()
    os.chown(bare, 65534, 65534)
    assert_error(here.mrmd("--id", "x", env={"HOME": str(bare)}), 1, "belongs to nobody")
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize("name", ["locks/x.lock", "locks/x.claim", "locks", "runtimes"])
def test_links_in_the_home_are_not_followed(here: Machine, name: str) -> None:
    here.start("other")
    assert here.mrmd("--kill", "other").returncode == 0
    link, target = here.home / ".mrmd" / name, here.home / "target"
    if link.is_dir():
        link.rmdir()
        target.mkdir(mode=0o755)
    link.symlink_to(target)
    assert_error(here.mrmd("--id", "x"), 1, str(link))
    if target.exists():
        assert list(target.iterdir()) == []
        assert target.stat().st_mode & 0o777 == 0o755
    link.unlink()


def test_record_that_is_a_link_is_not_read(here: Machine) -> None:
    here.start("other")
    (here.home / ".mrmd" / "runtimes" / "x.json").symlink_to("other.json")
    assert_error(here.mrmd("--info", "x"), 1, "it is a link")
