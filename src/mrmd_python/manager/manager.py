"""Starting, restarting and killing runtimes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import NamedTuple, NoReturn

from mrmd_python.manager import FOREGROUND
from mrmd_python.manager.backends import Choice, all_backends, backend_of, choose, is_out_of_reach, load
from mrmd_python.manager.backends.base import Backend, StartFailedError, StopCanceledError, UnusableBackendError
from mrmd_python.manager.usage import Usage, processes_of, usage_of
from mrmd_python.runtime import ServiceError, failures, processes, registry, token
from mrmd_python.runtime import environment as environment_file
from mrmd_python.runtime.files import Home, remove
from mrmd_python.runtime.locks import claim, is_claimed, is_end_requested, locked, release, request_end
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import carried, foreign_descendants, marker_of, new_marker, raise_if_alive, sweep
from mrmd_python.runtime.registry import Record, UnreadableRecordError
from mrmd_python.runtime.spec import DEFAULT_STOP_TIMEOUT, RuntimeSpec

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_ANNOUNCE_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_PAUSE_SECONDS = 0.1


class Started(NamedTuple):
    """A runtime that was started, or was already running."""

    # None if `start` did not wait.
    record: Record | None
    already_running: bool
    # A note for the user.
    note: str | None = None


class Killed(NamedTuple):
    """What killing a runtime freed."""

    was_alive: bool
    # The memory that its processes on this machine used.
    freed: Usage
    # The number of processes that survived the backend's stop and were killed by their marker.
    swept: int
    # The files of the runtime that could not be removed.
    left: tuple[OSError, ...]


def start(
    home: Home,
    spec: RuntimeSpec,
    environ: Mapping[str, str],
    variables: Mapping[str, str] = NO_VARIABLES,
    *,
    wait: bool = True,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Started:
    """Start a runtime, unless its id is already running. Return once it answers, unless `wait` is false.

    Args:
        home: the directory for its files.
        spec: the runtime; without a backend, the best one is chosen.
        environ: the caller's environment; the runtime gets it, except the variables of the caller's login session.
        variables: the variables set by --env.
        wait: whether to return only once it answers.
        on_progress: called with what the start is waiting for.

    Raises:
        StartFailedError: its server did not start; its processes and files are removed.
        ServiceError: this machine, its disk or its service manager does not let it start.
    """
    home.prepare()
    with locked(home.lock(spec.id)):
        home.check_spelling(spec.id)
        record = running(home, spec.id)
        if record is not None:
            _refuse_without_token(spec, record)
            return Started(record, already_running=True)
        choice = choose(spec.backend, spec.id)
        try:
            return _start(home, spec, environ, variables, choice, wait=wait, on_progress=on_progress)
        except UnusableBackendError as error:
            other = choice.instead(error)
        return _start(home, spec, environ, variables, other, wait=wait, on_progress=on_progress)


def _start(
    home: Home,
    spec: RuntimeSpec,
    environ: Mapping[str, str],
    variables: Mapping[str, str],
    choice: Choice,
    *,
    wait: bool,
    on_progress: Callable[[str], None],
) -> Started:
    """Start a runtime that is not running, in the chosen backend."""
    backend, note = choice.backend, choice.note
    try:
        spec = backend.prepare(spec)
        backend.check_free(spec.id)
        backend.check_variables(variables)
    except ServiceError as error:
        raise ServiceError(f"{error} ({note})" if note else str(error)) from None
    backend.on_progress = on_progress
    uninstall_others(spec.id, backend)
    home.remove_old_logs()
    environment = write_environment(home, spec.id, environ, new_marker(spec.id), variables)
    with _one_interrupt():
        try:
            if spec.token:
                token.write(home.token(spec.id), environ)
            _raise_if_killed(home, spec.id)
            backend.start(home, spec, environment, wait=wait)
            record = registry.read(home, spec.id)
            if record is None and wait:
                raise StartFailedError(f"{spec.id!r} started and exited at once; see its log")
        except BaseException as error:
            with _uninterrupted():
                _uninstall(spec.id, backend)  # it may be about to be restarted
                _end_leftovers(home, spec.id, spec.stop_timeout, None)
                home.remove_start_files(spec.id)
            if isinstance(error, StartFailedError):
                _raise_if_killed(home, spec.id)
            raise
    return Started(record, already_running=False, note=note or backend.note(spec.id, environ))


def restart(home: Home, runtime_id: str, on_progress: Callable[[str], None] = lambda text: None) -> Record | None:
    """Stop the server of a runtime and start it again with the same options; return None if there is no such runtime.

    Raises:
        UnreadableRecordError: its record cannot be read.
        StartFailedError: it did not start again.
        ServiceError: its backend failed, or what it was started with no longer exists.
    """
    home.prepare()
    with locked(home.lock(runtime_id)):
        record = read_here(home, runtime_id)
        if not _exists(runtime_id, record):
            return None
        if record is not None:
            _check_start_files(home, record)
        backend = backend_of(runtime_id, record)
        backend.on_progress = on_progress
        try:
            backend.restart(home, runtime_id, record)
        except StartFailedError:
            _raise_if_killed(home, runtime_id)
            raise
        return registry.read(home, runtime_id)


def _check_start_files(home: Home, record: Record) -> None:
    """Raise ServiceError if a runtime could not start again, so that a restart does not only end it."""
    environment = home.environment(record.id)
    missing = [] if environment_file.read(environment) else [environment]
    others = (Path(path) for path in (record.cwd, record.python, record.token_file) if path is not None)
    missing += filter(_is_missing, others)
    if missing:
        raise ServiceError(
            f"cannot restart {record.id!r}: {missing[0]} no longer exists; "
            f"to start it anew: mrmd-python --kill {record.id}, then --id {record.id}"
        )


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # whether it exists is unknown
        pass
    return False


def _raise_if_killed(home: Home, runtime_id: str) -> None:
    """Raise ServiceError if `kill` waits for the lock of an id, which this process holds."""
    if is_end_requested(home.lock(runtime_id)):
        raise ServiceError(f"{runtime_id!r} was killed while it was starting")


def enable(home: Home, runtime_id: str) -> bool:
    """Make a runtime start at login or boot; return whether there is such a runtime.

    Raises:
        ServiceError: its backend cannot do that.
    """
    record = registry.read(home, runtime_id)
    if not _exists(runtime_id, record):
        return False
    backend_of(runtime_id, record).enable(runtime_id)
    return True


def starts_at(home: Home, runtime_id: str) -> str:
    """Return when an enabled runtime starts, as in "it starts at WHEN"."""
    return backend_of(runtime_id, registry.read(home, runtime_id)).starts_at()


def disable(home: Home, runtime_id: str) -> bool:
    """Undo `enable`; return whether there is such a runtime."""
    record = registry.read(home, runtime_id)
    if not _exists(runtime_id, record):
        return False
    backend_of(runtime_id, record).disable(runtime_id)
    return True


def kill(home: Home, runtime_id: str) -> Killed | None:
    """Kill a runtime and every process it started; return None if there is no such runtime.

    Raises:
        ServiceError: some of its processes do not end, or an older version started it, which this one cannot kill.
    """
    with _locked_to_kill(home, runtime_id) as freed:
        killed = _kill(home, runtime_id)
    return killed if freed is None else Killed(True, freed, 0, killed.left if killed is not None else ())


@contextmanager
def _locked_to_kill(home: Home, runtime_id: str) -> Iterator[Usage | None]:
    """Hold the lock of an id; if a start or restart holds it, end that, and yield what was freed.

    Where the lock cannot be opened, as on a full or read-only disk, hold nothing: there, nothing can be started either.
    """
    lock, descriptor, freed = home.lock(runtime_id), None, None
    with suppress(OSError):
        while (descriptor := claim(lock)) is None:
            freed = _end_start(home, runtime_id) or freed
            time.sleep(_PAUSE_SECONDS)
    try:
        yield freed
    finally:
        if descriptor is not None:
            release(lock, descriptor)


def _end_start(home: Home, runtime_id: str) -> Usage | None:
    """End a start that another process is waiting for; return what was freed, or None if there is nothing to end."""
    try:
        record = read_here(home, runtime_id)
    except UnreadableRecordError:
        record = None
    if record is not None and load(record.backend).is_alive(record):
        return None  # it is ready, or it is being stopped
    request_end(home.lock(runtime_id))
    marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id)))
    freed = usage_of(processes_of(None, marker))
    was_starting = False
    for backend in all_backends():
        if backend.is_installed(runtime_id):
            was_starting = was_starting or backend.is_starting(runtime_id)
            with suppress(StopCanceledError):  # the caller tries to end that start too
                backend.stop(runtime_id, None)
    if marker is not None:
        sweep(marker, DEFAULT_STOP_TIMEOUT)
    return freed if freed.processes or was_starting else None


def _kill(home: Home, runtime_id: str) -> Killed | None:
    try:
        record = read_here(home, runtime_id)
        exists = record is not None or is_claimed(home.claim(runtime_id))
    except UnreadableRecordError as error:
        if error.may_be_running:
            raise
        record, exists = None, True
    if not (exists or home.environment(runtime_id).exists() or _exists(runtime_id, None)):
        return None
    try:
        backend = backend_of(runtime_id, record)
    except ServiceError:  # a backend of a newer version: kill the process, if it is on this machine
        backend = load(FOREGROUND)
    if record is not None:
        was_alive = backend.is_alive(record)
    else:
        was_alive = is_claimed(home.claim(runtime_id)) or backend.is_starting(runtime_id)
    marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id)))
    freed = usage_of(backend.processes(record, marker))
    foreign = foreign_descendants(record.pid) if record is not None and record.process.is_alive() else set()
    files = backend.stop(runtime_id, record)
    raise_if_alive(foreign, runtime_id)
    swept = _sweep(home, runtime_id, _stop_timeout(record), _coalition(record))
    if is_claimed(home.claim(runtime_id)):
        raise ServiceError(
            f"{runtime_id!r} is still running, on another host or in another container: "
            f"a process there holds {home.claim(runtime_id)}; end it there"
        )
    return Killed(was_alive, freed, swept, _remove_all([*files, *home.files(runtime_id)]))


def remove_dead(home: Home, records: Iterable[Record]) -> Iterator[str]:
    """Remove the files of those runtimes that have ended and left no process; yield their ids.

    `kill` does that too, but looks at each process of the machine for each runtime.
    """
    dead = {record.id: record for record in records}
    if not dead:
        return
    home.prepare()
    markers = {name: marker_of(name, environment_file.read(home.environment(name))) for name in dead}
    alive = carried(marker for marker in markers.values() if marker is not None)

    def is_removable(runtime_id: str) -> bool:
        try:
            is_same = registry.read(home, runtime_id) == dead[runtime_id]
        except UnreadableRecordError:
            return False
        is_installed = any(backend.is_installed(runtime_id) for backend in all_backends())
        return is_same and not is_installed and not is_claimed(home.claim(runtime_id))

    yield from home.remove_files((name for name in dead if markers[name] not in alive), is_removable)


def log_command(home: Home, runtime_id: str, *, lines: int, follow: bool) -> list[str] | None:
    """Return the command that shows the end of a runtime's log, also after the runtime has ended; None if it has none.

    Raises:
        ServiceError: its record names an unknown backend.
    """
    try:
        record = registry.read(home, runtime_id)
    except UnreadableRecordError:
        record = None
    for backend in (backend_of(runtime_id, record), *all_backends()):
        command = backend.log_command(home, runtime_id, lines=lines, follow=follow)
        if command is not None:
            return command
    return None


def read_here(home: Home, runtime_id: str) -> Record | None:
    """Return the record of a runtime, or None.

    Raises:
        UnreadableRecordError: it cannot be read.
        ServiceError: the runtime lives on another host or in another container, and cannot be handled from here.
    """
    record = registry.read(home, runtime_id)
    if record is None or not is_out_of_reach(home, record):
        return record
    where = f"{runtime_id!r} runs on {record.hostname}"
    if record.process.boot() == processes.boot_id():
        raise ServiceError(f"{where}, in another container, as PID {record.pid} there; run this command there")
    raise ServiceError(
        f"{where}; run this command there, or if that host or container no longer exists: rm {home.record(runtime_id)}"
    )


def _exists(runtime_id: str, record: Record | None) -> bool:
    return record is not None or any(backend.knows(runtime_id) for backend in all_backends())


def running(home: Home, runtime_id: str) -> Record | None:
    """Return the record of the live server of an id, and wait for it if it is starting; clean up after a dead one.

    Raises:
        UnreadableRecordError: the record cannot be read, and its server is alive or may be.
        ServiceError: a server of that id is alive, but elsewhere, or does not announce itself.
    """
    deadline = None
    while True:
        try:
            record = read_here(home, runtime_id)
        except UnreadableRecordError as error:
            if error.may_be_running or is_claimed(home.claim(runtime_id)):
                raise
            record = None
        if record is not None and load(record.backend).is_alive(record):
            return record
        if not is_claimed(home.claim(runtime_id)) and not _is_active(runtime_id, record):
            break
        deadline = deadline or time.monotonic() + _ANNOUNCE_SECONDS  # after the wait for a service manager
        if time.monotonic() > deadline:
            raise ServiceError(
                f"a process of {runtime_id!r} is running, but did not answer within {_ANNOUNCE_SECONDS:.0f} s; "
                f"to kill it: mrmd-python --kill {runtime_id}"
            )
        time.sleep(_LOOK_SECONDS)  # there is nothing to wait on: a file system of the network reports no changes
    _end_leftovers(home, runtime_id, _stop_timeout(record), _coalition(record))
    remove(home.token(runtime_id))  # the next start may be without a token; it does use the last port
    return None


def _is_active(runtime_id: str, record: Record | None) -> bool:
    """Wait while a service manager starts or stops an id; return whether it runs it.

    Asking one takes tens of milliseconds.
    """
    installed = (backend for backend in all_backends() if backend.is_installed(runtime_id))
    return any(each.is_active(runtime_id) for each in ([load(record.backend)] if record is not None else installed))


def uninstall_others(runtime_id: str, successor: Backend | None) -> None:
    """Remove an id from the backends other than the one that is about to start it."""
    for backend in all_backends():
        if backend.is_installed(runtime_id) and (successor is None or backend.name != successor.name):
            _uninstall(runtime_id, backend)


def _uninstall(runtime_id: str, backend: Backend) -> None:
    """Stop an id in a backend, and remove the files from which it would start again."""
    for path in backend.stop(runtime_id, None):
        remove(path)


def _refuse_without_token(spec: RuntimeSpec, running: Record) -> None:
    if spec.token and running.token_file is None:
        raise ServiceError(
            f"{spec.id!r} is already running without a token at {running.url}; to stop it: mrmd-python --kill {spec.id}"
        )


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """Ignore Ctrl-C once it has raised KeyboardInterrupt: a second one must not prevent the clean-up."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _is_main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C during a clean-up."""
    if not _is_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def write_environment(
    home: Home, runtime_id: str, environ: Mapping[str, str], marker: str, variables: Mapping[str, str] = NO_VARIABLES
) -> dict[str, str]:
    """Write the environment of a runtime: the captured one, the variables of --env, and its marker."""
    environment = {**environment_file.capture(environ), **variables, MARKER: marker}
    if "MRMD_HOME" in environment:
        environment["MRMD_HOME"] = str(home.root)  # the server has another working directory
    try:
        environment_file.write(home.environment(runtime_id), environment)
    except OSError as error:
        raise ServiceError(f"cannot write {home.environment(runtime_id)}: {error.strerror}") from None
    return environment


def _stop_timeout(record: Record | None) -> int:
    return DEFAULT_STOP_TIMEOUT if record is None else record.stop_timeout


def _coalition(record: Record | None) -> str | None:
    return None if record is None else record.coalition


def _end_leftovers(home: Home, runtime_id: str, stop_timeout: int, coalition: str | None) -> None:
    """Kill the processes that are left of an ended runtime, and remove its record."""
    _sweep(home, runtime_id, stop_timeout, coalition)
    is_claimed(home.claim(runtime_id))  # removes a claim that no process holds
    registry.delete(home, runtime_id)
    failures.forget(home, runtime_id)


def _sweep(home: Home, runtime_id: str, stop_timeout: int, coalition: str | None) -> int:
    """Kill the processes with the marker of a runtime, or in its coalition; return their number."""
    marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id)))
    return sweep(marker, stop_timeout, coalition) if marker is not None else 0


def _remove_all(paths: Iterable[Path]) -> tuple[OSError, ...]:
    """Remove these files; return the errors of those that exist and cannot be removed."""
    errors = []
    for path in paths:
        try:
            remove(path)
        except OSError as error:
            if os.path.lexists(path):  # on a read-only disk, it need not exist for an error
                errors.append(error)
    return tuple(errors)
