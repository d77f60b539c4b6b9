"""Runtimes in a terminal, or in a process that another program owns. Nothing restarts them."""

from mrmd_python.manager.backends.base import Backend
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service


class ForegroundBackend(Backend):
    """The backend of runtimes started with --foreground."""

    name = "foreground"
    noun = "a foreground process"

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check the spec. Its backend stays None, unlike that of a runtime under a service manager."""
        super().prepare(spec)
        return spec

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Raise an error: the runtime belongs to another terminal."""
        raise ServiceError(f"{runtime_id!r} runs in the foreground of a terminal: restart it there")

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service that logs to the terminal."""
        return Service(backend=self.name, unit=None, log="the terminal it runs in", failure_status=1)


BACKEND = ForegroundBackend
