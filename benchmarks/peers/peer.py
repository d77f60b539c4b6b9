"""What can be measured of every peer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class UnansweredError(Exception):
    """A peer failed to do something, or took too long."""


class Runtime(Protocol):
    """A live Python. Times are in seconds, from asking to the whole answer; all may raise `UnansweredError`."""

    @property
    def pids(self) -> Sequence[int]:
        """All its processes."""

    def execute(self, code: str) -> float:
        """Run code and wait for its result."""

    def first_output(self) -> float:
        """Return how long a print() in a cell that goes on takes to reach the client."""

    def stream(self, code: str) -> float:
        """Run code and parse all its output as it comes."""

    def complete(self, code: str) -> float:
        """Complete at the end of `code`."""

    def inspect(self, code: str) -> float:
        """Ask about the name at the end of `code`."""

    def close(self) -> None:
        """End it."""


class Peer(Protocol):
    """Something that can be started."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def start(self) -> tuple[Runtime, float]:
        """Start one; return it, and how long it took until it had run `1+1`."""


PRINTED_AT = "import time; print(time.monotonic_ns(), flush=True); time.sleep(0.02)"
"""A cell that says when it printed, by a clock that all processes have in common."""


@dataclass
class Lineup:
    """The peers of a run, and one live runtime of each."""

    peers: Sequence[Peer]
    _live: dict[str, Runtime] = field(default_factory=dict)

    def runtime(self, peer: Peer) -> Runtime:
        """Return the live runtime of a peer, which is started when it is first asked for."""
        if peer.name not in self._live:
            self._live[peer.name] = peer.start()[0]
        return self._live[peer.name]

    def end(self, peer: Peer) -> None:
        """End the live runtime of a peer: the next is a fresh one."""
        if peer.name in self._live:
            self._live.pop(peer.name).close()

    def end_all(self) -> None:
        """End all live runtimes."""
        for peer in self.peers:
            self.end(peer)
