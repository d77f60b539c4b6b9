"""The memory of an idle runtime after `1+1`; shared pages are divided among those that share them (PSS)."""

from collections.abc import Callable, Iterable

from benchmarks.case import IPYKERNEL, OURS, SERVER, Case, Target, interleave
from benchmarks.peers.peer import Peer
from benchmarks.processes import proportional_bytes
from benchmarks.setting import Setting


def run(setting: Setting) -> Iterable[Case]:
    """Yield the memory of a runtime, and of one more session."""
    setting.lineup.end_all()

    def holding(peer: Peer) -> Callable[[], float]:
        def hold() -> float:
            try:
                return proportional_bytes(setting.lineup.runtime(peer).pids)
            finally:
                setting.lineup.end(peer)

        return hold

    contenders = {peer.name: holding(peer) for peer in setting.lineup.peers}
    whole = [Target(0.6, SERVER), Target(48.0)]
    case = interleave("memory", "an idle runtime", "MB", setting.effort.memories, contenders, whole)
    yield case

    def another() -> float:
        runtime = setting.runtime(setting.ours)
        before = proportional_bytes(runtime.pids)
        runtime.execute("1+1", session="another")
        grown = proportional_bytes(runtime.pids) - before
        setting.lineup.end(setting.ours)
        return grown

    session = interleave(
        "memory", "one more session", "MB", setting.effort.memories, {OURS: another}, [Target(0.8, IPYKERNEL)]
    )
    session.samples[IPYKERNEL] = case.samples.get(IPYKERNEL, [])
    yield session
