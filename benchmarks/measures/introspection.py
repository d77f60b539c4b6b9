"""Completion, hover, inspection and variables of an idle session."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable

from benchmarks.case import OLDER, Case, Contenders, Target, interleave
from benchmarks.peers.mrp import MrpPeer, MrpRuntime
from benchmarks.peers.peer import Peer, Runtime, UnansweredError
from benchmarks.setting import Setting

_COMPLETIONS = {"df.": 0.15, "np.": 0.15, "os.pa": 0.5}
_IN_A_ROW = 10
_NAMESPACES = {
    "10 names": "globals().update({f'v{n}': n for n in range(10)})",
    "1,000 names": "globals().update({f'v{n}': (n, n / 2, str(n), [n] * 5)[n % 4] for n in range(1000)})",
    "10,000 names": "globals().update({f'v{n}': (n, n / 2, str(n), [n] * 5)[n % 4] for n in range(10000)})",
    "an array of 1e8": "import numpy; big = numpy.zeros(10**8)",
}


def run(setting: Setting) -> Iterable[Case]:
    """Yield a case for each kind of query."""
    rounds = setting.effort.queries
    yield _first_completion(setting)
    yield _completion_in_a_new_home(setting)
    setting.lineup.end_all()
    for peer in setting.lineup.peers:
        setting.lineup.runtime(peer).execute(setting.effort.setup)
    for code, ratio in _COMPLETIONS.items():
        yield _warm("complete", code, rounds, setting.each(_completing(code)), [Target(ratio, OLDER)])
    below, well_below, half = [Target(1.0, OLDER)], [Target(0.8, OLDER)], [Target(0.5, OLDER)]
    for code in ("df", "np.array", "os.path.join"):
        yield _warm("inspect", code, rounds, setting.each(_inspecting(code)), well_below if code == "df" else below)
        hovers = setting.each_mrp(_hovering(code))
        yield _warm("hover", code, rounds, hovers, well_below if code == "np.array" else below)
    for name, code in _NAMESPACES.items():
        for mrp in setting.mrp:
            setting.lineup.end(mrp)
            setting.runtime(mrp).execute(code)
        contenders = setting.each_mrp(lambda runtime: runtime.ask("POST", "/variables", {}))
        bounds = half if name == "10,000 names" else below
        yield _warm("variables", name, rounds, contenders, bounds)
    setting.lineup.end_all()


def _warm(kind: str, what: str, rounds: int, contenders: Contenders, targets: list[Target]) -> Case:
    interleave("introspection", "to warm up", "ms", 1, contenders)
    return interleave("introspection", f"{kind}: {what}", "ms", rounds, contenders, targets, _IN_A_ROW)


def _first_completion(setting: Setting) -> Case:
    def of(peer: Peer) -> Callable[[], float]:
        def complete() -> float:
            setting.lineup.end(peer)
            runtime = setting.lineup.runtime(peer)
            runtime.execute(setting.effort.setup)
            return runtime.complete("df.")

        return complete

    contenders = {peer.name: of(peer) for peer in setting.lineup.peers}
    rounds = max(1, setting.effort.starts // 3)
    return interleave("introspection", "complete: df., the first time", "ms", rounds, contenders, [Target(0.5, OLDER)])


def _completion_in_a_new_home(setting: Setting) -> Case:
    """The code, not an object, tells the answer; and the user's cache directories are empty."""
    code = "import os; os.getc"

    def of(peer: MrpPeer) -> Callable[[], float]:
        def complete() -> float:
            with tempfile.TemporaryDirectory(prefix="mrmd-benchmark-") as home:
                runtime, _ = dataclasses.replace(peer, environ={**peer.environ, "HOME": home}).start()
                try:
                    found, seconds = runtime.answer("POST", "/complete", {"code": code, "cursor": len(code)})
                finally:
                    runtime.close()
            if "getcwd" not in str(found["matches"]):
                raise UnansweredError(f"{peer.name}: no completion")
            return seconds

        return complete

    contenders = {peer.name: of(peer) for peer in setting.mrp}
    name = f"complete: {code}, the first time in a new home"
    return interleave("introspection", name, "ms", max(1, setting.effort.starts // 3), contenders, [Target(100.0)])


def _completing(code: str) -> Callable[[Runtime], float]:
    return lambda runtime: runtime.complete(code)


def _inspecting(code: str) -> Callable[[Runtime], float]:
    return lambda runtime: runtime.inspect(code)


def _hovering(code: str) -> Callable[[MrpRuntime], float]:
    return lambda runtime: runtime.hover(code)
