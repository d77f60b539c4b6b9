"""The interface of a backend: a way to run a server that outlives the command that started it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from mrmd_python.manager.usage import processes_of
from mrmd_python.runtime import ServiceError, environment
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import DEFAULT_STOP_TIMEOUT, RuntimeSpec, Service, stop_seconds

# How long a service manager may take in addition to the server.
_MANAGER_SECONDS = 20
_SHOWN_LINES = 10
_PACKAGED_TEMPLATES = Path(__file__).parents[1] / "templates"
_TREE = Path(__file__).parents[4]


class StartFailedError(ServiceError):
    """The server of a runtime exited or reported an error before it was ready."""


class NotInstalledError(ServiceError):
    """This machine or this user does not have the service manager that a backend needs."""


class UnusableBackendError(ServiceError):
    """The service manager answers, but runs nothing for this user. Another backend may work."""


class StopCanceledError(ServiceError):
    """The service manager did not stop a server, because another command has just started it."""


class OtherHomeError(ServiceError):
    """A unit or agent of this name belongs to another home: all homes of a user share the service manager."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} belongs to a runtime in another MRMD_HOME; use another id, or --backend fork")


class State(NamedTuple):
    """A runtime as its service manager sees it."""

    # starting, stopping, stopped, failed or unknown: the state to show if its server does not answer.
    status: str
    # Bytes, or None if unknown.
    memory: int | None
    # Whether it starts at login or boot; None if its backend cannot do that.
    enabled: bool | None
    # What else to say about the status, as in "pending (Priority)".
    detail: str | None = None
    # What else the service manager knows, by the name to show.
    facts: Mapping[str, str] = MappingProxyType({})


class Backend:
    """A way to run runtimes. The default methods here are for a plain process on this machine.

    A backend is a module here with a subclass of this as ``BACKEND``, and its name in ``BACKENDS``.
    """

    name: str
    # A runtime of this backend, as in "it is a systemd unit".
    noun: str
    # The `sys.platform` on which this backend is the default of --render; "" for none.
    platform = ""
    # Whether a start may choose this backend if the user names none.
    automatic = True
    # Whether its runtimes run on other hosts. All hosts that share the home can manage them; `states` has all of them.
    remote = False
    # The limits, by the names of their fields in `RuntimeSpec`, that it can enforce.
    limits: frozenset[str] = frozenset()
    # Called with what a start is waiting for.
    on_progress: Callable[[str], None] = staticmethod(lambda text: None)

    def detect(self) -> None:
        """Check that this backend works here.

        Raises:
            NotInstalledError: it does not exist on this machine.
            ServiceError: it exists, but does not work; the message says why.
        """

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check that this backend can run `spec`, before anything is written, and return it as it will be started.

        Raises:
            ServiceError: it cannot; the message says why.
        """
        options = [option for name, option in spec.limits().items() if name not in self.limits]
        if options:
            raise ServiceError(f"{', '.join(options)}: cannot be enforced for {self.noun}")
        return replace(spec, backend=self.name)

    def check_free(self, runtime_id: str) -> None:
        """Raise OtherHomeError if the service manager has a runtime of this id that belongs to another home."""

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Check the variables of --env and --gpus, before anything is written.

        Raises:
            ServiceError: a runtime of this backend cannot have one; the message says why.
        """

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the file from which this backend would start a runtime: a unit, a property list or a command.

        Raises:
            ServiceError: it cannot express this spec.
        """
        raise NotImplementedError

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Start the server; return once it answers or, without `wait`, once the service manager has accepted it.

        When this raises, `stop` cleans up.

        Raises:
            StartFailedError: the server did not start.
            ServiceError: the service manager failed.
        """
        raise NotImplementedError

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Stop the server if it runs, start it again with the same options, and return once it answers.

        Raises:
            StartFailedError: the server did not start.
            ServiceError: the service manager failed.
        """
        raise NotImplementedError

    def stop(self, runtime_id: str, record: Record | None) -> list[Path]:
        """Stop the server, if it is alive; return once it has ended, with the files that could start it again.

        The caller removes these files.

        Raises:
            ServiceError: it does not stop.
        """
        if record is not None:
            record.process.terminate(stop_seconds(record.stop_timeout))
        return []

    def is_alive(self, record: Record) -> bool:
        """Return whether the server that wrote `record` is alive."""
        return record.process.is_alive()

    def uptime(self, record: Record) -> float:
        """Return for how many seconds a live server has been running."""
        return record.process.age()

    def processes(self, record: Record | None, marker: str | None) -> set[int]:
        """Return the pids, on this machine, of a runtime's processes."""
        server = record.pid if record is not None and self.is_alive(record) else None
        return processes_of(server, marker, None if record is None else record.coalition)

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the service manager runs the server of an id, after waiting while it starts or stops it."""
        return False

    def is_starting(self, runtime_id: str) -> bool:
        """Return whether the service manager has yet to run the server of an id, or a server that is not ready."""
        return False

    def is_installed(self, runtime_id: str) -> bool:
        """Return whether there is a file from which the service manager can start this id."""
        return False

    def states(self) -> dict[str, State]:
        """Return the runtimes that the service manager has, by id: from their files if it does not answer."""
        return {}

    def knows(self, runtime_id: str) -> bool:
        """Return whether the service manager has a runtime of this id."""
        return self.is_installed(runtime_id) or runtime_id in self.states()

    def log_command(self, home: Home, runtime_id: str, *, lines: int, follow: bool) -> list[str] | None:
        """Return the command that shows a runtime's log, also after the runtime has ended; None if it has none."""
        log = home.log(runtime_id)
        # -F: the file is rotated (tail(1)).
        return ["tail", "-n", str(lines), *["-F"] * follow, "--", str(log)] if log.exists() else None

    def enable(self, runtime_id: str) -> None:
        """Make the runtime start at login or boot.

        Raises:
            ServiceError: this backend cannot do that.
        """
        raise ServiceError(f"{runtime_id!r} is {self.noun} and cannot start at login: that needs systemd or launchd")

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""

    def starts_at(self) -> str:
        """Return when enabled runtimes start, as in "it starts at WHEN"."""
        return "login"

    def note(self, runtime_id: str, environ: Mapping[str, str]) -> str | None:
        """Return a note for the user about a runtime that was just started, if any."""
        return None

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return the description of the service for its server."""
        raise NotImplementedError


def is_other_home(home: Path) -> bool:
    """Return whether `home` exists and is not the home of this process, however that is spelled."""
    own = Home.of(os.environ).root
    return home.is_dir() and not (own.is_dir() and home.samefile(own))


def run(
    command: Sequence[str],
    timeout: float | None = None,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> "subprocess.CompletedProcess[str]":
    """Run a program without input and return its status and output.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it takes longer than `timeout` seconds.
    """
    return subprocess.run(
        command,
        env=environment.for_programs(os.environ if environ is None else environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        pass_fds=pass_fds,
        check=False,
    )


def stop_limit(record: Record | None) -> float:
    """Return for how many seconds a service manager may stop a server before the manager itself must be hanging."""
    timeout = DEFAULT_STOP_TIMEOUT if record is None else record.stop_timeout
    return stop_seconds(timeout) + _MANAGER_SECONDS


def template(directory: str, name: str) -> str:
    """Return a template: packed into the wheel, or in `directory` at the top of the source tree."""
    packaged = _PACKAGED_TEMPLATES / name
    return (packaged if packaged.exists() else _TREE / directory / name).read_text(encoding="utf-8")


def open_log(log: Path) -> BinaryIO:
    """Open a log to append to it, and create it for its owner alone if it does not exist.

    Raises:
        ServiceError: it cannot be written.
    """
    try:
        return open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        raise ServiceError(f"cannot write the log {log}: {error.strerror}; remove it or change its owner") from None


def log_size(log: Path) -> int:
    """Return the size of a log in bytes, 0 if it does not exist: where what is written next begins."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, start: int) -> str:
    """Return the last lines written to `log` after the offset `start`."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        print(f"mrmd-python: cannot read {log}: {error.strerror}", file=sys.stderr)
        return ""
    return "\n".join(lines[-_SHOWN_LINES:])
