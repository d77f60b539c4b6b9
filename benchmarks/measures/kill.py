"""--kill, until the last process has ended. Older versions leave the children, so those are not waited for."""

import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.case import BOXED, OLDER, Case, Target, interleave
from benchmarks.peers.mrp import MrpPeer
from benchmarks.processes import end_tree, with_argument
from benchmarks.setting import Setting

_numbers = itertools.count(1)
_WAIT_SECONDS = 30.0


def run(setting: Setting) -> Iterable[Case]:
    """Yield the case."""
    count = setting.effort.children
    yield interleave(
        "kill",
        f"--kill with {count} children",
        "ms",
        setting.effort.kills,
        {peer.name: _killing(peer, count, waits=peer.name != OLDER) for peer in setting.mrp_and_boxed},
        [Target(1.0, OLDER), Target(1.0, OLDER, subject=BOXED)],
    )


def _killing(peer: MrpPeer, count: int, *, waits: bool) -> Callable[[], float]:
    def kill() -> float:
        runtime, _ = peer.start()
        nap = f"{100_000 + os.getpid()}.{next(_numbers)}"
        runtime.execute(f"import subprocess; c = [subprocess.Popen(['sleep', '{nap}']) for _ in range({count})]")
        children = with_argument(nap)
        assert len(children) == count, children
        started = time.perf_counter()
        peer.run("--kill", runtime.id)
        try:
            while waits and any(Path(f"/proc/{pid}").exists() for pid in children):
                assert time.perf_counter() - started < _WAIT_SECONDS, children
                time.sleep(0.001)
            return time.perf_counter() - started
        finally:
            if not waits:
                end_tree(children)

    return kill
