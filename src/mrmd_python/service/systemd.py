"""Runtimes as units of the systemd user manager."""

from collections.abc import Mapping
from pathlib import Path

from mrmd_python.service import unit
from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.environment import SERVICE
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, make_folder, write_atomically
from mrmd_python.service.journal import last_lines_of_last_run
from mrmd_python.service.registry import Record
from mrmd_python.service.runtime_id import TEMPLATE, unit_name
from mrmd_python.service.spec import RuntimeSpec
from mrmd_python.service.systemctl import Manager, beside, is_enabled, manager, succeed, systemctl, unit_path, verify

# Of the manager's variables, those that tell who the user is and how to reach the session's own services.
_OF_THE_USER = {"DBUS_SESSION_BUS_ADDRESS", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER", "XDG_RUNTIME_DIR"}
_BACKSTOP_SECONDS = 30.0  # above what the unit adds to the server's own time to start
_STOP_SECONDS = 30.0  # above the unit's TimeoutStopSec


class SystemdBackend:
    """Runtimes as ``mrmd-python@<id>.service``."""

    name = "systemd"

    def __init__(self, found: Manager | None = None) -> None:
        self._manager = found
        """What `manager` has just returned, if it was asked."""

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Write the unit, load it and start it; systemctl waits for READY=1."""
        name = unit_name(spec.id)
        found = self._manager or manager()
        path = unit_path(spec.id)
        try:
            content = unit.render(home, spec, found.variables - environment.keys() - _OF_THE_USER - SERVICE).encode()
            make_folder(path.parent)
            _install_template(path.parent)
            write_atomically(path, content)
        except UnicodeEncodeError:
            raise ServiceError(
                "systemd takes only UTF-8, and a path that was given is none; use --backend fork"
            ) from None
        except OSError as error:
            raise ServiceError(f"cannot write the unit {path}: {error.strerror}") from None
        if spec.limits.properties:
            verify(path)
        with beside("reset-failed", name):  # earlier failures must not count against the start limit
            succeed("daemon-reload")
        _start("start", name, spec.start_seconds + _BACKSTOP_SECONDS, wait=wait)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Restart the unit as it is."""
        manager()
        name = unit_name(runtime_id)
        systemctl("reset-failed", name)
        _start("restart", name, None, wait=True)  # the unit has limits of its own

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """Stop the unit, whose cgroup ends with it, and remove it."""
        name = unit_name(runtime_id)
        path = unit_path(runtime_id)
        try:
            manager()
        except ServiceError as fault:
            if record is not None and record.is_alive():
                raise ServiceError(f"systemd cannot be told to stop {name}: {fault}") from None
            path.unlink(missing_ok=True)  # no manager, no unit
            return
        stopped = systemctl("stop", name, timeout=_STOP_SECONDS)
        if stopped.returncode not in (0, 5):  # 5: no such unit is loaded (systemctl(1), "Exit status")
            raise ServiceError(f"systemd cannot stop {name}: {stopped.stderr.strip()}")
        if is_enabled(name):
            systemctl("disable", name)
        systemctl("reset-failed", name)
        path.unlink(missing_ok=True)  # nothing is loaded of it any more: there is no need for a daemon-reload

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the unit runs, or is being started, restarted or stopped."""
        state = systemctl("show", "--property=ActiveState", "--value", unit_name(runtime_id)).stdout.strip()
        return state not in ("inactive", "failed", "")

    def enable(self, runtime_id: str) -> None:
        """Have the manager start the unit when it starts itself: at login or, for a user who lingers, at boot."""
        succeed("enable", unit_name(runtime_id))

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
        succeed("disable", unit_name(runtime_id))


def _install_template(folder: Path) -> None:
    path, content = folder / TEMPLATE, unit.render_template().encode()
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def _start(verb: str, name: str, timeout: float | None, *, wait: bool) -> None:
    started = systemctl(verb, *([] if wait else ["--no-block"]), name, timeout=timeout)
    if started.returncode != 0:
        raise StartFailedError(last_lines_of_last_run(name) or started.stderr.strip())
