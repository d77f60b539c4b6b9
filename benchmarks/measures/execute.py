"""`1+1` over a kept-alive connection, and its lower bounds."""

from collections.abc import Callable, Iterable

from benchmarks.case import OLDER, OURS, XEUS, Case, Target, interleave
from benchmarks.floors import floors
from benchmarks.setting import Setting

_FLOOR = "floor: aiohttp + hop + run_cell"
_IN_A_ROW = 20


def run(setting: Setting) -> Iterable[Case]:
    """Yield a case for executions one after another, and one for executions in turn with those of the others."""
    with floors(setting.python) as floor:
        contenders: dict[str, Callable[[], float]] = {
            **setting.each(lambda runtime: runtime.execute("1+1")),
            "floor: aiohttp": floor.answer,
            "floor: hop + run_cell": floor.run_cell,
        }
        for _ in range(max(1, setting.effort.latencies // 10)):
            for sample in contenders.values():
                sample()
        targets = [
            Target(0.25, OLDER),
            Target(1.0, XEUS),
            Target(1.6, _FLOOR),
            Target(3.0, OURS, statistic="p99"),
        ]
        rounds = setting.effort.latencies
        row = interleave("execute", f"1+1, {_IN_A_ROW} in a row", "ms", rounds, contenders, targets, _IN_A_ROW)
        alone = interleave("execute", "1+1, one at a time", "ms", rounds, contenders)
    for case in (row, alone):
        pairs = zip(case.samples["floor: aiohttp"], case.samples["floor: hop + run_cell"], strict=True)
        case.samples[_FLOOR] = [sum(pair) for pair in pairs]
        yield case
