"""The registry: one JSON file for each announced runtime, read by editors as well."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mrmd_python.service import predecessor
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, remove, write_atomically
from mrmd_python.service.process_identity import ProcessIdentity
from mrmd_python.service.runtime_id import is_id
from mrmd_python.service.spec import RuntimeSpec


class UnreadableRecordError(ServiceError):
    """A registry file that does not hold a record."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the registry file {path} cannot be read ({why}); "
            f"`mrmd-python --kill {path.stem}` ends what is left of that runtime and removes it"
        )


@dataclass(frozen=True)
class Record:
    """What a running server says of itself, named as in the file; the first ten are read by other programs."""

    id: str
    pid: int
    port: int
    host: str
    url: str
    """Where MRP is, ``http://localhost:PORT/mrp/v1``."""
    venv: str
    cwd: str
    assets_dir: str | None
    created: str
    """When the server announced itself: ISO 8601, UTC."""
    lastActivity: str  # noqa: N815 - the name in the file
    backend: str
    unit: str | None
    """The systemd unit or the launchd label."""
    pid_started: str
    """With pid, which process it is (`ProcessIdentity`)."""
    version: str
    log: str
    """Where its log is: a file, or the command that shows it."""
    python: str
    venv_source: str
    arguments: list[str]
    """The server's command line, from which the runtime can be started again."""
    token_file: str | None
    """Where the token is that clients must show, if they must."""

    @property
    def process(self) -> ProcessIdentity:
        """Return the server's process."""
        return ProcessIdentity(self.pid, self.pid_started)

    def spec(self) -> RuntimeSpec:
        """Return what the runtime was asked to be.

        Raises:
            ServiceError: the file has been changed so that it does not tell.
        """
        try:
            return RuntimeSpec.from_arguments(self.arguments)[0]
        except ValueError as error:
            raise ServiceError(f"the registry does not tell how {self.id!r} was started: {error}") from None

    def is_alive(self) -> bool:
        """Return whether the server that wrote this lives."""
        return self.process.is_alive()


_TYPES: dict[str, tuple[type, ...]] = {
    **{field.name: (str,) for field in fields(Record)},
    "pid": (int,),
    "port": (int,),
    "assets_dir": (str, type(None)),
    "unit": (str, type(None)),
    "arguments": (list,),
    "token_file": (str, type(None)),
}


def now() -> str:
    """Return the time as the registry writes it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat()


def write(home: Home, record: Record) -> None:
    """Announce a runtime."""
    write_atomically(home.record(record.id), (json.dumps(asdict(record), indent=2) + "\n").encode())


def read(home: Home, runtime_id: str) -> Record | None:
    """Return the record of a runtime, or None.

    Raises:
        UnreadableRecordError: there is a file, and it is not a record of that id.
    """
    path = home.record(runtime_id)
    if not path.exists():
        older = predecessor.record_file(home, runtime_id)
        path = older if _id_of(home, older) == runtime_id else path
    found = _content(home, path)
    if found is None:
        return None
    fault = _fault(found, runtime_id)
    if fault is not None:
        raise UnreadableRecordError(path, fault)
    values: dict[str, Any] = {name: found.get(name) for name in _TYPES}
    return Record(**values)


def _content(home: Home, path: Path) -> Any:
    """Return what a registry file holds, with all that records have today; None if there is no such file.

    Raises:
        UnreadableRecordError: there is one, and it is not JSON.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableRecordError(path, error.strerror or str(error)) from None
    except (ValueError, RecursionError):
        raise UnreadableRecordError(path, "it is not JSON") from None
    return predecessor.completed(home, found)


def _fault(found: Any, runtime_id: str) -> str | None:
    """Return what keeps a file's content from being the record of a runtime, None if it is one."""
    if not isinstance(found, dict):
        return "it is not a JSON object"
    for name, kind in _TYPES.items():
        if not isinstance(found.get(name), kind) or isinstance(found.get(name), bool):
            return f"its {name!r} is missing or of the wrong type"
        if isinstance(found.get(name), str) and not _is_text(found[name]):
            return f"its {name!r} is no text"
    if not (0 < found["pid"] < 2**31 and 0 < found["port"] < 2**16):
        return "its 'pid' or 'port' is none"
    if not all(isinstance(argument, str) and _is_text(argument) for argument in found["arguments"]):
        return "its 'arguments' are not all text"
    return None if found["id"] == runtime_id else f"it is of the id {found['id']!r}"


def _is_text(value: str) -> bool:
    """Return whether a string can be a path or be printed: JSON can spell half a surrogate pair."""
    try:
        return "\0" not in os.fsdecode(os.fsencode(value))
    except UnicodeEncodeError:
        return False


def read_all(home: Home) -> Iterator[tuple[str, Record | UnreadableRecordError]]:
    """Yield each registered id with its record, or with what is wrong with its file; sorted by id."""
    for runtime_id in sorted({_id_of(home, path) for path in (home.root / "runtimes").glob("*.json")}):
        if not is_id(runtime_id):
            continue
        try:
            record = read(home, runtime_id)
        except UnreadableRecordError as error:
            yield runtime_id, error
        else:
            if record is not None:
                yield runtime_id, record


def _id_of(home: Home, path: Path) -> str:
    """Return the id of a registry file: its name, unless an older version has changed that."""
    with suppress(UnreadableRecordError):
        found = _content(home, path) if "_" in path.stem else None
        if isinstance(found, dict) and found.get("backend") == predecessor.NAME:
            return str(found["id"])
    return path.stem


def forget(home: Home, runtime_id: str) -> None:
    """Remove what the registry has of an id, whichever version wrote it."""
    older = predecessor.record_file(home, runtime_id)
    if older.exists() and _id_of(home, older) == runtime_id:
        older.unlink(missing_ok=True)
    remove(home.record(runtime_id))


def withdraw(home: Home, record: Record) -> None:
    """Remove the record, unless another server has announced itself under that id since."""
    try:
        if read(home, record.id) != record:
            return
    except UnreadableRecordError:
        pass
    home.record(record.id).unlink(missing_ok=True)
