"""The programs in examples/, run as their first lines say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.machine import Machine, wait_until

_EXAMPLES = Path(__file__).parents[1] / "examples"
_CODE = "import sys\nfor n in range(3): print(n)\nprint(input('Name? ')[::-1], file=sys.stderr)\n6 * 7"


@pytest.mark.parametrize("client", ["client.py", "client.mjs"])
def test_client_example_prints_output_and_sends_input(shared: Client, client: str) -> None:
    program = sys.executable if client.endswith(".py") else shutil.which("node")
    assert program is not None, "this test needs Node 18 or newer: apt-get install nodejs"
    command = [program, str(_EXAMPLES / client), f"http://localhost:{shared.port}/mrp/v1", _CODE]
    done = subprocess.run(command, input="Ada\n", capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "adA\n")
    assert re.fullmatch(r"0\n1\n2\nName\? Ada\nOut\[\d+\]: 42\n", done.stdout), done.stdout


def test_connecting_example_prints_output_and_sends_input(shared: Client, shared_machine: Machine) -> None:
    command = shared_machine.command(sys.executable, str(_EXAMPLES / "connect.py"), "shared", _CODE)
    done = subprocess.run(command, input="Ada\n", capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "adA\n")
    assert re.fullmatch(r"0\n1\n2\nName\? Ada\nOut\[\d+\]: 42\n", done.stdout), done.stdout
    failed = shared_machine.run(sys.executable, str(_EXAMPLES / "connect.py"), "none", "1")
    assert failed.stderr == "no runtime named 'none' is running; start it with: mrmd-python --id none\n"


def test_embedding_example_serves_and_stops_its_runtime(here: Machine, free_port: int) -> None:
    client = Client.at(free_port)
    command = here.command(sys.executable, str(_EXAMPLES / "embed_uvicorn.py"), str(free_port))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        try:
            wait_until(client.answers, "the example answers", 60)
            worker = int(client.value("import os; os.getpid()"))
        finally:
            program.terminate()
            program.wait(timeout=30)
    wait_until(lambda: here.alive([worker]) == [], "the session has ended with the example")


def test_kill_frees_the_memory_of_an_engine(here: Machine) -> None:
    done = here.run(sys.executable, str(_EXAMPLES / "memory_comes_back.py"))
    assert done.returncode == 0, done.stderr
    pids = re.search(r"^2 workers in their own process sessions: \[(\d+), (\d+)\]$", done.stdout, re.MULTILINE)
    assert pids is not None, done.stdout
    assert here.alive([int(pid) for pid in pids.groups()]) == []
    held = re.search(r"^engine-example +running .* (\d+) MB ", done.stdout, re.MULTILINE)
    assert held is not None, done.stdout
    assert int(held[1]) > 400, "two workers of 200 MB"
    freed = re.search(r"^Ended 'engine-example' .*: 6 processes, (\d+) MB of memory freed", done.stdout, re.MULTILINE)
    assert freed is not None, done.stdout
    assert int(freed[1]) > 400
    assert done.stdout.endswith("0 of the workers are left.\nNo runtimes. Start one with: mrmd-python --id NAME\n")
