"""Megabytes of output, to a client that parses it; for comparison, the same loop into a pipe that `cat` reads."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.case import IPYKERNEL, OURS, Case, Target, interleave
from benchmarks.peers.peer import Peer, UnansweredError
from benchmarks.processes import peak_bytes, reset_peak, resident_bytes
from benchmarks.setting import Setting

_ON = f"{OURS}, accumulated"
_LINES = "pipe into cat, line by line"
_BLOCKS = "pipe into cat, in blocks"


def run(setting: Setting) -> Iterable[Case]:
    """Yield a case for each way to print, and one for the memory of the server."""
    share = setting.effort.megabytes
    loops = {
        "10 MB in lines of 80 bytes": f"for n in range({int(131_072 * share)}): print('x' * 79)",
        "200,000 short prints": f"for n in range({int(200_000 * share)}): print(n)",
    }
    for name, loop in loops.items():
        floors = {_LINES: _into_cat(loop, line_buffering=True), _BLOCKS: _into_cat(loop, line_buffering=False)}
        targets = [Target(1.4, _LINES), Target(2.0, _LINES, subject=_ON)]
        yield interleave(
            "throughput", name, "ms", setting.effort.streams, {**_streaming(setting, loop), **floors}, targets
        )
    big = f"import sys; n = sys.stdout.write('x' * {int(50_000_000 * share)})"
    targets = [Target(1.0, IPYKERNEL), Target(2.0, IPYKERNEL, subject=_ON)]
    yield interleave(
        "throughput", "one string of 50 MB", "ms", setting.effort.streams, _streaming(setting, big), targets
    )
    yield _memory(setting, loops["10 MB in lines of 80 bytes"])


def _streaming(setting: Setting, code: str) -> Mapping[str, Callable[[], float]]:
    def of(peer: Peer) -> Callable[[], float]:
        def stream() -> float:
            try:
                return setting.lineup.runtime(peer).stream(code)
            except UnansweredError:
                setting.lineup.end(peer)  # it may still be running the code
                raise

        return stream

    contenders = {peer.name: of(peer) for peer in setting.lineup.peers}
    contenders[_ON] = lambda: setting.runtime(setting.ours).stream(code, accumulated=True)
    return contenders


def _memory(setting: Setting, code: str) -> Case:
    def growth(**options: Any) -> float:
        runtime = setting.runtime(setting.ours)
        before = resident_bytes(runtime.server)
        reset_peak(runtime.server)
        for _ in range(3):
            runtime.stream(code, **options)
        return max(0, peak_bytes(runtime.server) - before)

    contenders = {OURS: growth, _ON: lambda: growth(accumulated=True)}
    bounds = [Target(10.0), Target(10.0, subject=_ON)]
    return interleave("throughput", "growth of the server over 30 MB of lines", "MB", 1, contenders, bounds)


def _into_cat(loop: str, *, line_buffering: bool) -> Callable[[], float]:
    """Return a contender: how long a loop takes whose output `cat` reads."""
    code = f"""
import sys, time
sys.stdout.reconfigure(line_buffering={line_buffering})
started = time.perf_counter()
{loop}
sys.stdout.flush()
print(time.perf_counter() - started, file=sys.stderr)
"""

    def run() -> float:
        reader, writer = os.pipe()
        with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL):
            os.close(reader)
            try:
                done = subprocess.run(
                    [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, encoding="utf-8", check=True
                )
            finally:
                os.close(writer)
        return float(done.stderr)

    return run
