"""Where a runtime answers."""

from typing import NamedTuple
from urllib.parse import urlsplit

from mrmd_python.runtime import ServiceError, registry, token
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record


class Address(NamedTuple):
    """Where a runtime answers, and its token, if any."""

    port: int
    token: str | None
    host: str = "127.0.0.1"


def address_of(home: Home, record: Record) -> Address:
    """Return where the runtime of a record answers: on this machine or, as a Slurm job, on another one.

    Raises:
        ServiceError: it can be reached only from another host or container, or its token cannot be read.
    """
    host = urlsplit(record.url).hostname
    if host is None or host == "localhost":
        if registry.lives_elsewhere(home, record):
            raise ServiceError(f"{record.id!r} runs on {record.hostname}, and can be reached only from there")
        host = "127.0.0.1"  # it listens there in any case; "localhost" may have another program on ::1
    secret = None if record.token_file is None else token.read(home.token(record.id))
    return Address(record.port, secret, host)


def record_of(home: Home, runtime_id: str) -> Record:
    """Return the record of a runtime that runs.

    Raises:
        ServiceError: it does not run, or its record cannot be read.
    """
    record = registry.read(home, runtime_id)
    if record is None:
        raise not_running(runtime_id)
    return record


def not_running(runtime_id: str) -> ServiceError:
    """Return the error for an id that no running runtime has."""
    return ServiceError(f"no runtime named {runtime_id!r} is running; start it with: mrmd-python --id {runtime_id}")
