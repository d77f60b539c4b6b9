"""How often the processes of an idle runtime wake up."""

import time
from collections.abc import Iterable

from benchmarks.case import Case, Target
from benchmarks.processes import wake_ups
from benchmarks.setting import Setting

_SETTLE_SECONDS = 2.0


def run(setting: Setting) -> Iterable[Case]:
    """Yield the case. All runtimes are idle at the same time."""
    seconds = setting.effort.idle_seconds
    pids = {peer.name: setting.lineup.runtime(peer).pids for peer in setting.lineup.peers}
    time.sleep(min(_SETTLE_SECONDS, seconds))
    before = {name: wake_ups(of) for name, of in pids.items()}
    time.sleep(seconds)
    counts = {name: [(wake_ups(of) - before[name]) / seconds] for name, of in pids.items()}
    yield Case("wake-ups", f"an idle runtime, over {seconds:.0f} s", "/s", counts, targets=[Target(0.0)])
