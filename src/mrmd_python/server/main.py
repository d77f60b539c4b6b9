"""The server's life: claim the id, listen, bring the default session up, announce, serve until told to stop."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mrmd_python.server import descriptors, sockets
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.log import keep_log
from mrmd_python.server.orphans import become_subreaper
from mrmd_python.server.spawn import SpawnedWorker, spawn
from mrmd_python.service import registry
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.lock import claim
from mrmd_python.service.marker import VARIABLE as MARKER
from mrmd_python.service.marker import new_marker, sweep
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec

_EX_CONFIG = 78  # sysexits.h; the unit does not restart a server that ends with it


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOSS = "the runtime was restarted after its server had died"


def main(arguments: Sequence[str]) -> NoReturn:
    """Run a server until it is told to stop; exit 0 then, and 78 if it cannot serve as asked, but 0 under launchd."""
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets SIGHUP
            signal.signal(number, _stop_before_serving)
    spec, inherited = RuntimeSpec.from_arguments(arguments)
    home = Home.of(os.environ)
    keep_log(home, spec)
    os.environ.setdefault(MARKER, new_marker(spec.id))
    crashed = None
    try:
        with _claimed_id(home, spec, inherited.claim):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the starter may have blocked them until now
            crashed = _record_of_a_crash(home, spec)
            if crashed is not None:
                sweep(os.environ[MARKER])  # what has left the cgroup or lost its reaper
            descriptors.raise_limit()
            listeners = sockets.listen(spec.port, None if spec.managed else home.last_port(spec.id))
            become_subreaper()
            # The worker loads while this process imports what follows.
            spawned = spawn(SessionEnvironment(spec.python, spec.venv, spec.cwd))
            _serve(home, spec, listeners, spawned, crashed, inherited.ready)
    except (ServiceError, sockets.PortError, OSError) as error:
        # The terminal says who speaks; the log has its own prefix.
        print(f"mrmd-python: {error}" if spec.backend == "foreground" else error, file=sys.stderr, flush=True)
        report(inherited.ready, str(error))
        sys.exit(_failure_status(spec, crashed))
    sys.exit(0)


def _failure_status(spec: RuntimeSpec, crashed: Record | None) -> int:
    """Return the exit status that has a keeper try again or not."""
    if crashed is not None:
        return 1  # what has run once may run again
    return 0 if spec.backend == "launchd" else _EX_CONFIG  # launchd starts again whatever ends with another status


def _stop_before_serving(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def _claimed_id(home: Home, spec: RuntimeSpec, held: int | None) -> Iterator[None]:
    """Be the one server of this id, by the claim that is `held` or a new one; an editor's own process needs none."""
    if spec.managed:
        yield
        return
    home.prepare()
    descriptor = held if held is not None else claim(home.claim(spec.id))
    if descriptor is None:
        raise ServiceError(f"{spec.id!r} runs already; see `mrmd-python --info {spec.id}`")
    os.set_inheritable(descriptor, False)
    try:
        yield
    finally:
        if spec.backend in ("foreground", "fork"):  # there is no keeper who may start it again
            home.environment(spec.id).unlink(missing_ok=True)
            home.port(spec.id).unlink(missing_ok=True)
        home.claim(spec.id).unlink(missing_ok=True)
        os.close(descriptor)


def _record_of_a_crash(home: Home, spec: RuntimeSpec) -> Record | None:
    """Return what this id's last server left in the registry, if it did not end in order."""
    if spec.managed:
        return None
    try:
        return registry.read(home, spec.id)
    except registry.UnreadableRecordError:
        return None


def _serve(
    home: Home,
    spec: RuntimeSpec,
    listeners: list[socket.socket],
    spawned: SpawnedWorker,
    crashed: Record | None,
    ready_fd: int | None,
) -> None:
    import asyncio

    from mrmd_python.server.announce import announced
    from mrmd_python.server.assets import AssetFolders
    from mrmd_python.server.http import serving
    from mrmd_python.server.idleness import Idleness
    from mrmd_python.server.mrp import PREFIX
    from mrmd_python.server.session import SessionStartError
    from mrmd_python.server.sessions import Sessions

    async def serve() -> None:
        stop = asyncio.Event()
        for number in _STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        assets = AssetFolders(f"{PREFIX}/assets", Path(spec.assets_dir or Path(spec.cwd, ".mrmd-assets")))
        sessions = Sessions(SessionEnvironment(spec.python, spec.venv, spec.cwd), assets)
        start = asyncio.create_task(sessions.start_default(spawned, None if crashed is None else _LOSS))
        stopped = asyncio.create_task(stop.wait())
        idleness = Idleness(sessions)
        async with serving(sessions, listeners, idleness):
            try:
                await asyncio.wait({start, stopped}, timeout=spec.start_seconds, return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    if not start.done():
                        raise ServiceError(f"{spec.python} was not ready to run code within {spec.start_seconds} s")
                    await start
                    async with announced(home, spec, sessions, listeners[0].getsockname()[1]):
                        report(ready_fd, None)
                        ends: set[asyncio.Task[Any]] = {stopped}
                        if spec.idle_seconds:
                            ends.add(asyncio.create_task(idleness.reaches(spec.idle_seconds)))
                        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            except SessionStartError as error:
                raise ServiceError(str(error)) from None
            finally:
                await sessions.close()
                await asyncio.gather(
                    start, return_exceptions=True
                )  # what becomes of a start that is broken off is nobody's news
        sweep(os.environ[MARKER])

    asyncio.run(serve())


def report(ready_fd: int | None, fault: str | None) -> None:
    """Tell whoever forked this daemon, if it listens, that it is ready or what its fault is."""
    if ready_fd is not None:
        try:
            os.write(ready_fd, json.dumps({"error": fault}).encode())
        except BrokenPipeError:
            pass  # it was interrupted while it waited
        os.close(ready_fd)
