"""The setting of a run: the peers, and how much to measure."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.mrp import MrpPeer, MrpRuntime
from benchmarks.peers.peer import Lineup, Peer, Runtime


@dataclass(frozen=True)
class Effort:
    """How much of everything."""

    starts: int
    commands: int
    latencies: int
    queries: int
    streams: int
    megabytes: float
    """What is streamed, as a share of what the full case has."""
    memories: int
    idle_seconds: float
    runtimes: int
    kills: int
    children: int
    setup: str
    """A cell that defines `os`, `np` and `df`, which queries are about."""


_LIBRARIES = """
import os
import numpy as np
import pandas as pd
df = pd.DataFrame({"first": range(1000), "second": range(1000)})
"""
FULL = Effort(10, 15, 300, 40, 3, 1.0, 3, 20.0, 10, 5, 50, _LIBRARIES)
QUICK = Effort(1, 1, 10, 1, 1, 0.01, 1, 1.0, 2, 1, 5, "import os, collections as np; df = np.Counter('abc')")


@dataclass(frozen=True)
class Setting:
    """One run."""

    lineup: Lineup
    ours: MrpPeer
    before: MrpPeer | None
    """An earlier state of ours."""
    older: MrpPeer | None
    boxed: Sequence[MrpPeer]
    """Ours, and an earlier state of it, in a container with systemd."""
    python: Path
    """That of ours."""
    effort: Effort

    @property
    def mrp(self) -> Sequence[MrpPeer]:
        """Those that speak MRP, on this machine."""
        return [peer for peer in (self.ours, self.before, self.older) if peer is not None]

    @property
    def mrp_and_boxed(self) -> Sequence[MrpPeer]:
        """Those that have the command."""
        return [*self.mrp, *self.boxed]

    def runtime(self, peer: MrpPeer) -> MrpRuntime:
        """Return the live runtime of one that speaks MRP."""
        found = self.lineup.runtime(peer)
        assert isinstance(found, MrpRuntime)
        return found

    def each(self, ask: Callable[[Runtime], float]) -> Mapping[str, Callable[[], float]]:
        """Return contenders that run `ask` on the live runtime of each peer."""

        def asking(peer: Peer) -> Callable[[], float]:
            return lambda: ask(self.lineup.runtime(peer))

        return {peer.name: asking(peer) for peer in self.lineup.peers}

    def each_mrp(self, ask: Callable[[MrpRuntime], float]) -> Mapping[str, Callable[[], float]]:
        """Return contenders that run `ask` on the live runtime of each peer that speaks MRP."""

        def asking(peer: MrpPeer) -> Callable[[], float]:
            return lambda: ask(self.runtime(peer))

        return {peer.name: asking(peer) for peer in self.mrp}

    def running(self, *arguments: str) -> Callable[[], float]:
        """Return, as a contender, the Python of ours with `arguments`, from its start to its end."""

        def run() -> float:
            started = time.perf_counter()
            subprocess.run([str(self.python), *arguments], check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

        return run
