"""A server's life from its event loop on: bring the default session up, announce, serve until it is to end."""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass, field
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
from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.http import serving
from mrmd_python.server.idleness import Idleness
from mrmd_python.server.log import keep_log
from mrmd_python.server.mrp import PREFIX
from mrmd_python.server.session import SessionStartError
from mrmd_python.server.sessions import Sessions
from mrmd_python.server.spawn import SpawnedWorker
from mrmd_python.server.starter import STOP_SIGNALS, report

_LOSS = "the runtime was restarted after its server had died"


@dataclass(frozen=True)
class Prepared:
    """What a server has by the time that its event loop begins."""

    home: Home
    spec: RuntimeSpec
    service: Service
    listeners: list[socket.socket]
    token: str | None = field(repr=False)
    """What clients must show."""
    spawned: SpawnedWorker
    """The default session's worker, which is loading."""
    has_crashed: bool
    """Whether the last server of this id did not end in order."""
    ready_fd: int | None
    """Where to report that the runtime answers."""


def run(prepared: Prepared) -> None:
    """Serve until a signal or idleness ends the runtime; return when every process of it is gone.

    Raises:
        ServiceError: its default session cannot be started.
    """
    keep_log(prepared.service.log_file)
    keep_read_buffers()
    asyncio.run(_serve(prepared))
    sweep(os.environ[MARKER])


async def _serve(prepared: Prepared) -> None:
    spec = prepared.spec
    stopped = _when_told_to_stop()
    assets = AssetFolders(f"{PREFIX}/assets", Path(spec.assets_dir or Path(spec.cwd, ".mrmd-assets")))
    sessions = Sessions(SessionEnvironment(spec.python, spec.venv, spec.cwd), assets)
    start = asyncio.create_task(sessions.start_default(prepared.spawned, _LOSS if prepared.has_crashed else None))
    idleness = Idleness(sessions)
    async with serving(spec.id, sessions, prepared.listeners, _access(prepared), idleness):
        try:
            await asyncio.wait({start, stopped}, timeout=spec.start_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                if not start.done():
                    raise ServiceError(f"{spec.python} was not ready to run code within {spec.start_seconds} s")
                await start
                async with announced(
                    prepared.home, spec, prepared.service, sessions, prepared.listeners[0].getsockname()[1]
                ):
                    report(prepared.ready_fd, None)
                    await _until_it_is_to_end(prepared, stopped, idleness)
        except SessionStartError as error:
            raise ServiceError(str(error)) from None
        finally:
            await sessions.close()
            # What becomes of a start that is broken off is nobody's news.
            await asyncio.gather(start, return_exceptions=True)


def _when_told_to_stop() -> "asyncio.Task[bool]":
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return asyncio.create_task(stop.wait())


def _access(prepared: Prepared) -> Access:
    spec = prepared.spec
    return Access(
        hosts=frozenset(spec.allow_hosts) | sockets.names(spec.host, prepared.listeners),
        origins=frozenset(spec.allow_origins),
        users=frozenset(spec.allow_users),
        token=prepared.token,
        any_address=sockets.is_wildcard(spec.host),
    )


async def _until_it_is_to_end(prepared: Prepared, stopped: "asyncio.Task[bool]", idleness: Idleness) -> None:
    spec = prepared.spec
    if not spec.idle_seconds:
        await stopped
        return
    idle = asyncio.create_task(idleness.reaches(spec.idle_seconds))
    await asyncio.wait({stopped, idle}, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done() and not prepared.service.restartable:
        prepared.home.remove_start_files(spec.id)
