"""Runtimes as agents of macOS's launchd (launchd.plist(5), launchctl(1))."""

import os
import plistlib
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from mrmd_python.service import registry, templates
from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, make_folder, write_atomically
from mrmd_python.service.log_file import tail
from mrmd_python.service.program import ask
from mrmd_python.service.registry import Record
from mrmd_python.service.runtime_id import LAUNCHD_PREFIX, launchd_label
from mrmd_python.service.spec import RuntimeSpec

_ANSWER_SECONDS = 10.0
_START_SECONDS = 90.0  # where nothing says how long a runtime may take
_BACKSTOP_SECONDS = 30.0  # above the server's own time to start
_STOP_SECONDS = 30.0  # above the agent's ExitTimeOut
_PAUSE_SECONDS = 0.05
_OPERATION_NOW_IN_PROGRESS = 36  # <sys/errno.h> of macOS: a bootout of this service has begun already


def plist_path(runtime_id: str) -> Path:
    """Return where the agent of a runtime lies, or would: apart from those that launchd starts at login, or there."""
    at_login = _at_login(runtime_id)
    return at_login if at_login.exists() else _apart(runtime_id)


def _at_login(runtime_id: str) -> Path:
    return Path.home() / "Library" / "LaunchAgents" / f"{launchd_label(runtime_id)}.plist"


def _apart(runtime_id: str) -> Path:
    return Path.home() / "Library" / "Application Support" / "mrmd-python" / f"{launchd_label(runtime_id)}.plist"


def render(home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
    """Return the property list of a runtime, complete: in XML or, where XML has no words for a value, in binary.

    Raises:
        ServiceError: a path is not UTF-8.
    """
    template: dict[str, Any] = plistlib.loads(templates.read("launchd", f"{LAUNCHD_PREFIX}plist").encode())
    agent = {
        "Label": launchd_label(spec.id),
        "ProgramArguments": replace(spec, backend="launchd").server_command(),
        "EnvironmentVariables": dict(environment),
        "WorkingDirectory": "/",
        "StandardOutPath": str(home.log(spec.id)),
        "StandardErrorPath": str(home.log(spec.id)),
        **template,
    }
    if spec.limits.nice is not None:
        agent["Nice"] = spec.limits.nice  # of the other limits launchd has none that holds for a job as a whole
    # XML 1.0 has no control characters, and reads a carriage return as a line feed.
    with suppress(ValueError, ExpatError):
        text = plistlib.dumps(agent, sort_keys=False)
        if plistlib.loads(text) == agent:
            return text
    try:
        return plistlib.dumps(agent, fmt=plistlib.FMT_BINARY, sort_keys=False)
    except UnicodeEncodeError:
        raise ServiceError("launchd takes only UTF-8, and a path that was given is none; use --backend fork") from None


def domain() -> str:
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
        return ask(["launchctl", *arguments], timeout)
    except FileNotFoundError:
        raise ServiceError("launchctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"launchd did not answer `launchctl {arguments[0]}` within {timeout:.0f} s; use --backend fork"
        ) from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _service(runtime_id: str) -> str:
    return f"gui/{os.getuid()}/{launchd_label(runtime_id)}"


@dataclass(frozen=True)
class _Job:
    """An agent that launchd has loaded, as ``launchctl print`` tells of it.

    launchctl(1) does not promise what that looks like, so that nothing but haste may depend on it. Observed from macOS
    10.10 to 26: a field a line, after one tab (what is nested is further in); ``pid`` while it runs; then ``last exit
    code``, ``(never exited)`` at first, or ``last terminating signal``, or ``last exit reason``; ``state = spawn
    scheduled`` while it waits to be started again.
    """

    fields: Mapping[str, str]

    @classmethod
    def of(cls, runtime_id: str) -> "_Job | None":
        """Return the agent of a runtime, or None if launchd has none."""
        answer = _launchctl("print", _service(runtime_id))
        if answer.returncode != 0:
            return None
        return cls(dict(re.findall(r"^\t(\w[\w ]*) = (.*)$", answer.stdout, re.MULTILINE)))

    def is_active(self) -> bool:
        """Return whether it runs or is about to."""
        return "pid" in self.fields or self.fields.get("state") == "spawn scheduled"

    def end(self) -> str | None:
        """Return how its process ended since it was loaded, or None if none has."""
        for name in ("last terminating signal", "last exit reason", "last exit code"):
            if self.fields.get(name, "(never exited)") != "(never exited)":
                return f"{name} = {self.fields[name]}"
        return None


class LaunchdBackend:
    """Runtimes as ``dev.mrmd.python.<id>`` in the user's GUI domain."""

    name = "launchd"

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Write the agent, bootstrap it and, if told to `wait`, do so until its server has announced itself."""
        path, log = plist_path(spec.id), home.log(spec.id)
        content = render(home, spec, environment)
        try:
            make_folder(path.parent)
            write_atomically(path, content)
            log.touch(mode=0o600)  # launchd would let others read it
            logged = log.stat().st_size
        except OSError as error:
            raise ServiceError(f"cannot write {error.filename or path}: {error.strerror}") from None
        _bootstrap(spec.id)
        if wait:
            _wait_until_announced(home, spec.id, logged, spec.start_seconds + _BACKSTOP_SECONDS)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Boot the agent out and bootstrap it again, as it lies there."""
        log = home.log(runtime_id)
        logged = log.stat().st_size if log.exists() else 0
        _bootstrap(runtime_id)
        start_seconds = _START_SECONDS if record is None else record.spec().start_seconds
        _wait_until_announced(home, runtime_id, logged, start_seconds + _BACKSTOP_SECONDS)

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """Boot the agent out and remove it."""
        if shutil.which("launchctl") is not None:
            _boot_out(runtime_id)
        elif record is not None and record.is_alive():
            raise ServiceError(f"launchd cannot be told to stop {_service(runtime_id)}: launchctl is not installed")
        if record is not None:
            record.process.end()
        plist_path(runtime_id).unlink(missing_ok=True)

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the agent runs, or is about to be started again."""
        try:
            job = _Job.of(runtime_id)
        except ServiceError:
            return False  # without launchd there are no agents
        return job is not None and job.is_active()

    def enable(self, runtime_id: str) -> None:
        """Have launchd load the agent at login, by where it lies; the running server is none the wiser."""
        path = _at_login(runtime_id)
        make_folder(path.parent)
        plist_path(runtime_id).replace(path)

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
        path = _apart(runtime_id)
        make_folder(path.parent)
        plist_path(runtime_id).replace(path)


def _bootstrap(runtime_id: str) -> None:
    """Have launchd load the agent and start it."""
    if _Job.of(runtime_id) is not None:
        _boot_out(runtime_id)  # an agent stays loaded when its server has ended
    started = _launchctl("bootstrap", domain(), str(plist_path(runtime_id)))
    if started.returncode == 0:
        # launchd may leave an agent for later that was loaded soon after another of its label.
        started = _launchctl("kickstart", _service(runtime_id))
    if started.returncode != 0:
        raise StartFailedError(f"launchd does not take the agent: {started.stderr.strip()}")


def _wait_until_announced(home: Home, runtime_id: str, logged: int, seconds: float) -> None:
    """Return when the server has announced itself; tell why if it ends before, or does not in time."""
    log = home.log(runtime_id)
    deadline = time.monotonic() + seconds
    while True:
        job = _Job.of(runtime_id)  # before the record: what has announced itself may have ended since
        record = registry.read(home, runtime_id)
        if record is not None and record.is_alive():
            return
        how = "it is not loaded" if job is None else job.end()
        if how is not None:
            raise StartFailedError(tail(log, logged) or f"its server ended without a word (launchd: {how})")
        if time.monotonic() > deadline:
            raise StartFailedError(f"it was not ready within {seconds:.0f} s; its log is {log}")
        time.sleep(_PAUSE_SECONDS)


def _boot_out(runtime_id: str) -> None:
    """Have launchd end the agent and forget it; return once it has.

    launchctl may return before that, and a bootstrap of the same label would then fail.

    Raises:
        ServiceError: it does not.
    """
    service = _service(runtime_id)
    deadline = time.monotonic() + _STOP_SECONDS
    told = _launchctl("bootout", service, timeout=_STOP_SECONDS)
    # The status says little by itself: some releases have 5 for what is not loaded, some 3.
    while _Job.of(runtime_id) is not None:
        if told.returncode not in (0, _OPERATION_NOW_IN_PROGRESS):
            raise ServiceError(f"launchd does not let go of {service}: {_last_line(told.stderr)}")
        if time.monotonic() > deadline:
            raise ServiceError(
                f"launchd has not ended {service} within {_STOP_SECONDS:.0f} s; see `launchctl print {service}`"
            )
        time.sleep(_PAUSE_SECONDS)
