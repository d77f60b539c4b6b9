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
    """How many samples to take, and of how much."""

    starts: int
    commands: int
    latencies: int
    queries: int
    streams: int
    # The share of the full amount of output.
    megabytes: float
    memories: int
    idle_seconds: float
    runtimes: int
    kills: int
    children: int
    # A cell that defines `os`, `np` and `df` for the queries.
    setup: str


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
    # An earlier build of ours.
    before: MrpPeer | None
    older: MrpPeer | None
    # Ours and its earlier build, in a container with systemd.
    boxed: Sequence[MrpPeer]
    # The interpreter of ours.
    python: Path
    effort: Effort

    @property
    def mrp(self) -> Sequence[MrpPeer]:
        """The peers that speak MRP, on this machine."""
        return [peer for peer in (self.ours, self.before, self.older) if peer is not None]

    @property
    def mrp_and_boxed(self) -> Sequence[MrpPeer]:
        """The peers that have the command."""
        return [*self.mrp, *self.boxed]

    def runtime(self, peer: MrpPeer) -> MrpRuntime:
        """Return the live runtime of a peer that speaks MRP."""
        found = self.lineup.runtime(peer)
        assert isinstance(found, MrpRuntime)
        return found

    def each(self, measure: Callable[[Runtime], float]) -> Mapping[str, Callable[[], float]]:
        """Return contenders that call `measure` with the live runtime of each peer."""

        def contender(peer: Peer) -> Callable[[], float]:
            return lambda: measure(self.lineup.runtime(peer))

        return {peer.name: contender(peer) for peer in self.lineup.peers}

    def each_mrp(self, measure: Callable[[MrpRuntime], float]) -> Mapping[str, Callable[[], float]]:
        """Return contenders that call `measure` with the live runtime of each peer that speaks MRP."""

        def contender(peer: MrpPeer) -> Callable[[], float]:
            return lambda: measure(self.runtime(peer))

        return {peer.name: contender(peer) for peer in self.mrp}

    def starting(self, peer: Peer) -> Callable[[], float]:
        """Return a contender: a start of another runtime of a peer, which is ended again."""

        def start() -> float:
            runtime, seconds = peer.start()
            runtime.close()
            return seconds

        return start

    def running(self, *arguments: str) -> Callable[[], float]:
        """Return a contender: a run of the interpreter of ours with `arguments`."""

        def run() -> float:
            started = time.perf_counter()
            subprocess.run([str(self.python), *arguments], check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

        return run
