"""Starting, ending and listing runtimes: what the CLI asks of the service room."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from mrmd_python.service import environment as environment_file
from mrmd_python.service import registry
from mrmd_python.service.backend import Backend, StartFailedError, choose
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.fork import ForkBackend
from mrmd_python.service.home import Home
from mrmd_python.service.launchd import LaunchdBackend, plist_path
from mrmd_python.service.lock import claim, is_claimed, locked
from mrmd_python.service.marker import VARIABLE as MARKER
from mrmd_python.service.marker import foreign_descendants, new_marker, refuse_to_leave, sweep
from mrmd_python.service.registry import Record, UnreadableRecordError
from mrmd_python.service.runtime_id import unit_name
from mrmd_python.service.spec import RuntimeSpec
from mrmd_python.service.systemd import SystemdBackend, unit_folder

_ANNOUNCE_SECONDS = 60.0


@dataclass(frozen=True)
class Started:
    """A running runtime, and whether it ran already."""

    record: Record
    already: bool


@dataclass(frozen=True)
class Killed:
    """What ending a runtime came upon."""

    was_alive: bool
    swept: int
    """Processes that only the sweep ended."""


def start(home: Home, spec: RuntimeSpec, backend_name: str | None, environ: Mapping[str, str]) -> Started:
    """Start a runtime, or find that its id runs already. Returns once it answers.

    Raises:
        StartFailedError: its server did not come up; nothing of it is left.
        ServiceError: this machine, its disk or its service manager does not let it start.
    """
    unit_name(spec.id)  # an id that no unit can have is refused before anything is touched
    home.prepare()
    with locked(home.lock(spec.id)):
        running = _running(home, spec.id)
        if running is not None:
            return Started(running, already=True)
        backend = choose(backend_name)
        environment = _write_environment(home, spec.id, environ)
        try:
            backend.start(home, spec, environment)
            record = registry.read(home, spec.id)
            if record is None:
                backend.stop(spec.id, None)
                raise StartFailedError(f"{spec.id!r} came up and ended at once; see its log")
        except BaseException:
            _remove_leftovers(home, spec.id)
            raise
        return Started(record, already=False)


def become(home: Home, spec: RuntimeSpec, environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by the server of a runtime, in the foreground.

    Raises:
        ServiceError: the id runs already.
    """
    command = spec.server_command()
    if spec.managed:
        environment = {**environ, MARKER: new_marker(spec.id)}
    else:
        home.prepare()
        with locked(home.lock(spec.id)):
            running = _running(home, spec.id)
            if running is not None:
                raise ServiceError(
                    f"{spec.id!r} is already running at {running.url}; `mrmd-python --kill {spec.id}` ends it"
                )
            environment = {**environ, MARKER: _write_environment(home, spec.id, environ)[MARKER]}
            # Handed on to the server: between this and its own there must be no moment without a claim.
            descriptor = claim(home.claim(spec.id))
            assert descriptor is not None, "nobody else claims an id that is locked"
            os.set_inheritable(descriptor, True)
            command.append(f"--claim-fd={descriptor}")
    # Python would answer them with a traceback until the server has handlers of its own, and unblocks them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    os.execve(command[0], command, environment)


def kill(home: Home, runtime_id: str) -> Killed | None:
    """End a runtime and every process it started; return None if there is no such runtime.

    Raises:
        ServiceError: some of its processes do not end.
    """
    home.prepare()
    with locked(home.lock(runtime_id)):
        try:
            record = registry.read(home, runtime_id)
            known = record is not None
        except UnreadableRecordError:
            record, known = None, True
        if not (known or home.environment(runtime_id).exists() or (unit_folder() / unit_name(runtime_id)).exists()):
            return None
        was_alive = record.is_alive() if record is not None else is_claimed(home.claim(runtime_id))
        foreign = foreign_descendants(record.pid) if record is not None and was_alive else set()
        _keeper(runtime_id, record).stop(runtime_id, record)
        refuse_to_leave(foreign, runtime_id)
        return Killed(was_alive, _remove_leftovers(home, runtime_id))


def ids(home: Home) -> list[str]:
    """Return the ids of all registered runtimes, sorted."""
    return [runtime_id for runtime_id, _ in registry.read_all(home)]


def _running(home: Home, runtime_id: str) -> Record | None:
    """Return the record of the live server of an id, waiting for one that starts; clear away what a dead one left.

    Raises:
        UnreadableRecordError: the record cannot be read, and its server lives.
        ServiceError: a server of that id lives, and does not announce itself.
    """
    deadline = time.monotonic() + _ANNOUNCE_SECONDS
    while True:
        claimed = is_claimed(home.claim(runtime_id))
        try:
            record = registry.read(home, runtime_id)
        except UnreadableRecordError:
            if claimed:
                raise
            record = None
        if record is not None and record.is_alive():
            return record
        keeper = _keeper(runtime_id, record)
        if not claimed and not keeper.is_active(runtime_id):
            break
        if time.monotonic() > deadline:
            raise ServiceError(
                f"a process of {runtime_id!r} runs, but has not announced itself within {_ANNOUNCE_SECONDS:.0f} s; "
                f"`mrmd-python --kill {runtime_id}` ends it"
            )
        time.sleep(0.05)  # neither a lock file nor another's unit can be waited for together
    if record is not None:
        keeper.stop(runtime_id, record)
    _remove_leftovers(home, runtime_id)
    return None


def _keeper(runtime_id: str, record: Record | None) -> Backend:
    """Return the backend that keeps an id, judged by its record or else by the files that the backends write."""
    if record.backend == "systemd" if record is not None else (unit_folder() / unit_name(runtime_id)).exists():
        return SystemdBackend()
    if record.backend == "launchd" if record is not None else plist_path(runtime_id).exists():
        return LaunchdBackend()
    return ForkBackend()  # a server in the foreground is ended in the same way


def _write_environment(home: Home, runtime_id: str, environ: Mapping[str, str]) -> dict[str, str]:
    environment = {**environment_file.capture(environ), MARKER: new_marker(runtime_id)}
    if "MRMD_HOME" in environment:
        environment["MRMD_HOME"] = str(home.root)  # the server's working directory is another
    try:
        environment_file.write(home.environment(runtime_id), environment)
    except OSError as error:
        raise ServiceError(f"cannot write {home.environment(runtime_id)}: {error.strerror}") from None
    return environment


def _remove_leftovers(home: Home, runtime_id: str) -> int:
    """End what still carries the marker of an ended runtime, and remove its files; return how many that were."""
    marker = environment_file.read(home.environment(runtime_id)).get(MARKER)
    swept = sweep(marker) if marker is not None else 0
    home.environment(runtime_id).unlink(missing_ok=True)
    is_claimed(home.claim(runtime_id))  # which removes a claim that nobody holds
    home.record(runtime_id).unlink(missing_ok=True)
    return swept
