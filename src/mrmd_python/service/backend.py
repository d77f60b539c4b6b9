"""What every keeper of processes can do, and which one keeps a new runtime."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.limits import Limits
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec

NAMES = ("systemd", "launchd", "fork")


class StartFailedError(ServiceError):
    """A runtime's server ended, or said why it cannot serve, before it was ready."""


class Backend(Protocol):
    """One way to keep a server running apart from whoever started it."""

    name: str

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Start the server and return when it has announced itself or, if not to `wait`, when the keeper has it.

        What it leaves when it raises is for `stop` to undo.

        Raises:
            StartFailedError: it did not come up.
            ServiceError: the keeper itself failed.
        """

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """End the server, if it lives, and start it again as it was started; return when it has announced itself.

        Raises:
            StartFailedError: it did not come up.
            ServiceError: the keeper itself failed.
        """

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """End the server, dead or alive, and forget what `start` told the keeper. Returns when it is gone.

        Raises:
            ServiceError: it does not end.
        """

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the keeper itself runs the server of an id, or is about to."""

    def enable(self, runtime_id: str) -> None:
        """Have the runtime start by itself at login.

        Raises:
            ServiceError: this keeper cannot do that.
        """

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`.

        Raises:
            ServiceError: this keeper cannot do that.
        """


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
    from mrmd_python.service.fork import ForkBackend
    from mrmd_python.service.launchd import LaunchdBackend, domain
    from mrmd_python.service.systemctl import NoManagerError, manager
    from mrmd_python.service.systemd import SystemdBackend

    name = name or os.environ.get("MRMD_BACKEND") or None
    if name not in (None, *NAMES):
        raise ServiceError(f"MRMD_BACKEND is {name!r}: it must be one of {', '.join(NAMES)}")
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
