"""What every keeper of processes can do, and which one keeps a new runtime."""

import os
import sys
from collections.abc import Mapping
from typing import Protocol

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec

NAMES = ("systemd", "launchd", "fork")


class StartFailedError(ServiceError):
    """A runtime's server ended, or said why it cannot serve, before it was ready."""


class Backend(Protocol):
    """One way to keep a server running apart from whoever started it."""

    name: str

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> None:
        """Start the server and return when it has announced itself.

        Raises:
            StartFailedError: it did not come up, and the keeper has forgotten it.
            ServiceError: the keeper itself failed.
        """

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """End the server, dead or alive, and forget what `start` told the keeper. Returns when it is gone.

        Raises:
            ServiceError: it does not end.
        """

    def is_active(self, runtime_id: str) -> bool:
        """Return whether the keeper itself runs the server of an id, or is about to."""


def choose(name: str | None) -> Backend:
    """Return the backend of that name or, for None, the one this machine has.

    Raises:
        ServiceError: that backend cannot work here; the message says why.
    """
    from mrmd_python.service.fork import ForkBackend
    from mrmd_python.service.launchd import LaunchdBackend
    from mrmd_python.service.systemd import SystemdBackend, manager

    name = name or os.environ.get("MRMD_BACKEND") or None
    if name not in (None, *NAMES):
        raise ServiceError(f"MRMD_BACKEND is {name!r}: it must be one of {', '.join(NAMES)}")
    if name == "launchd" or (name is None and sys.platform == "darwin"):
        if sys.platform != "darwin":
            raise ServiceError("the launchd backend needs macOS; use --backend fork")
        return LaunchdBackend()
    if name == "fork":
        return ForkBackend()
    try:
        manager()
    except ServiceError as fault:
        if name == "systemd":
            raise ServiceError(f"the systemd backend needs a user manager: {fault}. Use --backend fork") from None
        return ForkBackend()
    return SystemdBackend()
