"""Ten runtimes, started at once, compared with one."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from benchmarks.case import OLDER, OURS, Case, Target
from benchmarks.processes import proportional_bytes
from benchmarks.setting import Setting


def run(setting: Setting) -> Iterable[Case]:
    """Yield the time and the memory that they take."""
    setting.lineup.end_all()
    count = setting.effort.runtimes
    times = Case("many", f"{count} runtimes: start", "ms", {}, targets=[Target(1.0, OLDER)])
    memory = Case("many", f"{count} runtimes: memory", "MB", {}, targets=[Target(1.0, f"{count} times one")])
    for peer in setting.mrp:
        alone, seconds = peer.start()
        if peer.name == OURS:
            times.samples[f"{count} times one"] = [count * seconds]
            memory.samples[f"{count} times one"] = [count * proportional_bytes(alone.pids)]
        alone.close()
        started = perf_counter()
        with ThreadPoolExecutor(count) as pool:
            starting = [pool.submit(peer.start) for _ in range(count)]
        seconds = perf_counter() - started
        runtimes = [start.result()[0] for start in starting if start.exception() is None]
        if len(runtimes) == count:
            times.samples[peer.name] = [seconds]
            memory.samples[peer.name] = [sum(proportional_bytes(runtime.pids) for runtime in runtimes)]
        else:
            times.errors[peer.name] = memory.errors[peer.name] = f"{count - len(runtimes)} of {count} did not start"
        for runtime in runtimes:
            runtime.close()
    yield times
    yield memory
