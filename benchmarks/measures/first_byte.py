"""From a print() to the client, while the cell continues."""

from collections.abc import Iterable

from benchmarks.case import OLDER, XEUS, Case, Target, interleave
from benchmarks.setting import Setting


def run(setting: Setting) -> Iterable[Case]:
    """Yield the case."""
    rounds = max(3, setting.effort.latencies // 4)
    yield interleave(
        "first byte",
        "print to the client",
        "ms",
        rounds,
        setting.each(lambda runtime: runtime.first_output()),
        [Target(0.3, OLDER), Target(1.0, XEUS)],
    )
