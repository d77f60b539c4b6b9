"""The state of each runtime, from its record, its process and its service manager."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from mrmd_python.manager import gpu
from mrmd_python.manager.backends import all_backends, is_out_of_reach, load
from mrmd_python.manager.backends.base import State
from mrmd_python.manager.gpu import GpuMemory
from mrmd_python.runtime import ServiceError, processes, registry
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.locks import is_claimed
from mrmd_python.runtime.registry import OldRecordError, Record, UnreadableRecordError


class Status(NamedTuple):
    """The state of one runtime."""

    id: str
    # running, pending, starting, stopping, stopped, failed, unknown, dead, elsewhere, older or unreadable.
    state: str
    record: Record | None
    # The error in reading its registry file, if any.
    error: ServiceError | None = None
    # Seconds since its server started.
    uptime: float | None = None
    # Bytes of all its processes.
    memory: int | None = None
    # Whether it starts at login; None if its backend cannot do that.
    enabled: bool | None = None
    # What its processes have allocated on GPUs, if that was asked for.
    gpu_memory: tuple[GpuMemory, ...] = ()
    # What else there is to say about the state, as in "pending (Priority)".
    detail: str | None = None
    # What else its service manager knows, by the name to show.
    facts: Mapping[str, str] = MappingProxyType({})


def all_statuses(home: Home) -> list[Status]:
    """Return the runtimes that are registered or known to a service manager, sorted by id."""
    states = _states()
    found = dict(registry.read_all(home))
    ids = sorted({*found, *states, *home.claimed_ids(apart_from=found)})
    return [_with_state(_status(home, each, found.get(each), states.get(each)), states.get(each)) for each in ids]


def status(home: Home, runtime_id: str) -> Status | None:
    """Return one runtime, or None if there is no such runtime."""
    found: Record | UnreadableRecordError | None
    try:
        found = registry.read(home, runtime_id)
    except UnreadableRecordError as error:
        found = error
    state = _states().get(runtime_id)
    if found is None and state is None and not is_claimed(home.claim(runtime_id)):
        return None
    return _with_state(_status(home, runtime_id, found, state), state)


def with_gpu_memory(found: Sequence[Status]) -> list[Status]:
    """Return these runtimes with what their processes have allocated on GPUs."""
    if not gpu.has_driver():
        return list(found)
    pids = {each.id: _processes(each) for each in found}
    held = gpu.held_by(set().union(*pids.values()))
    return [each._replace(gpu_memory=tuple(use for use in held if use.pid in pids[each.id])) for each in found]


def _processes(found: Status) -> set[int]:
    record = found.record
    return load(record.backend).processes(record, None) if record is not None and found.state == "running" else set()


def _states() -> dict[str, State]:
    return {runtime_id: state for backend in all_backends() for runtime_id, state in backend.states().items()}


def _with_state(found: Status, state: State | None) -> Status:
    return found if state is None else found._replace(detail=state.detail, facts=state.facts)


def _status(home: Home, runtime_id: str, found: Record | UnreadableRecordError | None, state: State | None) -> Status:
    enabled = state.enabled if state is not None else None
    if isinstance(found, OldRecordError):
        return Status(runtime_id, "older" if found.may_be_running else "dead", None, found, enabled=enabled)
    if isinstance(found, UnreadableRecordError):
        return Status(runtime_id, "unreadable", None, found, enabled=enabled)
    if found is not None:
        if is_out_of_reach(home, found):
            return Status(runtime_id, "elsewhere", found, enabled=enabled)
        try:
            backend = load(found.backend)
        except ServiceError as error:
            return Status(runtime_id, "unreadable", found, error, enabled=enabled)
        if backend.remote and state is not None:
            uptime = backend.uptime(found) if state.status == "running" else None
            return Status(runtime_id, state.status, found, uptime=uptime, enabled=enabled)
        if backend.is_alive(found):
            memory = state.memory if state is not None else None
            if memory is None:
                memory = sum(map(processes.memory, backend.processes(found, None)))
            return Status(runtime_id, "running", found, None, backend.uptime(found), memory, enabled)
    if state is None:
        return Status(runtime_id, "starting" if is_claimed(home.claim(runtime_id)) else "dead", found)
    return Status(runtime_id, state.status, found, enabled=enabled)
