"""Runs the server's event loop: starts the default session, announces the runtime, and serves until it ends."""

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
from typing import Any

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import sweep
from mrmd_python.runtime.printable import printable, printable_lines
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server import sockets
from mrmd_python.server.access import Access
from mrmd_python.server.allocation import keep_read_buffers
from mrmd_python.server.announce import announced, record
from mrmd_python.server.api.routes import PREFIX
from mrmd_python.server.asset_directories import AssetDirectories
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.http import serving
from mrmd_python.server.idleness import IdleTimer
from mrmd_python.server.sessions import Sessions
from mrmd_python.server.spawn import SpawnedWorker
from mrmd_python.server.worker_start import SessionStartError

_FILE_BYTES = 10 * 1024 * 1024
_CRASH_MESSAGE = "the runtime was restarted after its server had died"


@dataclass(frozen=True)
class ServerContext:
    """What a server has when its event loop starts."""

    home: Home
    spec: RuntimeSpec
    service: Service
    listeners: list[socket.socket]
    # The token that clients must send, if any.
    token: str | None = field(repr=False)
    # The default session's worker, which is still loading.
    spawned: SpawnedWorker
    # Whether the last server of this id crashed.
    has_crashed: bool
    # The coalition of launchd that has no other processes than this runtime's, if any.
    coalition: str | None
    # The signals that end the runtime.
    stop_signals: tuple[signal.Signals, ...]
    # Called with the port when the runtime answers.
    report_ready: Callable[[int], None]


def run(context: ServerContext) -> None:
    """Serve until a signal or the idle timeout; return when all processes of the runtime have ended.

    Raises:
        ServiceError: the default session cannot be started.
    """
    _start_log(context.service.log_file)
    keep_read_buffers()
    asyncio.run(_serve(context))
    sweep(os.environ[MARKER], context.spec.stop_timeout, context.coalition)


async def _serve(context: ServerContext) -> None:
    spec = context.spec
    port = context.listeners[0].getsockname()[1]
    stopped = _stop_signal(context.stop_signals, until_eof=spec.until_eof)
    named = Path(spec.assets_dir) if spec.assets_dir is not None else None
    assets = AssetDirectories(f"{PREFIX}/assets", named, Path(spec.cwd), context.home.assets(spec.id))
    sessions = Sessions(SessionEnvironment(spec.python, spec.venv, spec.cwd), assets, spec.stop_timeout)
    start = asyncio.create_task(
        sessions.start_default(context.spawned, _CRASH_MESSAGE if context.has_crashed else None)
    )
    idle_timer = IdleTimer(sessions)
    if context.service.warning is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, sessions.warn, context.service.warning)
    async with serving(spec.id, sessions, context.listeners, _access(context), idle_timer):
        try:
            await asyncio.wait({start, stopped}, timeout=spec.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                if not start.done():
                    raise ServiceError(f"{spec.python} was not ready to run code within {spec.timeout} s")
                await start
                announcement = record(context.home, spec, context.service, port, context.coalition)
                async with announced(context.home, announcement, sessions, is_registered=not spec.managed):
                    context.report_ready(port)
                    await _wait_for_end(context, stopped, idle_timer)
        except SessionStartError as error:
            raise ServiceError(str(error)) from None
        finally:
            await sessions.close()
            # Otherwise asyncio would log the error of a start that this has ended.
            await asyncio.gather(start, return_exceptions=True)


def _stop_signal(numbers: Iterable[signal.Signals], *, until_eof: bool) -> "asyncio.Task[bool]":
    """Return a task that ends when one of these signals arrives or, if `until_eof`, at the end of standard input."""
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


def _access(context: ServerContext) -> Access:
    spec, service = context.spec, context.service
    named = {*spec.allow_hosts} if service.host is None else {*spec.allow_hosts, service.host.lower()}
    return Access(
        hosts=frozenset(named) | sockets.host_names(spec.host, context.listeners),
        origins=frozenset(spec.allow_origins),
        users=frozenset(spec.allow_users),
        token=context.token,
        any_address=sockets.is_wildcard(spec.host) or sockets.is_wildcard(service.address or ""),
    )


async def _wait_for_end(context: ServerContext, stopped: "asyncio.Task[bool]", idle_timer: IdleTimer) -> None:
    spec = context.spec
    if not spec.idle_timeout:
        await stopped
        return
    idle = asyncio.create_task(idle_timer.expired(spec.idle_timeout))
    await asyncio.wait({stopped, idle}, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done() and not context.service.restartable:
        context.home.remove_start_files(spec.id)


class _DaemonLog(RotatingFileHandler):
    """A rotating log file, created again after it was removed or renamed, as by logrotate(8).

    Descriptors 1 and 2 follow it, so that a crash is reported there.
    """

    def _open(self) -> TextIOWrapper:
        # Only the owner may read the log, whatever the umask is.
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name in logging
        if self.stream and not self._is_the_log(self.stream):
            self._use(self._open())
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802 - the name in logging
        super().doRollover()
        self._use(self.stream or self._open())

    def _is_the_log(self, stream: TextIOWrapper) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self.baseFilename))
        except FileNotFoundError:
            return False

    def _use(self, stream: TextIOWrapper) -> None:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        if self.stream and self.stream is not stream:
            self.stream.close()
        self.stream = stream


class _LogFormatter(logging.Formatter):
    """Shows control characters escaped, so that no message looks like another line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name in logging
        return printable_lines(super().formatException(ei))


def _start_log(file: Path | None) -> None:
    """Log to a file, or to stderr if there is none."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    form = "%(levelname)s: %(message)s"
    if file is not None:
        handler = _DaemonLog(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8", errors="replace")
        form = f"%(asctime)s {form}"
    handler.setFormatter(_LogFormatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
