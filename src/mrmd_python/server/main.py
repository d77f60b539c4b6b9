"""A server's start until its event loop runs: listen, and spawn the default session's worker."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from mrmd_python.runtime import ServiceError, registry, token
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import sweep
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server import descriptors, sockets
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import spawn

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def exit_on_signals() -> None:
    """Exit on a signal that stops the server, until the event loop handles it; unblock those that are blocked."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets SIGHUP
            signal.signal(number, _exit)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def serve(home: Home, spec: RuntimeSpec, service: Service, report_ready: Callable[[int], None]) -> None:
    """Serve until a signal or idleness ends the runtime; return when every process of it is gone.

    Raises:
        ServiceError: it cannot serve as asked.
    """
    # It speaks no TLS: asyncio and aiohttp work without OpenSSL, and start faster without its contexts.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    given_token = os.environ.pop(token.VARIABLE, None)
    has_crashed = not spec.managed and registry.has_crashed(home, spec.id)
    if has_crashed:
        sweep(os.environ[MARKER])  # what has left the cgroup or lost its reaper
    required_token = _token(home, spec, given_token)
    descriptors.raise_limit()
    listeners = sockets.listen(spec.host, spec.port, None if spec.managed else home.last_port(spec.id))
    _adopt_orphans()
    # The worker loads while this process imports what follows.
    spawned = spawn(SessionEnvironment(spec.python, spec.venv, spec.cwd))
    from mrmd_python.server.lifetime import Prepared, run

    run(
        Prepared(
            home,
            spec,
            service,
            listeners,
            required_token,
            spawned,
            has_crashed,
            STOP_SIGNALS,
            report_ready,
        )
    )


def _adopt_orphans() -> None:
    """Have what a session leaves become a child of this process, on Linux: `--kill` finds it there (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _token(home: Home, spec: RuntimeSpec, given: str | None) -> str | None:
    """Return the token that clients must send, or None if they need none.

    Raises:
        ServiceError: they need one, and there is none.
    """
    if not spec.token:
        return None
    if not spec.managed:
        return token.read(home.token(spec.id))
    if given is None:
        raise ServiceError(f"there is no token in {token.VARIABLE}")
    return given
