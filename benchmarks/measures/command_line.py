"""Commands that only print something, and code that a runtime runs for the command."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.case import OLDER, OURS, Case, Target, interleave
from benchmarks.peers.mrp import MrpPeer
from benchmarks.setting import Setting

_MANY = 100


def run(setting: Setting) -> Iterable[Case]:
    """Yield a case for each command."""
    rounds = setting.effort.commands
    floor = {"python -c pass": setting.running("-c", "pass")}
    half = [Target(0.5, OLDER)]
    for option in ("--help", "--version", "--list"):
        # An older --version is a usage error, which takes as long.
        contenders = {peer.name: _command(peer, "--help" if option == "--version" else option) for peer in setting.mrp}
        contenders[OURS] = _command(setting.ours, option)
        yield interleave("command line", option, "ms", rounds, contenders | floor, half)
    runs = {OURS: _command(setting.ours, "--exec", setting.runtime(setting.ours).id, "-c", "1")}
    imports = {"python -c 'import aiohttp.client'": setting.running("-c", "import aiohttp.client")}
    yield interleave("command line", "--exec ID -c 1", "ms", rounds, runs | imports, [Target(1.3, *imports)])
    # Both versions read the same registry files.
    added = [path for peer in setting.mrp for path in _register_many(Path(peer.environ["HOME"]) / ".mrmd" / "runtimes")]
    try:
        contenders = {peer.name: _command(peer, "--list") for peer in setting.mrp}
        with_none = MrpPeer("none", setting.ours.command, {**setting.ours.environ, "MRMD_HOME": "/nonexistent"})
        contenders["with none"] = _command(with_none, "--list")
        yield interleave(
            "command line", f"--list of {_MANY}", "ms", rounds, contenders | floor, [*half, Target(1.5, "with none")]
        )
    finally:
        for path in added:
            path.unlink()


def _command(peer: MrpPeer, *arguments: str) -> Callable[[], float]:
    return lambda: peer.run(*arguments)[1]


def _register_many(directory: Path) -> Iterable[Path]:
    """Register runtimes whose processes have ended; yield the files."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(_MANY):
        record = {
            "id": f"gone-{number}",
            "pid": 4_000_000 + number,
            "port": 40_000 + number,
            "host": "localhost",
            "url": f"http://localhost:{40_000 + number}/mrp/v1",
            "venv": "/venv",
            "cwd": "/",
            "assets_dir": None,
            "created": "2026-01-01T00:00:00+00:00",
            "lastActivity": "2026-01-01T00:00:00+00:00",
            "backend": "fork",
            "unit": None,
            "pid_started": "0:0",
            "version": "0",
            "log": "",
            "python": "/venv/bin/python",
            "venv_source": "option",
        }
        path = directory / f"gone-{number}.json"
        path.write_text(json.dumps(record))
        yield path
