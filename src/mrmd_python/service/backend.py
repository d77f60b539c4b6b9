"""What every keeper of processes can do."""

from collections.abc import Mapping
from typing import Protocol

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec


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
