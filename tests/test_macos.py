"""macOS: processes are found by what they cannot shed, and measured and identified without psutil.

The code runs as on macOS, with stand-ins for libproc and launchd (tests/macos, tests/launchd). They behave as Apple's
sources and manuals say, but cannot replace a test on a Mac, which is in .github/workflows.
"""

import dataclasses
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mrmd_python.runtime import libproc
from tests.client import Client
from tests.machine import Machine, assert_error, wait_until

_FORK = {"MRMD_BACKEND": "fork"}
# The environment of these programs is hidden. The shell that starts the first two ends, so they are orphans.
_START_HIDDEN = """
import json, os, subprocess
script = "exec 3>&1 >/dev/null; sleep 1000 3>&- & echo $! >&3; "
script += "sh -c 'trap : TERM; while :; do sleep 1000; done' 3>&- & echo $! >&3"
orphans = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout.split()
own_session = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(json.dumps([*map(int, orphans), own_session.pid]))
"""
_START_DAEMON = """
import os, subprocess
script = "sh -c 'sleep 1000 >/dev/null & echo $!'"
daemon = int(subprocess.run(script, shell=True, stdout=subprocess.PIPE, text=True, start_new_session=True).stdout)
print(daemon)
"""


def _start(machine: Machine, *options: str, env: Mapping[str, str] | None = None) -> Client:
    """Start a runtime whose sessions run in a usual Python."""
    return machine.start("a", f"--venv={sys.prefix}", "--stop-timeout=1s", *options, env=env)


def _run(client: Client, code: str) -> Any:
    """Run code that prints JSON, and return that."""
    result = client.execute(code)
    assert result["error"] is None, result
    return json.loads(result["stdout"])


def _start_hidden(client: Client) -> list[int]:
    pids: list[int] = _run(client, _START_HIDDEN)
    return pids


def _start_daemon(client: Client) -> int:
    """Start a process whose parent and session leader have ended and were never seen."""
    return int(_run(client, _START_DAEMON))


@pytest.mark.parametrize(
    ("decode", "data", "expected"),
    [
        (libproc.decode_unique_ids, struct.pack("=16sQQiiQQ", b"u" * 16, 2**40, 7, 1, 2, 3, 4), (2**40, 7)),
        (
            libproc.decode_short_bsd_info,
            struct.pack("=4I16s8I", 11, 22, 33, 5, b"name", 1, 501, 20, 502, 21, 503, 22, 0),
            (22, 5, (502, 501)),
        ),
        (
            libproc.decode_start,
            struct.pack("=12I16s32s5IiQQ", *range(12), b"", b"", *range(5), -1, 1_700_000_000, 250_000),
            1_700_000_000.25,
        ),
        (libproc.decode_footprint, struct.pack("=16s10Q", b"", 1, 2, 3, 4, 5, 6, 7, 2**33, 9, 10), 2**33),
        (libproc.decode_coalition, struct.pack("=5Q", 280936, 280937, 0, 0, 0), 280936),
    ],
)
def test_structs_of_xnu_are_decoded(decode: Callable[[bytes], Any], data: bytes, expected: Any) -> None:
    assert len(data) in (40, 56, 64, 96, 136), "not the size of the struct"
    assert decode(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"\2\0\0\0/bin/x\0\0\0\0x\0A=no\0A=yes\0EMPTY=\0\0executable_path=/bin/x\0",
            ([b"x", b"A=no"], [b"A=yes", b"EMPTY="]),
        ),
        (b"\2\0\0\0/bin/sleep\0\0sleep\x0030\0", ([b"sleep", b"30"], [])),
        (b"", ([], [])),
    ],
)
def test_arguments_are_told_from_the_environment(data: bytes, expected: tuple[list[bytes], list[bytes]]) -> None:
    assert libproc.decode_arguments(data) == expected


def test_kill_ends_processes_whose_environment_is_hidden(macos: Machine) -> None:
    """Also if the session has a PATH without any program."""
    client = _start(macos, env=_FORK)
    pids = _start_hidden(client)
    client.execute("os.environ['PATH'] = '/nowhere'")
    killed = macos.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert macos.alive(pids) == []


def test_deleted_session_leaves_no_process_whose_environment_is_hidden(macos: Machine) -> None:
    client = _start(macos, env=_FORK)
    pids = _start_hidden(client)
    assert client.request("DELETE", "/sessions/default")[0] == 200
    assert macos.alive(pids) == []


def test_process_of_a_killed_worker_is_found_by_who_has_forked_it(macos: Machine) -> None:
    client = _start(macos, env=_FORK)
    pids = _start_hidden(client)
    assert macos.info("a")["memory"] > 0  # this looks at all processes, as the kernel does when they start
    macos.kill("KILL", client.get("/sessions/default")["pid"])
    wait_until(lambda: macos.alive(pids) == [], "the processes of the worker have ended")


def test_kill_ends_all_in_the_coalition_of_an_agent(macos: Machine) -> None:
    client = _start(macos)
    daemon = _start_daemon(client)
    killed = macos.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert macos.alive([daemon]) == []


def test_next_server_ends_what_a_crashed_one_has_left_in_the_coalition(macos: Machine) -> None:
    client = _start(macos)
    daemon = _start_daemon(client)
    coalition = macos.info("a")["coalition"]
    macos.kill("KILL", client.pid)
    again = _start(macos)  # waits until launchd has restarted it
    assert macos.alive([daemon]) == []
    assert macos.info("a")["coalition"] == coalition, "the new server does not know that its coalition is its own"
    daemon = _start_daemon(again)
    assert macos.mrmd("--kill", "a").returncode == 0
    assert macos.alive([daemon]) == []


def test_coalition_of_a_terminal_is_not_taken_for_the_runtimes_own(macos: Machine) -> None:
    _start(macos, env=_FORK)
    assert macos.info("a")["coalition"] is None


def test_list_shows_memory(macos: Machine) -> None:
    _start(macos)
    assert 10_000_000 < macos.info("a")["memory"] < 2_000_000_000


def test_change_of_the_clock_does_not_change_who_a_process_is(macos: Machine) -> None:
    client = _start(macos)
    shifted = ("faketime", "-f", "+1h", *macos.program)
    listed = json.loads(macos.read(*shifted, "--list", "--json"))
    assert [(found["status"], found["pid"]) for found in listed] == [("running", client.pid)]


def test_apples_python_is_not_chosen_by_itself(here: Machine, as_macos: Path, tmp_path: Path) -> None:
    """/usr/bin/python3 may open a dialog. It is the only one on the PATH of a tool that is in a venv of its own."""
    tool = tmp_path / "tool"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tool], check=True)
    (tool / "uv-receipt.toml").write_text("")
    (site,) = tool.glob("lib/python*/site-packages")
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith(("site-packages", "src"))))
    script = Path(__file__).with_name("macos") / "as_macos.py"
    package = Path(__file__).parents[1] / "src" / "mrmd_python"
    command = [
        f"{tool}/bin/python",
        str(script),
        str(as_macos.with_name("libproc.so")),
        str(as_macos),
        str(package),
        "--id",
        "a",
        "--render",
        "fork",
    ]
    rendered = here.run(*command, env={"PATH": "/usr/bin"})
    assert rendered.returncode == 0, rendered.stderr
    assert "--python=" in rendered.stdout
    assert "/usr/bin/python3" not in rendered.stdout


@pytest.fixture
def folding(here: Machine) -> Machine:
    """This machine, with a home on a disk that does not tell upper from lower case."""
    if shutil.which("cc") is None:
        pytest.skip("the disk that folds case needs a C compiler: apt-get install gcc libc6-dev")
    library = f"{here.home}/fold_case.so"
    source = Path(__file__).with_name("macos") / "fold_case.c"
    here.read("cc", "-shared", "-fPIC", "-Wall", "-o", library, str(source), "-ldl")
    return dataclasses.replace(here, environ={**here.environ, "LD_PRELOAD": library, "FOLD_CASE": f"{here.home}/.mrmd"})


def test_other_spelling_of_an_id_is_refused_on_a_disk_that_folds_case(folding: Machine) -> None:
    client = folding.start("a")
    for options in (["--id"], ["--kill"], ["--restart"], ["--info"], ["--logs"], ["--foreground", "--id"]):
        assert_error(folding.mrmd(*options, "A"), 1, "'A' would have the files of the runtime 'a'")
    assert folding.mrmd("--kill", "b").returncode == 1
    assert folding.info("a")["pid"] == client.pid
    assert folding.mrmd("--kill", "a").returncode == 0
    assert folding.start("A").value("1 + 1") == "2"
    assert folding.mrmd("--kill-all").returncode == 0
