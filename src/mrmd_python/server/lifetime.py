"""A server's life from its event loop on: start the default session, announce the runtime, serve until it ends."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import sweep
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server import sockets
from mrmd_python.server.access import Access
from mrmd_python.server.allocation import keep_read_buffers
from mrmd_python.server.announce import announced
from mrmd_python.server.api.routes import PREFIX
from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.http import serving
from mrmd_python.server.idleness import IdleTimer
from mrmd_python.server.sessions import Sessions
from mrmd_python.server.spawn import SpawnedWorker
from mrmd_python.server.worker_start import SessionStartError

_FILE_BYTES = 10 * 1024 * 1024
_LOSS = "the runtime was restarted after its server had died"


@dataclass(frozen=True)
class Prepared:
    """What a server has by the time that its event loop begins."""

    home: Home
    spec: RuntimeSpec
    service: Service
    listeners: list[socket.socket]
    # What clients must send.
    token: str | None = field(repr=False)
    # The default session's worker, which is loading.
    spawned: SpawnedWorker
    # The last server of this id did not end in order.
    has_crashed: bool
    # What ends the runtime.
    stop_signals: tuple[signal.Signals, ...]
    # Called with the port once the runtime answers.
    report_ready: Callable[[int], None]


def run(prepared: Prepared) -> None:
    """Serve until a signal or idleness ends the runtime; return when every process of it is gone.

    Raises:
        ServiceError: its default session cannot be started.
    """
    _start_log(prepared.service.log_file)
    keep_read_buffers()
    asyncio.run(_serve(prepared))
    sweep(os.environ[MARKER])


async def _serve(prepared: Prepared) -> None:
    spec = prepared.spec
    port = prepared.listeners[0].getsockname()[1]
    stopped = _stop_signal(prepared.stop_signals, until_eof=spec.until_eof)
    assets = AssetFolders(f"{PREFIX}/assets", Path(spec.assets_dir or Path(spec.cwd, ".mrmd-assets")))
    sessions = Sessions(SessionEnvironment(spec.python, spec.venv, spec.cwd), assets)
    start = asyncio.create_task(sessions.start_default(prepared.spawned, _LOSS if prepared.has_crashed else None))
    idle_timer = IdleTimer(sessions)
    async with serving(spec.id, sessions, prepared.listeners, _access(prepared), idle_timer):
        try:
            await asyncio.wait({start, stopped}, timeout=spec.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                if not start.done():
                    raise ServiceError(f"{spec.python} was not ready to run code within {spec.timeout} s")
                await start
                async with announced(prepared.home, spec, prepared.service, sessions, port):
                    prepared.report_ready(port)
                    await _wait_for_end(prepared, stopped, idle_timer)
        except SessionStartError as error:
            raise ServiceError(str(error)) from None
        finally:
            await sessions.close()
            # What becomes of a start that is broken off is nobody's news.
            await asyncio.gather(start, return_exceptions=True)


def _stop_signal(numbers: Iterable[signal.Signals], *, until_eof: bool) -> "asyncio.Task[bool]":
    """Return a task that ends when one of these signals comes or, if so asked, standard input ends."""
    stop = asyncio.Event()
    if until_eof:
        asyncio.get_running_loop().add_reader(0, _set_at_eof, stop)
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return asyncio.create_task(stop.wait())


def _set_at_eof(stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


def _access(prepared: Prepared) -> Access:
    spec = prepared.spec
    return Access(
        hosts=frozenset(spec.allow_hosts) | sockets.host_names(spec.host, prepared.listeners),
        origins=frozenset(spec.allow_origins),
        users=frozenset(spec.allow_users),
        token=prepared.token,
        any_address=sockets.is_wildcard(spec.host),
    )


async def _wait_for_end(prepared: Prepared, stopped: "asyncio.Task[bool]", idle_timer: IdleTimer) -> None:
    spec = prepared.spec
    if not spec.idle_timeout:
        await stopped
        return
    idle = asyncio.create_task(idle_timer.expired(spec.idle_timeout))
    await asyncio.wait({stopped, idle}, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done() and not prepared.service.restartable:
        prepared.home.remove_start_files(spec.id)


class _DaemonLog(RotatingFileHandler):
    """A log file that descriptors 1 and 2 follow when it is rotated: a crash is told there."""

    def _open(self) -> TextIOWrapper:
        # Each file that it begins is for its owner alone, whatever the umask is.
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def doRollover(self) -> None:  # noqa: N802 - the name in logging
        super().doRollover()
        self.stream = self.stream or self._open()
        for descriptor in (1, 2):
            os.dup2(self.stream.fileno(), descriptor)


def _start_log(file: Path | None) -> None:
    """Log to a file, or to stderr if there is none."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    form = "%(levelname)s: %(message)s"
    if file is not None:
        handler = _DaemonLog(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8", errors="replace")
        form = f"%(asctime)s {form}"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[handler])
