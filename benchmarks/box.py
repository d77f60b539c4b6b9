"""The container with a real systemd that `tests/systemd/box` boots, as a place to run ours in."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.case import BOXED
from benchmarks.peers.mrp import MrpPeer
from tests.machine import box_machine

_BOX = Path(__file__).resolve().parents[1] / "tests" / "systemd" / "box"


@contextmanager
def boxed(command: str) -> Iterator[MrpPeer | None]:
    """Have ours under systemd while the block runs; the value is None where no container can be booted."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        yield None
        return
    with subprocess.Popen([_BOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as box:
        assert box.stdin is not None
        assert box.stdout is not None
        machine = box_machine(int(box.stdout.readline()))
        try:
            yield MrpPeer(BOXED, command, machine.environ, machine.prefix, tells_pid=False)
        finally:
            box.stdin.close()
