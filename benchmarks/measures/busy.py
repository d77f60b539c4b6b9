"""Queries to a session while it computes: in Python, and in C code that holds the GIL."""

import threading
from collections.abc import Callable, Iterable

from benchmarks.case import OURS, Case, Target, interleave
from benchmarks.peers.mrp import MrpPeer, MrpRuntime
from benchmarks.peers.peer import UnansweredError
from benchmarks.setting import Setting

_QUERIES: dict[str, Callable[[MrpRuntime], float]] = {
    "complete: df.": lambda runtime: runtime.complete("df."),
    "inspect: df": lambda runtime: runtime.inspect("df"),
    "hover: df": lambda runtime: runtime.hover("df"),
    "variables": lambda runtime: runtime.ask("POST", "/variables", {}),
}
_IDLE = f"{OURS}, idle"
_IN_PYTHON = "while True: pass"
# Fast queries get this many times more samples: when both processors are busy, one query in a hundred waits some
# milliseconds for a scheduler's time slice to end, and the p99 of few samples would show only that.
_MANY = 25
_IN_C = "n = pow(7, 2 * 10**7)"


def run(setting: Setting) -> Iterable[Case]:
    """Yield a case for each kind of query."""
    rounds = setting.effort.queries
    capable = setting.each_mrp(_capabilities)
    idle = interleave("busy", "", "ms", rounds * _MANY, capable).samples[OURS]
    for code in (_IN_PYTHON, _IN_C):
        case = Case("busy", f"capabilities during {code}", "ms", {}, targets=[_within_three()])
        for peer in setting.mrp:
            _sample_while_busy(setting, peer, code, rounds * _MANY, _capabilities, case)
        case.samples[_IDLE] = idle
        yield case
    for name, ask in _QUERIES.items():
        bounds = [Target(25.0 if name.startswith("complete") else 100.0, statistic="p99")]
        case = Case("busy", f"{name} during {_IN_PYTHON}", "ms", {}, targets=bounds)
        for peer in setting.mrp:
            _sample_while_busy(setting, peer, _IN_PYTHON, rounds, ask, case)
        yield case
    setting.lineup.end_all()


def _within_three() -> Target:
    return Target(3.0, _IDLE, statistic="p99", of_statistic="p99")


def _capabilities(runtime: MrpRuntime) -> float:
    return runtime.ask("GET", "/capabilities")


def _sample_while_busy(
    setting: Setting, peer: MrpPeer, code: str, rounds: int, ask: Callable[[MrpRuntime], float], case: Case
) -> None:
    """Add how long a runtime takes to answer while it runs `code`; stop when the code has ended."""
    try:
        runtime = setting.runtime(peer)
        runtime.execute(setting.effort.setup)
        with runtime.busy(code) as ended:
            case.samples[peer.name] = list(_until(ended, rounds, lambda: ask(runtime)))
        if not ended.is_set():  # the interrupt had no effect: the runtime would delay the next measure
            setting.lineup.end(peer)
    except UnansweredError as error:
        case.errors[peer.name] = str(error)
        setting.lineup.end(peer)


def _until(ended: threading.Event, rounds: int, sample: Callable[[], float]) -> Iterable[float]:
    for _ in range(rounds):
        if ended.is_set():
            return
        yield sample()
