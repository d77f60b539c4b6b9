"""Runtimes as agents of macOS's launchd (launchd.plist(5), launchctl(1))."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mrmd_python.manager.backends import launchctl
from mrmd_python.manager.backends.base import (
    Backend,
    NotInstalledError,
    OtherHomeError,
    StartFailedError,
    State,
    UnusableBackendError,
    is_other_home,
    log_size,
    open_log,
    stop_limit,
    tail,
    template,
)
from mrmd_python.manager.backends.launchctl import Job
from mrmd_python.runtime import ServiceError, failures, registry
from mrmd_python.runtime.files import Home, make_directory, user_home, write_atomically
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service, stop_seconds
from mrmd_python.runtime.validate import is_id
from mrmd_python.runtime.venv import own_python

_LABEL_PREFIX = "dev.mrmd.python."
_START_SECONDS = 90.0  # for runtimes without a record, which has the timeout
_BACKSTOP_SECONDS = 30.0  # longer than the server's own limit for its start
_PAUSE_SECONDS = 0.05
# After how many failed starts in a row, each ten seconds after the last, a server gives up. launchd has no such limit.
_MOST_STARTS = 5
# Directories in the home directory that macOS lets only those programs read that the user has allowed to (TCC).
_PRIVATE_DIRECTORIES = ("Desktop", "Documents", "Downloads", "Library/Mobile Documents")


class LaunchdBackend(Backend):
    """Runtimes as ``dev.mrmd.python.<id>`` in the user's GUI domain."""

    name = "launchd"
    noun = "a launchd agent"
    platform = "darwin"
    limits = frozenset({"nice"})  # launchd has no other limits for a job as a whole

    def detect(self) -> None:
        """Check that the user has a GUI domain."""
        launchctl.check_domain()

    def check_free(self, runtime_id: str) -> None:
        """Raise OtherHomeError if the agent of this id belongs to another home."""
        if _is_of_other_home(runtime_id):
            raise OtherHomeError(_label(runtime_id))

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the property list: in XML, or in binary if XML cannot represent a value."""
        import plistlib
        from xml.parsers.expat import ExpatError

        defaults: dict[str, Any] = plistlib.loads(template("launchd", f"{_LABEL_PREFIX}plist").encode())
        agent = {
            "Label": _label(spec.id),
            "ProgramArguments": spec.server_command(),
            "EnvironmentVariables": dict(environment),
            "WorkingDirectory": "/",
            "StandardOutPath": str(home.log(spec.id)),
            "StandardErrorPath": str(home.log(spec.id)),
            **defaults,
            "ExitTimeOut": stop_seconds(spec.stop_timeout),
        }
        if spec.nice is not None:
            agent["Nice"] = spec.nice
        if spec.umask is not None:
            agent["Umask"] = int(spec.umask, 8)
        # XML 1.0 has no control characters, and reads a carriage return as a line feed.
        with suppress(ValueError, ExpatError):
            text = plistlib.dumps(agent, sort_keys=False)
            if plistlib.loads(text) == agent:
                return text
        try:
            return plistlib.dumps(agent, fmt=plistlib.FMT_BINARY, sort_keys=False)
        except UnicodeEncodeError:
            raise ServiceError("launchd needs UTF-8 paths, and one of these is not; use --backend fork") from None

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Write the agent, bootstrap it and wait until its server has announced itself."""
        path, log = _plist_path(spec.id), home.log(spec.id)
        content = self.render(home, spec, environment)
        try:
            make_directory(path.parent)
            write_atomically(path, content)
        except OSError as error:
            where = error.filename or path
            raise ServiceError(f"cannot write {where}: {error.strerror}; use --backend fork") from None
        with open_log(log) as file:  # launchd would create it readable for others
            logged = os.fstat(file.fileno()).st_size
        with _naming_the_alternative():
            _load(home, spec.id, None)
            if wait:
                _wait_until_announced(home, spec.id, spec, logged)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Boot the agent out and bootstrap it again from its file."""
        logged = log_size(home.log(runtime_id))
        spec = None if record is None else record.runtime_spec()
        with _naming_the_alternative():
            try:
                _load(home, runtime_id, record)
            except UnusableBackendError as error:
                raise ServiceError(str(error)) from None
            _wait_until_announced(home, runtime_id, spec, logged)

    def stop(self, runtime_id: str, record: Record | None) -> list[Path]:
        """Unload the agent; without launchd, stop its process."""
        with suppress(NotInstalledError), _naming_the_alternative():
            launchctl.unload(_label(runtime_id), stop_limit(record))
        super().stop(runtime_id, record)
        return [path for path in (_login_path(runtime_id), _plain_path(runtime_id)) if path.exists()]

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the agent is running or about to be restarted."""
        try:
            with _naming_the_alternative():
                job = Job.of(_label(runtime_id))
        except NotInstalledError:
            return False  # without launchd there are no agents
        return job is not None and job.is_active()

    def states(self) -> dict[str, State]:
        """Return the runtimes that have a property list."""
        try:
            directories = (_login_path("").parent, _plain_path("").parent)
        except ServiceError:  # the user has no home directory
            return {}
        paths = (path for each in directories for path in each.glob(f"{_LABEL_PREFIX}*.plist"))
        names = {path.stem.removeprefix(_LABEL_PREFIX) for path in paths}
        return {name: _state(name) for name in names if is_id(name) and not _is_of_other_home(name)}

    def is_installed(self, runtime_id: str) -> bool:
        """Return whether there is a property list for this id."""
        try:
            return os.path.exists(_plist_path(runtime_id)) and not _is_of_other_home(runtime_id)
        except ServiceError:  # the user has no home directory
            return False

    def enable(self, runtime_id: str) -> None:
        """Make launchd load the agent at login, by moving its file; this does not affect a running server."""
        path = _login_path(runtime_id)
        make_directory(path.parent)
        _plist_path(runtime_id).replace(path)
        with _naming_the_alternative():
            launchctl.enable(_label(runtime_id))

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
        path = _plain_path(runtime_id)
        make_directory(path.parent)
        _plist_path(runtime_id).replace(path)

    def note(self, runtime_id: str, environ: Mapping[str, str]) -> str | None:
        """Warn an SSH user that launchd ends agents at the logout at the screen."""
        if "SSH_CONNECTION" not in environ:
            return None
        return f"{runtime_id!r} ends when you log out at the screen of this Mac; to change that: --backend fork"

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service that writes its own log file, and that launchd restarts unless it exits with 0."""
        log = home.log(runtime_id)
        return Service(
            backend=self.name,
            unit=_label(runtime_id),
            log=str(log),
            log_file=log,
            restartable=True,
            failure_status=0,
            has_coalition=True,
            most_starts=_MOST_STARTS,
        )


def _label(runtime_id: str) -> str:
    """Return the launchd label of a runtime (launchd.plist(5), Label)."""
    return f"{_LABEL_PREFIX}{runtime_id}"


def _plist_path(runtime_id: str) -> Path:
    """Return the path of a runtime's property list: in LaunchAgents only if the agent starts at login."""
    at_login = _login_path(runtime_id)
    return at_login if os.path.exists(at_login) else _plain_path(runtime_id)


def _is_of_other_home(runtime_id: str) -> bool:
    """Return whether an agent belongs to a runtime in another MRMD_HOME, which exists."""
    import plistlib
    from xml.parsers.expat import ExpatError

    try:
        log = plistlib.loads(_plist_path(runtime_id).read_bytes()).get("StandardOutPath", "")
    except (OSError, ValueError, ExpatError):
        return False
    return len(Path(log).parents) > 1 and is_other_home(Path(log).parents[1])


def _login_path(runtime_id: str) -> Path:
    return user_home() / "Library" / "LaunchAgents" / f"{_label(runtime_id)}.plist"


def _plain_path(runtime_id: str) -> Path:
    return user_home() / "Library" / "Application Support" / "mrmd-python" / f"{_label(runtime_id)}.plist"


@contextmanager
def _naming_the_alternative() -> Iterator[None]:
    """Name the backend that does without launchd in its errors."""
    try:
        yield
    except (StartFailedError, UnusableBackendError):
        raise
    except ServiceError as error:
        raise type(error)(f"{error}; use --backend fork") from None


def _load(home: Home, runtime_id: str, record: Record | None) -> None:
    """Make launchd load the agent, again if it is loaded, and start it."""
    label = _label(runtime_id)
    if Job.of(label) is not None:
        launchctl.unload(label, stop_limit(record))  # an agent stays loaded after its server has ended
    failures.forget(home, runtime_id)
    launchctl.load(label, _plist_path(runtime_id))


def _state(runtime_id: str) -> State:
    """Return the state of a runtime that has a property list."""
    enabled = os.path.exists(_login_path(runtime_id))
    try:
        job = Job.of(_label(runtime_id))
    except ServiceError:
        return State("unknown", None, enabled)
    if job is not None and job.is_waiting():
        return State("starting", None, enabled, f"again: {job.end()}" if job.end() else None)
    if job is not None and job.is_active():
        return State("starting", None, enabled)
    reason = failures.reason(Home.of(os.environ), runtime_id)
    if reason is not None:
        return State("failed", None, enabled, reason)
    end = None if job is None else job.end()
    has_failed = end not in (None, "last exit code = 0")
    return State("failed", None, enabled, end) if has_failed else State("stopped", None, enabled)


def _wait_until_announced(home: Home, runtime_id: str, spec: RuntimeSpec | None, logged: int) -> None:
    """Return once the server has announced itself; raise StartFailedError if it exits first or takes too long."""
    log = home.log(runtime_id)
    seconds = (_START_SECONDS if spec is None else spec.timeout) + _BACKSTOP_SECONDS
    deadline = time.monotonic() + seconds
    while True:
        job = Job.of(_label(runtime_id))  # before the record is read: a server may announce itself and exit in between
        record = registry.read(home, runtime_id)
        if record is not None and record.process.is_alive():
            return
        how = "it is not loaded" if job is None else job.end()
        if how is not None:
            message = failures.reason(home, runtime_id) or tail(log, logged)
            if message:
                raise StartFailedError(message + (_privacy_hint(spec) if "not permitted" in message else ""))
            raise StartFailedError(
                f"the server exited without a message (launchd: {how}){_privacy_hint(spec)}; use --backend fork"
            )
        if time.monotonic() > deadline:
            late = f"it was not ready within {seconds:.0f} s{_privacy_hint(spec)}"
            raise StartFailedError(f"{late}; see its log, {log}, or use --backend fork")
        time.sleep(_PAUSE_SECONDS)


def _privacy_hint(spec: RuntimeSpec | None) -> str:
    """Return what to do if macOS keeps an agent from the files of a runtime; empty if they are where it may read.

    An agent does not have the permissions of the terminal that it was started from (launchd.plist(5), CAVEATS). macOS
    refuses with EPERM, or asks the user and blocks the agent until there is an answer
    (https://github.com/philgutowski/relay/issues/43).
    """
    if spec is None:
        return ""
    private = [user_home() / name for name in _PRIVATE_DIRECTORIES]
    for path in map(Path, (spec.cwd, spec.venv, spec.python, own_python())):
        if path.parts[:2] == ("/", "Volumes") or any(path.is_relative_to(directory) for directory in private):
            return (
                f" (macOS may keep agents from {path}: move it elsewhere, or allow {spec.python} and {own_python()} "
                "in System Settings, Privacy & Security, Full Disk Access)"
            )
    return ""


BACKEND = LaunchdBackend
