"""Measure mrmd-python and its alternatives.

    python -m benchmarks [--only NAME ...] [--peers NAME ...] [--against WHEEL] [--quick]

Each peer is installed from PyPI in its own venv. Samples are taken in turn, A B C A B C, so that other load on the
machine affects all of them alike. Prints tables, and writes them, all samples and a chart of each measure to --out.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import plots, report, venvs
from benchmarks.box import boxed
from benchmarks.case import BEFORE, BOXED, BOXED_BEFORE, IPYKERNEL, KERNEL, OLDER, OURS, SERVER, XEUS, Case
from benchmarks.measures import (
    busy,
    command_line,
    execute,
    first_byte,
    introspection,
    kill,
    many,
    memory,
    sessions,
    start,
    throughput,
    wake_ups,
)
from benchmarks.peers.jupyter import JupyterPeer, RuntimeKernelPeer
from benchmarks.peers.mrp import MrpPeer, home_of
from benchmarks.peers.peer import Lineup, Peer
from benchmarks.setting import FULL, QUICK, Setting

_MEASURES = {
    "start": start.run,
    "sessions": sessions.run,
    "command-line": command_line.run,
    "execute": execute.run,
    "first-byte": first_byte.run,
    "throughput": throughput.run,
    "introspection": introspection.run,
    "busy": busy.run,
    "memory": memory.run,
    "wake-ups": wake_ups.run,
    "many": many.run,
    "kill": kill.run,
}
_PEERS = (OLDER, IPYKERNEL, SERVER, XEUS, KERNEL, "systemd")
# For each Jupyter peer: its client, the name of its kernel, and the packages to install.
_KERNELS = {
    IPYKERNEL: ("zmq_client.py", "python3", ["ipykernel", "jupyter_client"]),
    SERVER: ("server_client.py", "python3", ["ipykernel", "jupyter_server"]),
    XEUS: ("zmq_client.py", "xpython", ["xeus-python", "jupyter_client"]),
}
_TREE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the benchmark."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what was started is ended
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # PYTHONUNBUFFERED, for example, doubles the time of the lower bounds
    options = _options()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    cases: list[Case] = []
    where = report.heading()
    with _setting(options) as setting:
        for name in options.only or _MEASURES:
            started = time.perf_counter()
            for case in _MEASURES[name](setting):
                cases.append(case)
                for contender, error in case.errors.items():
                    print(f"{case.name}: {contender}: {error}", file=sys.stderr)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
            (out / "table.md").write_text(f"{where}\n\n{report.table(cases)}\n\n{report.comparison(cases)}\n")
            if options.against is not None:
                (out / "against.md").write_text(f"{where}\n\n{report.against(cases)}\n")
            report.write_json(out / "samples.json", cases, where)
    print((out / "table.md").read_text())
    if options.against is not None:
        print((out / "against.md").read_text())
    plots.write(out, cases, where)
    print(f"written to {out}", file=sys.stderr)


def _options() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mrmd-python-benchmarks"
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=_MEASURES, metavar="NAME", help=f"of {', '.join(_MEASURES)}")
    parser.add_argument("--peers", nargs="*", choices=_PEERS, default=_PEERS, help="besides ours")
    parser.add_argument("--against", type=Path, metavar="WHEEL", help="compare with a wheel of an earlier state")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few samples, without peers")
    parser.add_argument("--cache", type=Path, default=cache, help="the directory of the venvs")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="the directory of the results")
    options = parser.parse_args()
    if options.quick:
        options.peers = ()
    return options


@contextmanager
def _setting(options: argparse.Namespace) -> Iterator[Setting]:
    with ExitStack() as stack:
        homes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrmd-benchmark-")))
        python = Path(sys.executable)
        if not options.quick:
            python = venvs.make(options.cache, "mrmd-python", [str(_TREE)], fresh=str(_TREE))
        ours = _mrp(OURS, python, home_of(homes, "ours"), MRMD_BACKEND="fork")
        commands = {BOXED: ours.command}
        before = older = None
        if options.against is not None:
            wheel = str(options.against.resolve())
            before_python = venvs.make(options.cache, "before", [wheel], fresh=wheel)
            before = _mrp(BEFORE, before_python, home_of(homes, "before"), MRMD_BACKEND="fork")
            commands[BOXED_BEFORE] = before.command
        if OLDER in options.peers:
            older_python = venvs.make(options.cache, "mrmd-python-0.4.2", ["mrmd-python==0.4.2"])
            older = _mrp(OLDER, older_python, home_of(homes, "older"))
        box = stack.enter_context(boxed(commands)) if "systemd" in options.peers else ()
        peers: list[Peer] = [peer for peer in (ours, before, older) if peer is not None]
        for name, (client, kernel, packages) in _KERNELS.items():
            if name in options.peers:
                try:
                    peers.append(JupyterPeer(name, venvs.make(options.cache, name, packages), client, kernel))
                except venvs.UnavailableError as error:
                    print(f"{name} cannot be installed here: {error}", file=sys.stderr)
        if KERNEL in options.peers:
            tree = f"{_TREE}[jupyter]"
            peers.append(RuntimeKernelPeer(KERNEL, venvs.make(options.cache, "kernel", [tree], fresh=tree)))
        lineup = Lineup(peers)
        stack.callback(lineup.end_all)
        yield Setting(lineup, ours, before, older, box, python, QUICK if options.quick else FULL)


def _mrp(name: str, python: Path, home: Path, **variables: str) -> MrpPeer:
    environ = {"HOME": str(home), "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    return MrpPeer(name, str(python.with_name("mrmd-python")), environ | variables)


main()
