"""A new session, and one whose process has crashed; programs without sessions start another kernel instead."""

import itertools
import time
from collections.abc import Callable, Iterable

from benchmarks.case import Case, Target, interleave
from benchmarks.peers.mrp import MrpRuntime
from benchmarks.setting import Setting

# What clients and users take at least between two sessions.
_PAUSE_SECONDS = 2.0
_CRASH = "import os; os.kill(os.getpid(), 9)"
_numbers = itertools.count()


def run(setting: Setting) -> Iterable[Case]:
    """Yield both cases."""
    setting.lineup.end_all()
    rounds = setting.effort.starts
    targets = [Target(50.0)]
    new, after = _contenders(setting, _new), _contenders(setting, _after_a_crash)
    # The first sample is that of the second session, before the runtime knows that there are others.
    interleave("sessions", "to warm up", "ms", 1, new)
    yield interleave("sessions", "a new session to the result of 1+1", "ms", rounds, new, targets)
    yield interleave("sessions", "reset after a crash to the result of 1+1", "ms", rounds, after, targets)
    setting.lineup.end_all()


def _contenders(setting: Setting, measure: Callable[[MrpRuntime], float]) -> dict[str, Callable[[], float]]:
    starts = {peer.name: setting.starting(peer) for peer in setting.lineup.peers}
    return {**starts, **setting.each_mrp(measure)}


def _new(runtime: MrpRuntime) -> float:
    time.sleep(_PAUSE_SECONDS)
    return runtime.execute("1+1", session=f"new-{next(_numbers)}")


def _after_a_crash(runtime: MrpRuntime) -> float:
    runtime.answer("POST", "/execute", {"code": _CRASH, "session": "default"})
    time.sleep(_PAUSE_SECONDS)
    return runtime.ask("POST", "/reset", {"session": "default"}) + runtime.execute("1+1")
