"""What is asked of the systemd user manager and of logind, each by the program that speaks to it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.program import ask
from mrmd_python.service.runtime_id import TEMPLATE, UNIT_PREFIX, UNIT_SUFFIX, id_of_unit, is_id, unit_name

_ANSWER_SECONDS = 10.0
_ALL = f"{UNIT_PREFIX}?*{UNIT_SUFFIX}"
"""The pattern of all runtimes' units."""


class NoManagerError(ServiceError):
    """This machine or this user has no systemd manager."""


def systemctl(*arguments: str, timeout: float | None = _ANSWER_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run ``systemctl --user``.

    Raises:
        ServiceError: there is no systemctl, or the manager does not answer in time.
    """
    try:
        return ask(_command(arguments), timeout, _environ())
    except FileNotFoundError:
        raise ServiceError("systemctl is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"the systemd user manager did not answer `systemctl --user {arguments[0]}` within {timeout or 0:.0f} s; "
            "see `systemctl --user status`, or use --backend fork"
        ) from None


@contextmanager
def beside(*arguments: str) -> Iterator[None]:
    """Run ``systemctl --user`` while the block runs, whether it succeeds or not."""
    with subprocess.Popen(
        _command(arguments),
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        except BaseException:
            process.kill()  # a manager that does not answer the one does not answer the other
            raise


def _command(arguments: Sequence[str]) -> list[str]:
    return ["systemctl", "--user", "--no-pager", "--no-ask-password", *arguments]


def _environ() -> dict[str, str]:
    # su, sudo and cron leave XDG_RUNTIME_DIR unset, and without it systemctl does not find the user's manager.
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **os.environ, "LC_ALL": "C.UTF-8"}


def succeed(verb: str, *arguments: str) -> None:
    """Run ``systemctl --user VERB``.

    Raises:
        ServiceError: it fails, or does not answer.
    """
    done = systemctl(verb, *arguments)
    if done.returncode != 0:
        raise ServiceError(f"`systemctl --user {' '.join([verb, *arguments])}` failed: {done.stderr.strip()}")


@dataclass(frozen=True)
class Manager:
    """The user manager, as far as it matters to a unit."""

    variables: frozenset[str]
    """The names in the environment that it gives to every unit."""


def manager() -> Manager:
    """Return the user manager.

    Raises:
        ServiceError: there is none, it does not answer, or it looks for units elsewhere; the message says which.
    """
    if shutil.which("systemctl") is None:
        raise NoManagerError("systemctl is not installed")
    if not _socket().exists():
        raise NoManagerError(f"none runs for this user (no {_socket()})")
    answer = systemctl("show", "--property=UnitPath", "--property=Environment")
    if answer.returncode != 0:
        raise ServiceError(answer.stderr.strip() or "it does not answer")
    found = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    folder = unit_folder()
    if str(folder) not in found.get("UnitPath", "").split():
        raise ServiceError(f"it does not look for units in {folder}: HOME or XDG_CONFIG_HOME differ from its own")
    names = {word.lstrip("\"'$").partition("=")[0] for word in found.get("Environment", "").split()}
    return Manager(frozenset(name for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)))


def _socket() -> Path:
    """Return the manager's own socket: without it systemctl could only fail, and more slowly."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "systemd", "private")


def unit_folder() -> Path:
    """Return where the user's own units should lie (systemd.unit(5), "User Unit Search Path")."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def unit_path(runtime_id: str) -> Path:
    """Return where the unit of a runtime lies that was started by the command."""
    return unit_folder() / unit_name(runtime_id)


@dataclass(frozen=True)
class UnitState:
    """A runtime's unit, as the manager sees it."""

    active: str
    """``active``, ``inactive``, ``failed``, ``activating``, ``deactivating`` or ``reloading`` (systemctl(1))."""
    memory: int | None
    """Bytes that its cgroup holds, or None where the kernel does not account for them."""
    enabled: bool
    """Whether it starts at login."""


def states() -> dict[str, UnitState]:
    """Return the units of all runtimes, loaded or lying in the user's folder, by runtime id; none without a manager.

    Raises:
        ServiceError: the manager does not answer.
    """
    if shutil.which("systemctl") is None or not _socket().exists():
        return {}
    lying = {path.name: UnitState("inactive", None, is_enabled(path.name)) for path in unit_folder().glob(_ALL)}
    if not lying and not (unit_folder() / TEMPLATE).exists():
        return {}
    answer = systemctl("show", "--property=Id,ActiveState,MemoryCurrent", _ALL)
    loaded = {}
    for block in answer.stdout.split("\n\n"):
        found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if found:
            memory = found.get("MemoryCurrent", "")  # "[not set]" where there is no memory controller
            loaded[found["Id"]] = UnitState(
                found["ActiveState"], int(memory) if memory.isdecimal() else None, is_enabled(found["Id"])
            )
    units = lying | loaded
    return {id_of_unit(name): units[name] for name in units if is_id(id_of_unit(name))}


def is_enabled(name: str) -> bool:
    """Return whether a unit starts at login, or at boot for a user who lingers."""
    return (unit_folder() / "default.target.wants" / name).is_symlink()


def verify(path: Path) -> None:
    """Refuse a unit in which systemd ignores something, as it does with what it does not know.

    Raises:
        ServiceError: it does; the message is systemd's own.
    """
    command = ["systemd-analyze", "--user", "--man=no", "verify", str(path)]
    try:
        checked = ask(command, _ANSWER_SECONDS, os.environ | {"LC_ALL": "C.UTF-8"})
    except subprocess.TimeoutExpired:
        raise ServiceError(f"systemd-analyze did not check {path} within {_ANSWER_SECONDS:.0f} s") from None
    faults = [line.partition(f"{path}:")[2] for line in checked.stderr.splitlines() if f"{path}:" in line]
    if faults:
        raise ServiceError(f"systemd does not take a --property: {'; '.join(faults)}")


def lingers() -> bool:
    """Return whether the user's manager outlives their last logout (loginctl(1), enable-linger); True if unknown."""
    if shutil.which("loginctl") is None:
        return True
    command = ["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"]
    try:
        return ask(command, _ANSWER_SECONDS).stdout.strip() != "no"
    except subprocess.TimeoutExpired:
        return True
