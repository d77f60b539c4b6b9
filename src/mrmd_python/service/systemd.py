"""Runtimes as units of the systemd user manager. The functions are named after the systemctl verbs they call."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mrmd_python.service import templates
from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.environment import SERVICE
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, write_atomically
from mrmd_python.service.registry import Record
from mrmd_python.service.runtime_id import UNIT_PREFIX, UNIT_SUFFIX, unit_name
from mrmd_python.service.spec import RuntimeSpec

# Of the manager's variables, those that tell who the user is and how to reach the session's own services.
_OF_THE_USER = {"DBUS_SESSION_BUS_ADDRESS", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER", "XDG_RUNTIME_DIR"}
_ANSWER_SECONDS = 10.0
_START_SECONDS = 120.0  # above the unit's TimeoutStartSec
_STOP_SECONDS = 30.0  # above the unit's TimeoutStopSec


def _systemctl(*arguments: str, timeout: float = _ANSWER_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run ``systemctl --user``.

    Raises:
        ServiceError: there is no systemctl, or the manager does not answer in time.
    """
    environ = dict(os.environ)
    # su, sudo and cron leave it unset, and without it systemctl does not find the user's manager.
    environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    try:
        return subprocess.run(
            ["systemctl", "--user", "--no-pager", "--no-ask-password", *arguments],
            env=environ | {"LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise ServiceError("systemctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"the systemd user manager did not answer `systemctl --user {arguments[0]}` within {timeout:.0f} s; "
            "see `systemctl --user status`, or use --backend fork"
        ) from None


@dataclass(frozen=True)
class Manager:
    """The user manager, as far as it matters to a unit."""

    folder: Path
    """Where the user's own units lie (systemd.unit(5), "User Unit Search Path")."""
    variables: frozenset[str]
    """The names in the environment that it gives to every unit."""


def manager() -> Manager:
    """Return the user manager.

    Raises:
        ServiceError: there is none, it does not answer, or it looks for units elsewhere; the message says which.
    """
    if shutil.which("systemctl") is None:
        raise ServiceError("systemctl is not installed")
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    # The manager's own socket: without it systemctl could only fail, and more slowly.
    if not (Path(runtime_dir) / "systemd" / "private").exists():
        raise ServiceError(f"none runs for this user (no {runtime_dir}/systemd/private)")
    answer = _systemctl("show", "--property=UnitPath", "--property=Environment")
    if answer.returncode != 0:
        raise ServiceError(answer.stderr.strip() or "it does not answer")
    found = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    folder = unit_folder()
    if str(folder) not in found.get("UnitPath", "").split():
        raise ServiceError(f"it does not look for units in {folder}: HOME or XDG_CONFIG_HOME differ from its own")
    names = {word.lstrip("\"'$").partition("=")[0] for word in found.get("Environment", "").split()}
    return Manager(folder, frozenset(name for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)))


def unit_folder() -> Path:
    """Return where the user's own units should lie."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def quote(word: str) -> str:
    r"""Return `word` as one word of ExecStart= (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").

    Specifiers are kept from being expanded; variables are for `quote_argument` to see to.
    """
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word):
        return word
    escaped = re.sub(r'[\x00-\x1f\x7f"\\]', lambda match: f"\\x{ord(match[0]):02x}", word)
    return f'"{escaped}"'


def quote_argument(word: str) -> str:
    """Return `word` as an argument in ExecStart=: unlike the program's path, that has variables expanded."""
    return quote(word.replace("$", "$$"))


def _environment_file(path: Path) -> str:
    """Return a path as EnvironmentFile= takes it: unquoted to the end of the line, and a glob(7) pattern."""
    text = str(path)
    if re.search(r"[\x00-\x1f]|\\$|^\s|\s$", text):
        raise ServiceError(f"systemd cannot read a file named {text!r}: set MRMD_HOME to a folder with a plain name")
    return re.sub(r"([*?\[\\])", r"\\\1", text).replace("%", "%%")


def render(home: Home, spec: RuntimeSpec, unset: Iterable[str]) -> str:
    """Return the unit of a runtime, complete; `unset` names the manager's variables that it should not have."""
    command = replace(spec, backend="systemd").server_command()
    program, first = [quote(command[0])], command[1:3]
    if re.search(r"[\"'$\\]", command[0]):  # systemd runs no program of such a name
        program, first = ["/bin/sh", "-c", quote_argument('exec "$0" "$@"')], command[:3]
    filled = {
        "@ID@": spec.id.replace("%", "%%"),
        "@UNSET@": " ".join(sorted(unset)),
        "@ENVIRONMENT_FILE@": _environment_file(home.environment(spec.id)),
        "@COMMAND@": " \\\n    ".join(
            [" ".join([*program, *map(quote_argument, first)]), *map(quote_argument, command[3:])]
        ),
    }
    template = templates.read("units", f"{UNIT_PREFIX}{UNIT_SUFFIX}")
    unit = re.sub("|".join(filled), lambda match: filled[match[0]], template)
    return unit.replace("UnsetEnvironment=\n", "")  # there is nothing to unset


class SystemdBackend:
    """Runtimes as ``mrmd-python@<id>.service``."""

    name = "systemd"

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> None:
        """Write the unit, load it and start it; systemctl waits for READY=1."""
        unit = unit_name(spec.id)
        found = manager()
        path = found.folder / unit
        try:
            content = render(home, spec, found.variables - environment.keys() - _OF_THE_USER - SERVICE).encode()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except UnicodeEncodeError:
            raise ServiceError(
                "systemd takes only UTF-8, and a path that was given is none; use --backend fork"
            ) from None
        except OSError as error:
            raise ServiceError(f"cannot write the unit {path}: {error.strerror}") from None
        try:
            self._load_and_start(unit)
        except BaseException:
            self.stop(spec.id, None)  # it may be about to be restarted
            raise

    def _load_and_start(self, unit: str) -> None:
        loaded = _systemctl("daemon-reload")
        if loaded.returncode != 0:
            raise ServiceError(f"systemd cannot load units: {loaded.stderr.strip()}")
        _systemctl("reset-failed", unit)  # earlier failures must not count against the start limit
        started = _systemctl("start", unit, timeout=_START_SECONDS)
        if started.returncode != 0:
            raise StartFailedError(_last_log_lines(unit) or started.stderr.strip())

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """Stop the unit, whose cgroup ends with it, and remove it."""
        unit = unit_name(runtime_id)
        path = unit_folder() / unit
        try:
            manager()
        except ServiceError as fault:
            if record is not None and record.is_alive():
                raise ServiceError(f"systemd cannot be told to stop {unit}: {fault}") from None
            path.unlink(missing_ok=True)  # no manager, no unit
            return
        stopped = _systemctl("stop", unit, timeout=_STOP_SECONDS)
        if stopped.returncode not in (0, 5):  # 5: no such unit is loaded (systemctl(1), "Exit status")
            raise ServiceError(f"systemd cannot stop {unit}: {stopped.stderr.strip()}")
        if path.exists():
            path.unlink()
            _systemctl("reset-failed", unit)
            _systemctl("daemon-reload")

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the unit runs, or is being started, restarted or stopped."""
        state = _systemctl("show", "--property=ActiveState", "--value", unit_name(runtime_id)).stdout.strip()
        return state not in ("inactive", "failed", "")


def _last_log_lines(unit: str) -> str:
    """Return the last lines that the unit's last run logged, or nothing."""
    invocation = _systemctl("show", "--property=InvocationID", "--value", unit).stdout.strip()
    if not invocation or shutil.which("journalctl") is None:
        return ""
    log = subprocess.run(
        [
            "journalctl",
            "--user",
            "--quiet",
            "--no-pager",
            "--output=cat",
            "--lines=10",
            f"_SYSTEMD_INVOCATION_ID={invocation}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return log.stdout.strip()
