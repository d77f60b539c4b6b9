"""What is to be told of each runtime: the registry's word, put against its process and its keeper's."""

from dataclasses import dataclass

from mrmd_python.service import registry, systemctl
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.registry import Record, UnreadableRecordError
from mrmd_python.service.systemctl import UnitState
from mrmd_python.service.usage import memory_of, processes_of

_STATES = {
    "activating": "starting",
    "reloading": "starting",
    "deactivating": "stopping",
    "failed": "failed",
    "inactive": "stopped",
}


@dataclass(frozen=True)
class Status:
    """One runtime."""

    id: str
    state: str
    """running, starting, stopping, stopped, failed, dead or unreadable."""
    record: Record | None
    fault: UnreadableRecordError | None = None
    """Why its registry file, if there is one, cannot be read."""
    uptime: float | None = None
    """Seconds since its server started."""
    memory: int | None = None
    """Bytes of all its processes."""
    enabled: bool | None = None
    """Whether it starts at login; None where nothing could start it."""


def all_statuses(home: Home) -> list[Status]:
    """Return all runtimes: those that are registered, and those whose unit systemd has; sorted by id."""
    units = _units()
    found = dict(registry.read_all(home))
    return [
        _status(runtime_id, found.get(runtime_id), units.get(runtime_id)) for runtime_id in sorted({*found, *units})
    ]


def status(home: Home, runtime_id: str) -> Status | None:
    """Return one runtime, or None if there is none of that id."""
    found: Record | UnreadableRecordError | None
    try:
        found = registry.read(home, runtime_id)
    except UnreadableRecordError as error:
        found = error
    unit = _units().get(runtime_id)
    return None if found is None and unit is None else _status(runtime_id, found, unit)


def _units() -> dict[str, UnitState]:
    try:
        return systemctl.states()
    except ServiceError:
        return {}  # what the registry knows can be told without the manager


def _status(runtime_id: str, found: Record | UnreadableRecordError | None, unit: UnitState | None) -> Status:
    enabled = unit.enabled if unit is not None else None
    if isinstance(found, UnreadableRecordError):
        return Status(runtime_id, "unreadable", None, found, enabled=enabled)
    if found is not None and found.is_alive():
        memory = unit.memory if unit is not None else None
        if memory is None:
            memory = sum(map(memory_of, processes_of(found, None)))
        return Status(runtime_id, "running", found, uptime=found.process.age(), memory=memory, enabled=enabled)
    if unit is None:
        return Status(runtime_id, "dead", found)
    # Before it announces itself, and while it ends, a unit is active and the registry has nothing of it.
    return Status(runtime_id, _STATES.get(unit.active, "starting"), found, enabled=enabled)
