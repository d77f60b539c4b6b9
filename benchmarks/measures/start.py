"""From the command that starts a runtime to the result of `1+1`; for comparison, the imports alone."""

import subprocess
import time
from collections.abc import Callable, Iterable

from benchmarks.case import BOXED, OLDER, Case, Target, interleave
from benchmarks.peers.mrp import MrpPeer
from benchmarks.setting import Setting

_SHELL = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance().run_cell('1+1')"
# The command, the process that makes a daemon of the server, the server and the reaper each start the next one, and
# the reaper starts the worker: these imports cannot be done in parallel.
_CHAIN = "in sequence: click, 3 bare Pythons, IPython to its result"


def run(setting: Setting) -> Iterable[Case]:
    """Yield the case."""
    setting.lineup.end_all()
    contenders: dict[str, Callable[[], float]] = {
        peer.name: setting.starting(peer) for peer in (*setting.lineup.peers, *setting.boxed)
    }
    contenders |= {
        "python -c pass": setting.running("-c", "pass"),
        "import IPython": setting.running("-c", "import IPython"),
        "import aiohttp.web": setting.running("-c", "import aiohttp.web"),
        "IPython to its result": setting.running("-c", _SHELL),
        _CHAIN: _in_a_row(
            setting.running("-c", "import click"),
            *[setting.running("-I", "-S", "-c", "pass")] * 3,
            setting.running("-c", _SHELL),
        ),
    }
    if setting.boxed:
        contenders["to enter the box"] = _entering(setting.boxed[0])
    yield interleave(
        "start",
        "start to the result of 1+1",
        "ms",
        setting.effort.starts,
        contenders,
        [Target(1.0, OLDER), Target(1.0, OLDER, subject=BOXED), Target(1.25, _CHAIN)],
    )


def _in_a_row(*runs: Callable[[], float]) -> Callable[[], float]:
    return lambda: sum(run() for run in runs)


def _entering(peer: MrpPeer) -> Callable[[], float]:
    """Return a contender: how long it takes to enter the container, which is part of the start there."""

    def enter() -> float:
        started = time.perf_counter()
        subprocess.run([*peer.prefix, "true"], check=True)
        return time.perf_counter() - started

    return enter
