"""The registry: one JSON file for each runtime that answers. Editors read it too."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.files import Home, read_file, remove, write_atomically
from mrmd_python.runtime.locks import is_claimed
from mrmd_python.runtime.processes import Process
from mrmd_python.runtime.scope import Scope, has_locks_of_all_hosts
from mrmd_python.runtime.spec import DEFAULT_STOP_TIMEOUT, RuntimeSpec
from mrmd_python.runtime.validate import is_id


class UnreadableRecordError(ServiceError):
    """A registry file has no valid record of this version."""

    # Whether the runtime may still be running. Then its file must stay.
    may_be_running = False

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"cannot read the registry file {path} ({reason}); "
            f"to remove it and what is left of that runtime: mrmd-python --kill {path.stem}"
        )


class OldRecordError(UnreadableRecordError):
    """The record is of mrmd-python 0.4.2 or older.

    It has a pid but no start time. The pid may belong to another process by now, so it is neither used nor killed.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self.may_be_running = _pid_exists(pid)
        ServiceError.__init__(
            self,
            f"{path.stem!r} was started by mrmd-python 0.4.2 or older; if `ps {pid}` shows it, stop it with: "
            f"kill {pid} && rm {path}",
        )


@dataclass(frozen=True)
class Record:
    """The record of a running server. Fields are named as in the file; other programs read the first ten."""

    id: str
    pid: int
    port: int
    host: str
    # The URL of MRP: http://localhost:PORT/mrp/v1
    url: str
    venv: str
    cwd: str
    assets_dir: str | None
    # When the server announced itself: ISO 8601, UTC.
    created: str
    lastActivity: str  # noqa: N815 - the name in the file
    backend: str
    # The systemd unit, the launchd label or the like.
    unit: str | None
    # Identifies the process together with pid (`Process`).
    pid_started: str
    version: str
    # The log file, or the command that shows the log.
    log: str
    python: str
    venv_source: str
    # The `RuntimeSpec` that it was started with, for a restart.
    spec: dict[str, Any]
    # The file with the token that clients must send, if any.
    token_file: str | None
    # Where the pid means something (`Scope`); None in records of older versions.
    hostname: str | None
    pid_namespace: str | None
    # The coalition of launchd that has the processes of this runtime and no others, if any (`libproc.coalition`).
    coalition: str | None

    @property
    def process(self) -> Process:
        """Return the server's process."""
        return Process(self.pid, self.pid_started)

    @property
    def stop_timeout(self) -> int:
        """Return how many seconds the processes of the runtime may take to end after SIGTERM."""
        timeout = self.spec.get("stop_timeout")
        return timeout if type(timeout) is int else DEFAULT_STOP_TIMEOUT

    @property
    def scope(self) -> Scope | None:
        """Return where the server's pid means something; None if unknown."""
        if self.hostname is None or self.pid_namespace is None:
            return None
        return Scope(self.hostname, self.process.boot(), self.pid_namespace)

    def runtime_spec(self) -> RuntimeSpec:
        """Return the spec that the runtime was started with.

        Raises:
            ServiceError: the file has been edited, and the spec is not complete.
        """
        try:
            return RuntimeSpec.from_json(self.spec)
        except TypeError as error:
            raise ServiceError(f"the registry file of {self.id!r} has no valid spec: {error}") from None


_TYPES: dict[str, tuple[type, ...]] = {
    **{field.name: (str,) for field in fields(Record)},
    "pid": (int,),
    "port": (int,),
    "assets_dir": (str, type(None)),
    "unit": (str, type(None)),
    "spec": (dict,),
    "token_file": (str, type(None)),
    "hostname": (str, type(None)),
    "pid_namespace": (str, type(None)),
    "coalition": (str, type(None)),
}


def now() -> str:
    """Return the time as the registry writes it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat()


def write(home: Home, record: Record) -> None:
    """Write the record of a runtime that answers."""
    write_atomically(home.record(record.id), (json.dumps(asdict(record), indent=2) + "\n").encode())


def read(home: Home, runtime_id: str) -> Record | None:
    """Return the record of a runtime, or None.

    Raises:
        UnreadableRecordError: the file exists, but has no valid record of that id.
    """
    path = home.record(runtime_id)
    try:
        found = json.loads(read_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableRecordError(path, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise UnreadableRecordError(path, "it is not JSON") from None
    if _is_old(found):
        raise OldRecordError(path, found["pid"])
    problem = _problem(found, runtime_id)
    if problem is not None:
        raise UnreadableRecordError(path, problem)
    return Record(**{name: found.get(name) for name in _TYPES})


def read_all(home: Home) -> Iterator[tuple[str, Record | UnreadableRecordError]]:
    """Yield each registered id with its record, or with the error in reading it; sorted by id.

    Raises:
        OSError: the directory exists, but cannot be read.
    """
    try:
        names = os.listdir(home.root / "runtimes")
    except FileNotFoundError:
        return
    ids = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    for runtime_id in sorted(filter(is_id, ids)):
        try:
            record = read(home, runtime_id)
        except UnreadableRecordError as error:
            yield runtime_id, error
        else:
            if record is not None:
                yield runtime_id, record


def lives_elsewhere(home: Home, record: Record) -> bool:
    """Return whether the server that wrote `record` lives on another host or in another PID namespace, or may do so.

    Its process cannot be seen from here. The lock on its claim can, except by other hosts on some file systems.
    """
    scope = record.scope
    if scope is None or scope.is_here():
        return False
    if scope.is_on_other_host() and not has_locks_of_all_hosts(home.root):
        return True
    return is_claimed(home.claim(record.id))


def may_be_running(home: Home, record: Record) -> bool:
    """Return whether the server that wrote `record` is alive, or lives where its process cannot be seen."""
    return lives_elsewhere(home, record) or record.process.is_alive()


def crashed(home: Home, runtime_id: str) -> Record | None:
    """Return the record of the last server of an id if it crashed. For a server that starts: a crash leaves it."""
    try:
        return read(home, runtime_id)
    except UnreadableRecordError:
        return None


def delete(home: Home, runtime_id: str) -> None:
    """Remove the record of an id, valid or not."""
    remove(home.record(runtime_id))


@contextmanager
def set_aside(home: Home, runtime_id: str) -> Iterator[None]:
    """Move the record of an id away while the block starts it again; move it back if that fails.

    The record has the options for another restart. A server that found it would report that the last one has crashed.
    A file can be renamed even where the disk is full.
    """
    path, aside = home.record(runtime_id), home.record_aside(runtime_id)
    path.replace(aside)
    try:
        yield
    except BaseException:
        aside.replace(path)
        raise
    aside.unlink()


def withdraw(home: Home, record: Record) -> None:
    """Remove the record, unless another server of that id has written its own since.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        if read(home, record.id) != record:
            return
    except UnreadableRecordError:
        pass
    home.record(record.id).unlink(missing_ok=True)


def _is_old(found: Any) -> bool:
    """Return whether a file's content is a record of mrmd-python 0.4.2 or older."""
    return (
        isinstance(found, dict)
        and "pid_started" not in found
        and all(isinstance(found.get(name), str) for name in ("id", "host", "url", "venv"))
        and type(found.get("pid")) is int
        and 0 < found["pid"] < 2**31
    )


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _problem(found: Any, runtime_id: str) -> str | None:
    """Return why a file's content is not the record of a runtime, or None if it is."""
    if not isinstance(found, dict):
        return "it is not a JSON object"
    for name, kind in _TYPES.items():
        if not isinstance(found.get(name), kind) or isinstance(found.get(name), bool):
            return f"its {name!r} is missing or has the wrong type"
        if isinstance(found.get(name), str) and not _is_text(found[name]):
            return f"its {name!r} is not text"
    if not (0 < found["pid"] < 2**31 and 0 < found["port"] < 2**16):
        return "its 'pid' or 'port' is out of range"
    return None if found["id"] == runtime_id else f"its id is {found['id']!r}"


def _is_text(value: str) -> bool:
    """Return whether a string can be printed or be a path: JSON can contain NUL and lone surrogates."""
    try:
        return "\0" not in os.fsdecode(os.fsencode(value))
    except UnicodeEncodeError:
        return False
