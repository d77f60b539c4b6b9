"""From the command that starts one to the result of `1+1`; below it, what the same imports take by themselves."""

from collections.abc import Callable, Iterable

from benchmarks.case import BOXED, OLDER, Case, Target, interleave
from benchmarks.peers.peer import Peer
from benchmarks.setting import Setting

_SHELL = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance().run_cell('1+1')"
_CHAIN = "IPython to its first result"


def run(setting: Setting) -> Iterable[Case]:
    """Yield the case of the start."""
    setting.lineup.end_all()
    contenders: dict[str, Callable[[], float]] = {
        peer.name: _starting(peer) for peer in (*setting.lineup.peers, setting.boxed) if peer is not None
    }
    contenders |= {
        "python -c pass": setting.running("-c", "pass"),
        "import IPython": setting.running("-c", "import IPython"),
        "import aiohttp.web": setting.running("-c", "import aiohttp.web"),
        _CHAIN: setting.running("-c", _SHELL),
    }
    yield interleave(
        "start",
        "start to the result of 1+1",
        "ms",
        setting.effort.starts,
        contenders,
        [Target(1.0, OLDER), Target(1.0, OLDER, subject=BOXED), Target(1.25, _CHAIN)],
    )


def _starting(peer: Peer) -> Callable[[], float]:
    def start() -> float:
        runtime, seconds = peer.start()
        runtime.close()
        return seconds

    return start
