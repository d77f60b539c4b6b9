"""Runtimes in a terminal, or in a process that another program owns: nothing starts them again."""

from mrmd_python.manager.backends.base import Backend
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service


class ForegroundBackend(Backend):
    """What a runtime started with --foreground has."""

    name = "foreground"
    noun = "a foreground process"

    def prepare(self, spec: RuntimeSpec) -> RuntimeSpec:
        """Check it, and leave it without a backend: it must not look like one that a service manager has started."""
        super().prepare(spec)
        return spec

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Refuse: the terminal is another's."""
        raise ServiceError(f"{runtime_id!r} runs in the foreground of a terminal: restart it there")

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service that logs to the terminal."""
        return Service(backend=self.name, unit=None, log="the terminal it runs in", failure_status=1)


BACKEND = ForegroundBackend
