"""What every peer must provide to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class UnansweredError(Exception):
    """A peer failed to do something, or took too long."""


class Runtime(Protocol):
    """A running Python. Times are in seconds, from the request to the whole answer. All may raise `UnansweredError`."""

    @property
    def pids(self) -> Sequence[int]:
        """All its processes."""

    def execute(self, code: str) -> float:
        """Run code and wait for its result."""

    def first_output(self) -> float:
        """Return how long a print() takes to reach the client, in a cell that continues."""

    def stream(self, code: str) -> float:
        """Run code and parse all its output as it arrives."""

    def complete(self, code: str) -> float:
        """Complete at the end of `code`."""

    def inspect(self, code: str) -> float:
        """Inspect the name at the end of `code`."""

    def close(self) -> None:
        """End the runtime."""


class Peer(Protocol):
    """A program that starts runtimes."""

    @property
    def name(self) -> str:
        """The name in the table."""

    def start(self) -> tuple[Runtime, float]:
        """Start a runtime; return it, and how long it took until it had run `1+1`."""


# A cell that prints the time, by a clock that all processes share.
PRINTED_AT = "import time; print(time.monotonic_ns(), flush=True); time.sleep(0.02)"


@dataclass
class Lineup:
    """The peers of a run, and one live runtime of each."""

    peers: Sequence[Peer]
    _live: dict[str, Runtime] = field(default_factory=dict)

    def runtime(self, peer: Peer) -> Runtime:
        """Return the live runtime of a peer, started if there is none."""
        if peer.name not in self._live:
            self._live[peer.name] = peer.start()[0]
        return self._live[peer.name]

    def end(self, peer: Peer) -> None:
        """End the live runtime of a peer."""
        if peer.name in self._live:
            self._live.pop(peer.name).close()

    def end_all(self) -> None:
        """End all live runtimes."""
        for peer in self.peers:
            self.end(peer)
