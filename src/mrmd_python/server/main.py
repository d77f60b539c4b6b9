"""Starts the server, up to its event loop: listens, and spawns the default session's worker."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

from mrmd_python.runtime import ServiceError, registry, token
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import own_coalition, sweep
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server import descriptors, sockets
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.spawn import spawn

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def exit_on_signals() -> None:
    """Exit on the signals that stop the server, until the event loop handles them; unblock all signals."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets SIGHUP
            signal.signal(number, _exit)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def serve(home: Home, spec: RuntimeSpec, service: Service, report_ready: Callable[[int], None]) -> None:
    """Serve until a signal or the idle timeout; return when all processes of the runtime have ended.

    Raises:
        ServiceError: it cannot serve with this spec.
    """
    _leave_out_openssl()
    given_token = os.environ.pop(token.VARIABLE, None)
    crashed = None if spec.managed else registry.crashed(home, spec.id)
    if crashed is not None:
        # The processes that left the cgroup or lost their reaper.
        sweep(os.environ[MARKER], spec.stop_timeout, crashed.coalition)
    coalition = own_coalition() if service.has_coalition else None
    required_token = _token(home, spec, given_token)
    descriptors.raise_limit()
    address = service.address if service.address is not None and spec.host == "localhost" else spec.host
    listeners = sockets.listen(address, spec.port, None if spec.managed else home.last_port(spec.id))
    _adopt_orphans()
    if service.warning is not None:  # this replaces SIG_IGN, which the worker would inherit
        signal.signal(signal.SIGUSR1, lambda *_: None)
    # The worker loads while this process imports what follows. None of that is garbage, then or later.
    spawned = spawn(SessionEnvironment(spec.python, spec.venv, spec.cwd), spec.stop_timeout)
    gc.disable()
    from mrmd_python.server.lifetime import ServerContext, run

    gc.freeze()
    gc.enable()
    run(
        ServerContext(
            home,
            spec,
            service,
            listeners,
            required_token,
            spawned,
            crashed is not None,
            coalition,
            STOP_SIGNALS,
            report_ready,
        )
    )


def _leave_out_openssl() -> None:
    """Make the imports of OpenSSL fail: the server needs no TLS. It loads faster, and takes 4 MB less.

    asyncio, aiohttp and hashlib work without it, hashlib only where Python was built with hash functions of its own.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]
    if find_spec("_md5") is not None:
        sys.modules["_hashlib"] = None  # type: ignore[assignment]


def _adopt_orphans() -> None:
    """On Linux, become the parent of processes that lose their reaper, so that `--kill` finds them (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _token(home: Home, spec: RuntimeSpec, given: str | None) -> str | None:
    """Return the token that clients must send, or None if they need none."""
    if not spec.token:
        return None
    if not spec.managed:
        return token.read(home.token(spec.id))
    if given is None:
        raise ServiceError(f"there is no token in {token.VARIABLE}")
    return given
