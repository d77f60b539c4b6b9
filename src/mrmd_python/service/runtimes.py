"""Starting, restarting and ending runtimes: what the CLI asks of the service room."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from mrmd_python.service import environment as environment_file
from mrmd_python.service import predecessor, registry, systemctl, token
from mrmd_python.service.backend import Backend, StartFailedError
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, remove
from mrmd_python.service.keepers import choose, forget_others, is_defined, keeper_of
from mrmd_python.service.lock import claim, is_claimed, locked
from mrmd_python.service.marker import VARIABLE as MARKER
from mrmd_python.service.marker import foreign_descendants, marker_of, new_marker, refuse_to_leave, sweep
from mrmd_python.service.registry import Record, UnreadableRecordError
from mrmd_python.service.runtime_id import unit_name
from mrmd_python.service.spec import RuntimeSpec
from mrmd_python.service.usage import Usage, processes_of, usage_of

_ANNOUNCE_SECONDS = 60.0


@dataclass(frozen=True)
class Started:
    """A runtime that was started, or was running already."""

    record: Record | None
    """None if it was not waited for."""
    already: bool
    note: str | None = None
    """A line for the person about how it is kept."""


@dataclass(frozen=True)
class Killed:
    """What ending a runtime came upon."""

    was_alive: bool
    freed: Usage
    """What its processes held before."""
    swept: int
    """Processes that only the sweep ended."""


def start(
    home: Home,
    spec: RuntimeSpec,
    backend_name: str | None,
    environ: Mapping[str, str],
    variables: Mapping[str, str] = MappingProxyType({}),
    *,
    wait: bool = True,
) -> Started:
    """Start a runtime, or find that its id runs already. Returns once it answers, unless it is not to `wait`.

    Args:
        home: where its files go.
        spec: what it is to be.
        backend_name: what is to keep it; None for the best that there is.
        environ: the caller's environment, of which it gets what does not belong to the caller's login session.
        variables: further ones, chosen by name.
        wait: whether to return only when it answers.

    Raises:
        StartFailedError: its server did not come up; nothing of it is left.
        ServiceError: this machine, its disk or its service manager does not let it start.
    """
    unit_name(spec.id)  # an id that no unit can have is refused before anything is touched
    home.prepare()
    with locked(home.lock(spec.id)):
        running = _running(home, spec.id)
        if running is not None:
            _refuse_without_token(spec, running)
            return Started(running, already=True, note=predecessor.note(running))
        chosen = choose(backend_name, spec.limits)
        forget_others(spec.id, chosen.backend.name)
        environment = _write_environment(home, spec.id, {**environment_file.capture(environ), **variables})
        try:
            if spec.token:
                token.write(home.token(spec.id), environ)
            chosen.backend.start(home, spec, environment, wait=wait)
            record = registry.read(home, spec.id)
            if record is None and wait:
                raise StartFailedError(f"{spec.id!r} came up and ended at once; see its log")
        except BaseException:
            with _undisturbed():
                chosen.backend.stop(spec.id, None)  # it may be about to be restarted
                _remove_leftovers(home, spec.id)
            raise
        return Started(record, already=False, note=chosen.note or _note_of_logout(chosen.backend, spec.id, environ))


def _note_of_logout(backend: Backend, runtime_id: str, environ: Mapping[str, str]) -> str | None:
    """Return what one who has come over SSH may not know: a manager without lingering ends with the last login."""
    if backend.name != "systemd" or "SSH_CONNECTION" not in environ or systemctl.lingers():
        return None
    return (
        f"{runtime_id!r} ends when you log out: lingering is off for your user. `loginctl enable-linger` changes that"
    )


def restart(home: Home, runtime_id: str) -> Record | None:
    """End the server of a runtime and start it again as it was started; return None if there is no such runtime.

    Raises:
        UnreadableRecordError: its record cannot be read.
        StartFailedError: it did not come up again.
        ServiceError: its keeper failed.
    """
    home.prepare()
    with locked(home.lock(runtime_id)):
        record = registry.read(home, runtime_id)
        if record is None and not is_defined(runtime_id):
            return None
        keeper_of(runtime_id, record).restart(home, runtime_id, record)
        return registry.read(home, runtime_id)


def enable(home: Home, runtime_id: str, *, wanted: bool) -> bool:
    """Have a runtime start at login, or no longer; return whether there is such a runtime.

    Raises:
        ServiceError: its keeper cannot do that.
    """
    record = registry.read(home, runtime_id)
    if record is None and not is_defined(runtime_id):
        return False
    keeper = keeper_of(runtime_id, record)
    keeper.enable(runtime_id) if wanted else keeper.disable(runtime_id)
    return True


def become(home: Home, spec: RuntimeSpec, environ: Mapping[str, str], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by the server of a runtime, in the foreground, with all of its environment.

    Raises:
        ServiceError: the id runs already, or there is no token where there must be one.
    """
    command = spec.server_command()
    if spec.managed:
        if spec.token and token.chosen(environ) is None:
            raise ServiceError(f"with --managed, the token must be given: put one into {token.VARIABLE}")
        environment = {**environ, **variables, MARKER: new_marker(spec.id)}
    else:
        home.prepare()
        with locked(home.lock(spec.id)):
            running = _running(home, spec.id)
            if running is not None:
                raise ServiceError(
                    f"{spec.id!r} is already running at {running.url}; `mrmd-python --kill {spec.id}` ends it"
                )
            forget_others(spec.id, "foreground")
            kept = _write_environment(home, spec.id, {**environment_file.capture(environ), **variables})
            environment = {**environ, **variables, MARKER: kept[MARKER]}
            if spec.token:
                token.write(home.token(spec.id), environ)
            environment.pop(token.VARIABLE, None)
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
        if not (known or home.environment(runtime_id).exists() or is_defined(runtime_id)):
            return None
        was_alive = record.is_alive() if record is not None else is_claimed(home.claim(runtime_id))
        marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id)))
        freed = usage_of(processes_of(record, marker))
        foreign = foreign_descendants(record.pid) if record is not None and was_alive else set()
        keeper_of(runtime_id, record).stop(runtime_id, record)
        refuse_to_leave(foreign, runtime_id)
        return Killed(was_alive, freed, _remove_leftovers(home, runtime_id))


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
        keeper = keeper_of(runtime_id, record)
        if not claimed and not keeper.is_active(runtime_id):
            break
        if time.monotonic() > deadline:
            raise ServiceError(
                f"a process of {runtime_id!r} runs, but has not announced itself within {_ANNOUNCE_SECONDS:.0f} s; "
                f"`mrmd-python --kill {runtime_id}` ends it"
            )
        time.sleep(0.05)  # neither a lock file nor another's unit can be waited for together
    _end_leftovers(home, runtime_id)
    remove(home.token(runtime_id))  # the next start may want none; it does want the port
    return None


def _refuse_without_token(spec: RuntimeSpec, running: Record) -> None:
    if spec.token and running.token_file is None:
        raise ServiceError(
            f"{spec.id!r} is already running at {running.url}, without a token; `mrmd-python --kill {spec.id}` ends it"
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep an impatient second Ctrl-C from leaving half of what the first one broke off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _write_environment(home: Home, runtime_id: str, variables: Mapping[str, str]) -> dict[str, str]:
    environment = {**variables, MARKER: new_marker(runtime_id)}
    if "MRMD_HOME" in environment:
        environment["MRMD_HOME"] = str(home.root)  # the server's working directory is another
    try:
        environment_file.write(home.environment(runtime_id), environment)
    except OSError as error:
        raise ServiceError(f"cannot write {home.environment(runtime_id)}: {error.strerror}") from None
    return environment


def _remove_leftovers(home: Home, runtime_id: str) -> int:
    """End what still carries the marker of an ended runtime, and remove its files; return how many that were."""
    swept = _end_leftovers(home, runtime_id)
    home.forget_start(runtime_id)
    return swept


def _end_leftovers(home: Home, runtime_id: str) -> int:
    """End what still carries the marker of an ended runtime, and withdraw it; return how many that were."""
    marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id)))
    swept = sweep(marker) if marker is not None else 0
    is_claimed(home.claim(runtime_id))  # which removes a claim that nobody holds
    registry.forget(home, runtime_id)
    return swept
