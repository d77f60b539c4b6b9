"""Cells that go on while the Jupyter server and the kernel's process are killed, or their user logs out."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jupyter.front_end import FrontEnd
from tests.jupyter.server import JupyterServer
from tests.machine import MRMD, Machine, box_root, wait_until

_LINES = "import time\nfor n in range(200):\n    print('line', n)\n    time.sleep(0.02)"
_ALL = "".join(f"line {n}\n" for n in range(200))


def _run_and_lose(front_end: FrontEnd) -> None:
    """Begin a cell, and return while it runs."""
    front_end.run("kept = 41")
    cell = front_end.send(_LINES)
    front_end.until(cell, lambda: "line 3\n" in cell.text(), "the cell writes")


def _check(front_end: FrontEnd) -> None:
    """Check that a new front end has all that the lost one had, and what came since."""
    assert front_end.run("%attach").text() == _ALL
    assert front_end.run("kept + 1").of_kind("execute_result")[0]["data"] == {"text/plain": "42"}
    assert front_end.run("%attach").of_kind("execute_result") != []


@pytest.mark.xdist_group("jupyter")
def test_cell_survives_sigkill_to_the_server_and_the_kernel(here: Machine, free_port: int) -> None:
    here.read(MRMD, "--install-kernel")
    Path(here.home, "work.ipynb").write_text("{}")
    server = JupyterServer(here, free_port)

    @contextmanager
    def serving() -> Iterator[None]:
        with subprocess.Popen(here.command(*server.command), stderr=subprocess.DEVNULL) as process:
            try:
                server.wait()
                yield
            finally:
                process.kill()

    with serving():
        front_end, kernel_id = server.open("work.ipynb", "mrmd-python")
        _run_and_lose(front_end)
        for pid in server.pids(kernel_id):
            here.kill("KILL", pid)
    front_end.channels.stop_channels()
    with serving():
        front_end, _ = server.open("work.ipynb", "mrmd-python")
        _check(front_end)
        front_end.channels.stop_channels()


@pytest.mark.systemd
def test_cell_survives_the_logout_of_the_session_that_ran_jupyter(
    box: Machine, box_leader: int, free_port: int
) -> None:
    root = box_root(box_leader)
    box.read(MRMD, "--install-kernel")
    box.read("sh", "-c", "echo {} > work.ipynb")
    server = JupyterServer(box, free_port, root=Path(f"/proc/{box_leader}/root"))

    @contextmanager
    def logged_in() -> Iterator[None]:
        variables = [f"--setenv={name}={value}" for name, value in box.environ.items()]
        # pam_systemd(8) opens a login session for a service whose PAMName includes it.
        root.read(
            "systemd-run", "--unit=visit", "--uid=dev", "--property=PAMName=login", "--property=StandardInput=null",
            f"--working-directory={box.home}", *variables, *server.command,
        )  # fmt: skip
        wait_until(lambda: "dev" in root.run("loginctl", "list-sessions", "--no-legend").stdout, "dev is logged in")
        try:
            server.wait()
            yield
        finally:
            root.read("systemctl", "stop", "visit")
            wait_until(lambda: root.run("loginctl", "list-sessions", "--no-legend").stdout == "", "dev is logged out")

    with logged_in():
        front_end, _ = server.open("work.ipynb", "mrmd-python")
        _run_and_lose(front_end)
        front_end.channels.stop_channels()
    with logged_in():
        front_end, _ = server.open("work.ipynb", "mrmd-python")
        _check(front_end)
        front_end.channels.stop_channels()
