"""Runtimes as units of the systemd user manager."""

import fnmatch
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mrmd_python.manager.backends import unit
from mrmd_python.manager.backends.base import (
    Backend,
    NotInstalledError,
    OtherHomeError,
    StartFailedError,
    State,
    StopCanceledError,
    is_other_home,
    run,
    stop_limit,
)
from mrmd_python.manager.backends.unit import LIMITS, TEMPLATE, UNIT_PREFIX, UNIT_SUFFIX, id_of_unit, unit_name
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.environment import SERVICE, for_programs
from mrmd_python.runtime.files import Home, make_directory, user_home, write_atomically
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service
from mrmd_python.runtime.validate import is_id

_ANSWER_SECONDS = 10.0
_BACKSTOP_SECONDS = 30.0  # longer than the unit's own start timeout
_NOT_LOADED = 5  # exit status of `systemctl stop` if no such unit is loaded (systemctl(1), "Exit status")
_ALL_UNITS = f"{UNIT_PREFIX}?*{UNIT_SUFFIX}"
# Where administrators mask units of all users (systemd.unit(5), "User Unit Search Path").
_MASK_DIRECTORIES = (Path("/etc/systemd/user"), Path("/run/systemd/user"))
# Variables of the manager that say who the user is and how to reach the session's services.
_USER_VARIABLES = {"DBUS_SESSION_BUS_ADDRESS", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER", "XDG_RUNTIME_DIR"}
# What to show for a unit's ActiveState (systemctl(1)). A unit is active before its server has announced itself.
_STATUSES = {"failed": "failed", "inactive": "stopped", "deactivating": "stopping"}


class SystemdBackend(Backend):
    """Runtimes as ``mrmd-python@<id>.service``."""

    name = "systemd"
    noun = "a systemd unit"
    platform = "linux"
    limits = frozenset({*LIMITS, "properties"})

    def __init__(self) -> None:
        # The names of the variables that the manager sets for every unit; None before `detect`.
        self._manager_variables: frozenset[str] | None = None

    def detect(self) -> None:
        """Check that the user manager answers, sees the same files, and looks for units where they will be written."""
        if "SLURMD_NODENAME" in os.environ:
            # A login session that Slurm opened may have started the manager, which then ends after ten seconds.
            raise ServiceError("a unit would not be part of this Slurm job")
        if _manager_is_outside():
            raise ServiceError("the user manager that answers in this toolbox or distrobox is the host's")
        self._manager_variables = _manager_variables()

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check the id too: escaped, it must fit into a unit name."""
        unit_name(spec.id)
        return super().prepare(spec)

    def check_free(self, runtime_id: str) -> None:
        """Raise OtherHomeError if the unit of this id belongs to another home."""
        if _is_of_other_home(runtime_id) and unit_path(runtime_id).exists():
            raise OtherHomeError(unit_name(runtime_id))

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the unit, without UnsetEnvironment=: the manager's variables are known only at the start."""
        return _encode(unit.render(home, spec, ()))

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Write the unit, load it and start it; systemctl waits for READY=1."""
        name, path = unit_name(spec.id), unit_path(spec.id)
        mask = _mask(name)
        if mask is not None:
            raise ServiceError(
                f"{name} is masked, so systemd does not start it; "
                f"to change that: systemctl --user unmask {shlex.quote(mask)}; or use --backend fork"
            )
        variables = self._manager_variables if self._manager_variables is not None else _manager_variables()
        content = _encode(unit.render(home, spec, variables - environment.keys() - _USER_VARIABLES - SERVICE))
        try:
            make_directory(path.parent)
            was_upgraded = _install_template(path.parent)
            write_atomically(path, content)
        except OSError as error:
            raise ServiceError(f"cannot write the unit {path}: {error.strerror}") from None
        if spec.properties:
            _verify(path)
        with _in_parallel("reset-failed", name):  # earlier failures must not count against the start limit
            if was_upgraded or not _is_loaded(name, path):
                _checked("daemon-reload")
        _start("start", name, spec.timeout + _BACKSTOP_SECONDS, wait=wait)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Restart the unit as it is."""
        _manager_variables()
        name = unit_name(runtime_id)
        _systemctl("reset-failed", name)
        _start("restart", name, None, wait=True)  # the unit has its own timeouts

    def stop(self, runtime_id: str, record: Record | None) -> list[Path]:
        """Stop and disable the unit, whose cgroup ends with it; without a manager, stop its process."""
        name = unit_name(runtime_id)
        directories = {_unit_directory()}
        try:
            _check_manager()
            fragment = Path(_shown(name, "FragmentPath"))
        except ServiceError as error:
            # A manager that hangs may be about to start it.
            if record is None and not isinstance(error, NotInstalledError):
                raise
        else:
            if fragment.name == name:  # the manager's XDG_CONFIG_HOME may differ
                directories.add(fragment.parent)
            _stop(name, directories, stop_limit(record))
        super().stop(runtime_id, record)
        return [path for directory in directories for path in _files(directory, name)]

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the unit is running, after waiting while it is being started, restarted or stopped."""
        name = unit_name(runtime_id)
        # A job like the one that is under way is merged with it, and systemctl waits for its end. One that conflicts,
        # such as the stop by a `--kill` that has just begun, must not be replaced.
        verb = {"activating": "start", "deactivating": "stop"}.get(_active_state(name))
        if verb is not None:
            _systemctl(verb, "--job-mode=fail", name, timeout=None)  # the unit has its own timeouts
        return _active_state(name) not in ("inactive", "failed", "")

    def is_installed(self, runtime_id: str) -> bool:
        """Return whether a start has written a unit for this id, or it is an enabled instance of the template."""
        try:
            return bool(_files(_unit_directory(), unit_name(runtime_id))) and not _is_of_other_home(runtime_id)
        except ServiceError:
            return False

    def states(self) -> dict[str, State]:
        """Return the units that are loaded or in the user's unit directory."""
        try:
            directory = _unit_directory()
        except ServiceError:  # the user has no home directory
            return {}
        found = [path.name for each in (directory, *_wants(directory)) for path in _paths(each)]
        names = {name for name in fnmatch.filter(found, _ALL_UNITS) if _files(directory, name)}
        if not names and not os.path.exists(directory / TEMPLATE):
            return {}
        loaded, status = {}, "stopped"
        try:
            loaded = _loaded_units()
        except NotInstalledError:
            pass
        except ServiceError:
            status = "unknown"
        units = {name: State(status, None, _is_enabled(name)) for name in names} | loaded
        states = {id_of_unit(name): units[name] for name in units}
        return {each: states[each] for each in states if is_id(each) and not _is_of_other_home(each)}

    def log_command(self, home: Home, runtime_id: str, *, lines: int, follow: bool) -> list[str] | None:
        """Return the journalctl command for the unit, if the unit or a log of it exists."""
        name = unit_name(runtime_id)
        # Not --user: that reads only the user's own journal, which does not exist if the journal is volatile.
        journalctl = ["journalctl", "--quiet", f"--user-unit={name}"]
        if not self.knows(runtime_id) and not _read_journal([*journalctl, "--output=cat", "--lines=1"]):
            return None
        return [*journalctl, f"--lines={lines}", *["--follow"] * follow]

    def enable(self, runtime_id: str) -> None:
        """Make the manager start the unit when the manager starts."""
        _check_manager()
        _checked("enable", unit_name(runtime_id))

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
        name = unit_name(runtime_id)
        try:
            _check_manager()
        except NotInstalledError:
            for link in _links(_unit_directory(), name):
                link.unlink()
        else:
            _checked("disable", name)

    def starts_at(self) -> str:
        """Return when the manager starts: at login, or at boot if lingering is on."""
        return "boot" if _lingers() is True else "login, and at boot once `loginctl enable-linger` is run"

    def note(self, runtime_id: str, environ: Mapping[str, str]) -> str | None:
        """Warn an SSH user if lingering is off: then the user manager stops with the last login session."""
        if "SSH_CONNECTION" not in environ or _lingers() is not False:
            return None
        return (
            f"{runtime_id!r} ends when you log out: lingering is off for your user; "
            "to change that: loginctl enable-linger"
        )

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service whose log goes to the journal."""
        name = unit_name(runtime_id)
        log = f"journalctl --user --unit={shlex.quote(name)}"
        return Service(backend=self.name, unit=name, log=log, restartable=True)


def _active_state(name: str) -> str:
    return _systemctl("show", "--property=ActiveState", "--value", name).stdout.strip()


def unit_path(runtime_id: str) -> Path:
    """Return the path of the unit that a start writes for a runtime."""
    return _unit_directory() / unit_name(runtime_id)


def _unit_directory() -> Path:
    """Return the directory for the user's own units (systemd.unit(5), "User Unit Search Path")."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or user_home() / ".config") / "systemd" / "user"


def _files(directory: Path, name: str) -> list[Path]:
    """Return the files from which systemd can start a unit: the unit, and the links that enable it."""
    unit = directory / name
    exists = os.path.exists(unit) and not _is_mask(unit)  # Path.exists() raises if the directory cannot be read
    return [*([unit] if exists else []), *_links(directory, name)]


def _links(directory: Path, name: str) -> list[Path]:
    """Return the links that enable a unit, as [Install] in it asks for (systemd.unit(5))."""
    links = (wants / name for wants in _wants(directory))
    return [link for link in links if os.path.islink(link)]


def _wants(directory: Path) -> list[Path]:
    """Return the directories of the links that enable units."""
    return [path for path in _paths(directory) if path.suffix in (".wants", ".requires")]


def _paths(directory: Path) -> list[Path]:
    """Return the paths in a directory; none if it cannot be read, since systemd then starts no unit from it."""
    try:
        return list(map(directory.joinpath, os.listdir(directory)))
    except OSError:
        return []


def _is_mask(path: Path) -> bool:
    """Return whether a unit is empty or a link to /dev/null, so that systemd does not start it (systemd.unit(5))."""
    return os.path.exists(path) and path.stat().st_size == 0


def _is_of_other_home(runtime_id: str) -> bool:
    """Return whether a unit belongs to a runtime in another MRMD_HOME, which exists."""
    home: Path | None = user_home() / ".mrmd"  # for an instance of the template
    try:
        environment = unit.environment_path(unit_path(runtime_id).read_text(encoding="utf-8"), runtime_id)
        home = environment and environment.parents[1]
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError):
        return False
    return home is not None and is_other_home(home)


def _mask(name: str) -> str | None:
    """Return the name under which a unit or its template is masked, if it is. To ask systemd takes longer."""
    directories = (_unit_directory(), Path(_runtime_directory(), "systemd/user"), *_MASK_DIRECTORIES)
    files = (directory / each for each in (name, TEMPLATE) for directory in directories)
    return next((file.name for file in files if _is_mask(file)), None)


def _encode(content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise ServiceError("systemd needs UTF-8 paths, and one of these is not; use --backend fork") from None


def _install_template(directory: Path) -> bool:
    """Write the template, unless the user has masked it; return whether another one was there."""
    path, content = directory / TEMPLATE, unit.render_template().encode()
    exists = path.exists()
    is_current = exists and (_is_mask(path) or path.read_bytes() == content)
    if not is_current:
        write_atomically(path, content)
    return exists and not is_current


def _is_loaded(name: str, path: Path) -> bool:
    """Return whether the manager has loaded a unit as it is on disk now.

    It finds new units by itself. The others need a daemon-reload, which parses all units again (systemctl(1)).
    """
    answer = _checked("show", "--property=FragmentPath", "--property=NeedDaemonReload", name)
    return _properties(answer.stdout) == {"FragmentPath": str(path), "NeedDaemonReload": "no"}


def _stop(name: str, directories: Iterable[Path], seconds: float) -> None:
    """Stop and disable a unit, and let the manager forget its failures."""
    stopped = _systemctl("stop", name, timeout=seconds)
    if "canceled" in stopped.stderr:  # a start replaces the job of a stop, and the other way round
        raise StopCanceledError(f"{name} was not stopped, because another command has just started it")
    if stopped.returncode not in (0, _NOT_LOADED):
        raise ServiceError(f"systemd cannot stop {name}: {stopped.stderr.strip()}")
    if any(_links(directory, name) for directory in directories):
        _systemctl("disable", name)
    _systemctl("reset-failed", name)


def _start(verb: str, name: str, timeout: float | None, *, wait: bool) -> None:
    started = _systemctl(verb, *([] if wait else ["--no-block"]), name, timeout=timeout)
    if started.returncode != 0:
        raise StartFailedError(_last_lines_of_last_run(name) or started.stderr.strip())


def _systemctl(*arguments: str, timeout: float | None = _ANSWER_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run ``systemctl --user``.

    Raises:
        ServiceError: there is no systemctl, or the manager does not answer in time.
    """
    try:
        return run(_command(arguments), timeout, _environ())
    except FileNotFoundError:
        raise NotInstalledError("systemctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"the systemd user manager did not answer `systemctl --user {arguments[0]}` within {timeout or 0:.0f} s; "
            "see `systemctl --user status`, or use --backend fork"
        ) from None


@contextmanager
def _in_parallel(*arguments: str) -> Iterator[None]:
    """Run ``systemctl --user`` while the block runs, whether it succeeds or not."""
    with subprocess.Popen(
        _command(arguments),
        env=for_programs(_environ()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        except BaseException:
            process.kill()  # a manager that does not answer one call does not answer the other
            raise


def _command(arguments: Sequence[str]) -> list[str]:
    return ["systemctl", "--user", "--no-pager", "--no-ask-password", *arguments]


def _environ() -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": _runtime_directory(), "LC_ALL": "C.UTF-8"}


def _checked(verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = _systemctl(verb, *arguments)
    if done.returncode != 0:
        raise ServiceError(f"`systemctl --user {' '.join([verb, *arguments])}` failed: {done.stderr.strip()}")
    return done


def _shown(name: str, key: str) -> str:
    return _checked("show", f"--property={key}", "--value", name).stdout.strip()


def _loaded_units() -> dict[str, State]:
    """Return the units that the manager has loaded.

    Raises:
        ServiceError: there is no manager, or it does not answer.
    """
    _check_manager()
    units: dict[str, State] = {}
    answer = _checked("show", "--property=Id,LoadState,ActiveState,MemoryCurrent", _ALL_UNITS)
    for block in answer.stdout.split("\n\n"):
        found = _properties(block)
        status = _STATUSES.get(found.get("ActiveState", "inactive"), "starting")
        if not found or (found["LoadState"] == "masked" and status == "stopped"):
            continue
        memory = found.get("MemoryCurrent", "")  # "[not set]" where there is no memory controller
        units[found["Id"]] = State(status, int(memory) if memory.isdecimal() else None, _is_enabled(found["Id"]))
    return units


def _properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _check_manager() -> None:
    """Raise NotInstalledError if no user manager is running."""
    if not _socket().exists():
        # sd_booted(3): elsewhere there is no logind that could start one.
        how = "; to start one: loginctl enable-linger" if os.path.isdir("/run/systemd/system") else ""
        raise NotInstalledError(f"no user manager is running (there is no {_socket()}){how}")


def _manager_variables() -> frozenset[str]:
    """Return the names of the variables that the user manager sets for every unit.

    Raises:
        ServiceError: there is no manager, it does not answer, or it looks for units in other directories.
    """
    _check_manager()
    answer = _systemctl("show", "--property=UnitPath", "--property=Environment")
    if answer.returncode != 0:
        raise ServiceError(answer.stderr.strip() or "the user manager does not answer")
    found = _properties(answer.stdout)
    directory = _unit_directory()
    if str(directory) not in _words(found.get("UnitPath", "")):
        raise ServiceError(
            f"the user manager does not look for units in {directory}: HOME or XDG_CONFIG_HOME differ from its own"
        )
    names = {word.partition("=")[0] for word in _words(found.get("Environment", ""))}
    return frozenset(name for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name))


def _words(shown: str) -> list[str]:
    r"""Return the elements of a list as ``systemctl show`` prints it.

    An element is in double quotes if it has characters that a shell would interpret, with a backslash before each of
    ``"\`$``; control characters are escaped as in C, which no path or name that is looked for here has.
    """
    return [
        re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', shown)
    ]


def _socket() -> Path:
    """Return the manager's private socket. If it does not exist, systemctl would fail, too, but more slowly."""
    return Path(_runtime_directory(), "systemd", "private")


def _runtime_directory() -> str:
    """Return the user's XDG_RUNTIME_DIR.

    su, sudo and cron leave the variable unset or another user's, and then systemctl does not find the user manager. The
    directory must be owned by the user (XDG Base Directory Specification).
    """
    named = os.environ.get("XDG_RUNTIME_DIR")
    try:
        if named and os.stat(named).st_uid == os.geteuid():
            return named
    except OSError:
        pass
    return f"/run/user/{os.geteuid()}"


def _manager_is_outside() -> bool:
    """Return whether this is a container that shares the home and the user manager of its host, but not the system.

    toolbox and distrobox make such ones. Where systemd has booted the container itself, there is
    /run/systemd/container.
    """
    is_container = any(map(os.path.exists, ("/run/.toolboxenv", "/run/.containerenv")))
    return (is_container or "DISTROBOX_ENTER_PATH" in os.environ) and not os.path.exists("/run/systemd/container")


def _is_enabled(name: str) -> bool:
    return bool(_links(_unit_directory(), name))


def _verify(path: Path) -> None:
    """Raise ServiceError, with systemd's message, if a unit has lines that systemd would ignore."""
    command = ["systemd-analyze", "--user", "--man=no", "verify", str(path)]
    try:
        checked = run(command, _ANSWER_SECONDS, os.environ | {"LC_ALL": "C.UTF-8"})
    except subprocess.TimeoutExpired:
        raise ServiceError(f"systemd-analyze did not check {path} within {_ANSWER_SECONDS:.0f} s") from None
    errors = [line.partition(f"{path}:")[2] for line in checked.stderr.splitlines() if f"{path}:" in line]
    if errors:
        raise ServiceError(f"systemd does not accept a --property: {'; '.join(errors)}")


def _lingers() -> bool | None:
    """Return whether the user manager outlives the user's last logout (loginctl(1), enable-linger); None if unknown."""
    command = ["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"]
    try:
        return {"yes": True, "no": False}.get(run(command, _ANSWER_SECONDS).stdout.strip())
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None


def _last_lines_of_last_run(name: str) -> str:
    """Return the last lines that a unit logged in its last run, or an empty string."""
    invocation = _systemctl("show", "--property=InvocationID", "--value", name).stdout.strip()
    if not invocation:
        return ""
    return _read_journal(
        ["journalctl", "--quiet", "--output=cat", "--lines=10", f"_SYSTEMD_INVOCATION_ID={invocation}"]
    )


def _read_journal(journalctl: list[str]) -> str:
    try:
        return run([*journalctl, "--no-pager"]).stdout.strip()
    except FileNotFoundError:
        return ""


BACKEND = SystemdBackend
