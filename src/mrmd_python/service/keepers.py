"""Which keeper has a runtime, and which one is to have a new one."""

import os
import sys
from dataclasses import dataclass

from mrmd_python.service import predecessor, systemctl
from mrmd_python.service.backend import Backend
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.fork import ForkBackend
from mrmd_python.service.launchd import LaunchdBackend, domain, plist_path
from mrmd_python.service.limits import Limits
from mrmd_python.service.predecessor import Predecessor
from mrmd_python.service.registry import Record
from mrmd_python.service.systemctl import NoManagerError, manager, unit_path
from mrmd_python.service.systemd import SystemdBackend

_NAMES = ("systemd", "launchd", "fork")


@dataclass(frozen=True)
class Choice:
    """A backend, and a note for the person where it may not be the one that they expect."""

    backend: Backend
    note: str | None = None


def choose(name: str | None, limits: Limits) -> Choice:
    """Return the backend of that name or, for None, the one this machine has.

    Raises:
        ServiceError: that backend cannot work here, or knows no such limits; the message says which.
    """
    chosen = _choose(name)
    beyond = limits.for_systemd_alone()
    if beyond and chosen.backend.name != "systemd":
        raise ServiceError(
            f"{', '.join(beyond)}: only systemd can do that, and this runtime would be kept by {chosen.backend.name}"
            + (f" ({chosen.note})" if chosen.note else "")
        )
    return chosen


def _choose(name: str | None) -> Choice:
    name = name or os.environ.get("MRMD_BACKEND") or None
    if name not in (None, *_NAMES):
        raise ServiceError(f"MRMD_BACKEND is {name!r}: it must be one of {', '.join(_NAMES)}")
    if name == "launchd" or (name is None and sys.platform == "darwin"):
        try:
            domain()
        except ServiceError as fault:
            if name == "launchd":
                raise ServiceError(f"the launchd backend needs macOS's launchd: {fault}. Use --backend fork") from None
            return Choice(ForkBackend(), f"not a launchd agent, but a daemon: {fault}")
        return Choice(LaunchdBackend())
    if name == "fork":
        return Choice(ForkBackend())
    try:
        found = manager()
    except ServiceError as fault:
        if name == "systemd":
            raise ServiceError(f"the systemd backend needs a user manager: {fault}. Use --backend fork") from None
        absent = isinstance(fault, NoManagerError)
        return Choice(ForkBackend(), None if absent else f"not a systemd unit, but a daemon: {fault}")
    return Choice(SystemdBackend(found))


def keeper_of(runtime_id: str, record: Record | None) -> Backend:
    """Return the backend that keeps an id, judged by its record or else by the files that the backends write."""
    if record is not None and record.backend == predecessor.NAME:
        if record.is_alive() or not is_defined(runtime_id):
            return Predecessor()
        record = None
    if record.backend == "systemd" if record is not None else _is_unit(runtime_id):
        return SystemdBackend()
    if record.backend == "launchd" if record is not None else plist_path(runtime_id).exists():
        return LaunchdBackend()
    return ForkBackend()  # a server in the foreground is ended in the same way


def forget_others(runtime_id: str, successor: str) -> None:
    """Have the keepers that know an id forget it, but for `successor`, which is about to have it."""
    if successor != "systemd" and unit_path(runtime_id).exists():
        SystemdBackend().stop(runtime_id, None)
    if successor != "launchd" and plist_path(runtime_id).exists():
        LaunchdBackend().stop(runtime_id, None)


def is_defined(runtime_id: str) -> bool:
    """Return whether a service manager has been given the runtime to keep."""
    return _is_unit(runtime_id) or plist_path(runtime_id).exists()


def _is_unit(runtime_id: str) -> bool:
    """Return whether systemd has an id, by a unit of its own or as an instance of the template."""
    try:
        return unit_path(runtime_id).exists() or runtime_id in systemctl.states()
    except ServiceError:
        return False  # a manager that does not answer is told of when it is needed
