"""Faults that several actions tell in the same words."""

from mrmd_python.service.errors import ServiceError


def no_such_runtime(runtime_id: str) -> ServiceError:
    """Return what is said of an id that no runtime has."""
    return ServiceError(f"there is no runtime {runtime_id!r}; `mrmd-python --list` shows those there are")
