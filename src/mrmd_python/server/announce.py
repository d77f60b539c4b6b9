"""Announces that this runtime answers: in the registry and to systemd."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sdnotify

from mrmd_python import __version__
from mrmd_python.runtime import failures, registry
from mrmd_python.runtime.files import Home, write_atomically
from mrmd_python.runtime.processes import Process
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.scope import Scope
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.server.sessions import Sessions

_log = logging.getLogger(__name__)

# The least time between two status lines.
_STATUS_SECONDS = 0.2
# How many characters of session ids a status line has.
_STATUS_LENGTH = 200


def record(home: Home, spec: RuntimeSpec, service: Service, port: int, coalition: str | None) -> Record:
    """Return the registry's record of this process."""
    me = Process.of(os.getpid())
    assert me is not None
    now, scope = registry.now(), Scope.here()
    return Record(
        id=spec.id,
        pid=me.pid,
        port=port,
        host=service.host or spec.host,
        url=f"http://{service.host or 'localhost'}:{port}/mrp/v1",
        venv=spec.venv,
        cwd=spec.cwd,
        assets_dir=spec.assets_dir,
        created=now,
        lastActivity=now,
        backend=service.backend,
        unit=service.unit,
        pid_started=me.started,
        version=__version__,
        log=service.log,
        python=spec.python,
        venv_source=spec.venv_source,
        spec=spec.as_json(),
        token_file=str(home.token(spec.id)) if spec.token else None,
        hostname=scope.hostname,
        pid_namespace=scope.pid_namespace,
        coalition=coalition,
    )


@asynccontextmanager
async def announced(
    home: Home, announcement: Record, sessions: Sessions, *, is_registered: bool
) -> AsyncIterator[None]:
    """Announce this runtime while the block runs: to systemd and, unless an editor manages it, in the registry."""
    if is_registered:
        write_atomically(home.port(announcement.id), b"%d\n" % announcement.port)
        registry.write(home, announcement)
        failures.forget(home, announcement.id)
    notifications = asyncio.create_task(_notify_systemd(sessions, announcement.port))
    _log.info("runtime %s answers at %s", announcement.id, announcement.url)
    try:
        yield
    finally:
        notifications.cancel()
        sdnotify.SystemdNotifier().notify("STOPPING=1")
        if is_registered:
            try:
                registry.withdraw(home, announcement)
            except OSError as error:
                _log.warning("cannot remove %s: %s", home.record(announcement.id), error.strerror)


async def _notify_systemd(sessions: Sessions, port: int) -> None:
    """Send READY=1, then for ever WATCHDOG=1 and the status (sd_notify(3), WATCHDOG_USEC)."""
    if "NOTIFY_SOCKET" not in os.environ:
        return
    notifier = sdnotify.SystemdNotifier()
    notifier.notify(f"READY=1\nSTATUS={_status(sessions, port)}")
    interval = float(os.environ.get("WATCHDOG_USEC", 0)) / 1e6 / 2
    while True:
        try:
            await asyncio.wait_for(sessions.changed.wait(), interval or None)
            await asyncio.sleep(_STATUS_SECONDS)  # many short executions make only one status line
        except asyncio.TimeoutError:
            pass
        sessions.changed.clear()
        notifier.notify("WATCHDOG=1")
        notifier.notify(f"STATUS={_status(sessions, port)}")


def _status(sessions: Sessions, port: int) -> str:
    states = [session.state for session in sessions]
    busy = ", ".join(session.id for session in sessions if session.state == "busy")
    count = f"{len(states)} session{'s' if len(states) != 1 else ''}"
    return f"http://localhost:{port}/mrp/v1, {count}, " + (f"running: {busy[:_STATUS_LENGTH]}" if busy else "idle")
