"""Runtimes as agents of macOS's launchd (launchd.plist(5), launchctl(1))."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrmd_python.manager.backends.base import (
    Backend,
    NotInstalledError,
    OtherHomeError,
    StartFailedError,
    is_other_home,
    log_size,
    open_log,
    run,
    stop_limit,
    tail,
    template,
)
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home, make_directory, user_home, write_atomically
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service, stop_seconds

_LABEL_PREFIX = "dev.mrmd.python."
_ANSWER_SECONDS = 10.0
_START_SECONDS = 90.0  # for runtimes without a record, which has the timeout
_BACKSTOP_SECONDS = 30.0  # longer than the server's own limit for its start
_PAUSE_SECONDS = 0.05
_OPERATION_NOW_IN_PROGRESS = 36  # <sys/errno.h> of macOS: a bootout of this service has already begun


@dataclass(frozen=True)
class _Job:
    """An agent that launchd has loaded, as ``launchctl print`` shows it.

    launchctl(1) does not document this output, so only the speed of a command may depend on it. On macOS 10.10
    to 26, a line is a tab and a field (nested fields are indented further). There is ``pid`` while the agent runs; then
    ``last exit code`` (``(never exited)`` at first), ``last terminating signal`` or ``last exit reason``; and
    ``state = spawn scheduled`` while it waits for a restart.
    """

    fields: Mapping[str, str]

    @classmethod
    def of(cls, runtime_id: str) -> "_Job | None":
        """Return the agent of a runtime, or None if it is not loaded."""
        answer = _launchctl("print", _service_target(runtime_id))
        if answer.returncode != 0:
            return None
        return cls(dict(re.findall(r"^\t(\w[\w ]*) = (.*)$", answer.stdout, re.MULTILINE)))

    def is_active(self) -> bool:
        """Return whether it is running or about to be restarted."""
        return "pid" in self.fields or self.fields.get("state") == "spawn scheduled"

    def end(self) -> str | None:
        """Return how its last process since it was loaded ended, or None if none did."""
        for name in ("last terminating signal", "last exit reason", "last exit code"):
            if self.fields.get(name, "(never exited)") != "(never exited)":
                return f"{name} = {self.fields[name]}"
        return None


class LaunchdBackend(Backend):
    """Runtimes as ``dev.mrmd.python.<id>`` in the user's GUI domain."""

    name = "launchd"
    noun = "a launchd agent"
    platform = "darwin"
    limits = frozenset({"nice"})  # launchd has no other limits for a job as a whole

    def detect(self) -> None:
        """Check that the user has a GUI domain."""
        _domain()

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
            raise ServiceError(f"cannot write {error.filename or path}: {error.strerror}") from None
        with open_log(log) as file:  # launchd would create it readable for others
            logged = os.fstat(file.fileno()).st_size
        _bootstrap(spec.id, None)
        if wait:
            _wait_until_announced(home, spec.id, logged, spec.timeout + _BACKSTOP_SECONDS)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Boot the agent out and bootstrap it again from its file."""
        logged = log_size(home.log(runtime_id))
        _bootstrap(runtime_id, record)
        timeout = _START_SECONDS if record is None else record.runtime_spec().timeout
        _wait_until_announced(home, runtime_id, logged, timeout + _BACKSTOP_SECONDS)

    def stop(self, runtime_id: str, record: Record | None) -> list[Path]:
        """Boot the agent out; without launchd, stop its process."""
        with suppress(NotInstalledError):
            _boot_out(runtime_id, stop_limit(record))
        super().stop(runtime_id, record)
        return [path for path in (_login_path(runtime_id), _plain_path(runtime_id)) if path.exists()]

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the agent is running or about to be restarted."""
        try:
            job = _Job.of(runtime_id)
        except ServiceError:
            return False  # without launchd there are no agents
        return job is not None and job.is_active()

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

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
        path = _plain_path(runtime_id)
        make_directory(path.parent)
        _plist_path(runtime_id).replace(path)

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


def _domain() -> str:
    """Return the domain of the user's agents, ``gui/UID`` (launchctl(1)).

    Raises:
        ServiceError: there is no launchd, or it has no such domain.
    """
    found = f"gui/{os.getuid()}"
    answer = _launchctl("print", found)
    if answer.returncode != 0:
        raise ServiceError(f"this user is not logged in at the screen (launchctl: {_last_line(answer.stderr)})")
    return found


def _launchctl(*arguments: str, timeout: float = _ANSWER_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run ``launchctl``.

    Raises:
        ServiceError: there is no launchctl, or launchd does not answer in time.
    """
    try:
        return run(["launchctl", *arguments], timeout)
    except FileNotFoundError:
        raise NotInstalledError("launchctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"launchd did not answer `launchctl {arguments[0]}` within {timeout:.0f} s; use --backend fork"
        ) from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _service_target(runtime_id: str) -> str:
    return f"gui/{os.getuid()}/{_label(runtime_id)}"


def _bootstrap(runtime_id: str, record: Record | None) -> None:
    """Make launchd load the agent and start it."""
    if _Job.of(runtime_id) is not None:
        _boot_out(runtime_id, stop_limit(record))  # an agent stays loaded after its server has ended
    started = _launchctl("bootstrap", _domain(), str(_plist_path(runtime_id)))
    if started.returncode == 0:
        # launchd may delay an agent if another one with its label was loaded shortly before.
        started = _launchctl("kickstart", _service_target(runtime_id))
    if started.returncode != 0:
        raise StartFailedError(f"launchd refused the agent: {started.stderr.strip()}")


def _wait_until_announced(home: Home, runtime_id: str, logged: int, seconds: float) -> None:
    """Return once the server has announced itself; raise StartFailedError if it exits first or takes too long."""
    log = home.log(runtime_id)
    deadline = time.monotonic() + seconds
    while True:
        job = _Job.of(runtime_id)  # before the record is read: a server may announce itself and exit in between
        record = registry.read(home, runtime_id)
        if record is not None and record.process.is_alive():
            return
        how = "it is not loaded" if job is None else job.end()
        if how is not None:
            raise StartFailedError(tail(log, logged) or f"the server exited without a message (launchd: {how})")
        if time.monotonic() > deadline:
            raise StartFailedError(f"it was not ready within {seconds:.0f} s; see its log, {log}")
        time.sleep(_PAUSE_SECONDS)


def _boot_out(runtime_id: str, seconds: float) -> None:
    """Make launchd stop and unload the agent; return once it is unloaded.

    launchctl may return before that, and a bootstrap of the same label would then fail.
    """
    service = _service_target(runtime_id)
    deadline = time.monotonic() + seconds
    booted_out = _launchctl("bootout", service, timeout=seconds)
    # The status is not enough: for an agent that is not loaded, some releases return 5, some 3.
    while _Job.of(runtime_id) is not None:
        if booted_out.returncode not in (0, _OPERATION_NOW_IN_PROGRESS):
            raise ServiceError(f"launchd cannot unload {service}: {_last_line(booted_out.stderr)}")
        if time.monotonic() > deadline:
            raise ServiceError(
                f"launchd did not stop {service} within {seconds:.0f} s; see `launchctl print {service}`"
            )
        time.sleep(_PAUSE_SECONDS)


BACKEND = LaunchdBackend
