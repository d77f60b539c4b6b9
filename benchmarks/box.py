"""Runs runtimes in the container with a real systemd that `tests/systemd/box` boots."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.mrp import MrpPeer
from tests.machine import box_machine

_BOX = Path(__file__).resolve().parents[1] / "tests" / "systemd" / "box"


@contextmanager
def boxed(commands: Mapping[str, str]) -> Iterator[Sequence[MrpPeer]]:
    """Boot a container while the block runs; yield a peer for each command, or none if no container can be booted."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        yield []
        return
    with subprocess.Popen([_BOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as box:
        assert box.stdin is not None
        assert box.stdout is not None
        machine = box_machine(int(box.stdout.readline()))
        try:
            yield [
                MrpPeer(name, command, machine.environ, machine.prefix, reports_pid=False)
                for name, command in commands.items()
            ]
        finally:
            box.stdin.close()
