"""Runtimes of mrmd-python 0.4.2 and older, which may outlive an upgrade: knowing them, and ending them.

Their record has no start time beside the pid, and their processes have no marker. But an older daemon holds its own log
open for as long as it lives, and listens on its port: which no other process does that has its pid by now.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mrmd_python import __version__
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.process_identity import ProcessIdentity
from mrmd_python.service.runtime_id import is_id

if TYPE_CHECKING:
    from pathlib import Path

    from psutil import Process

    from mrmd_python.service.registry import Record
    from mrmd_python.service.spec import RuntimeSpec

NAME = "older"
_KILL_SECONDS = 5.0
_NOBODY = ""


class Predecessor:
    """The keeper of what an older version has started: it starts nothing."""

    name = NAME

    def start(self, home: Home, spec: "RuntimeSpec", environment: Mapping[str, str], *, wait: bool) -> None:
        """Refuse: older versions are not started."""
        raise _not_by_this(spec.id)

    def restart(self, home: Home, runtime_id: str, record: "Record | None") -> None:
        """Refuse: with what environment it was started, nobody knows any more."""
        raise _not_by_this(runtime_id)

    def stop(self, runtime_id: str, record: "Record | None") -> None:
        """SIGKILL the daemon and all that can be told to be its own: its descendants and its process group."""
        import psutil

        if record is None or not record.is_alive():
            return
        ended = _stopped(psutil.Process(record.pid))
        for process in ended:
            process.kill()
        left = psutil.wait_procs(ended, timeout=_KILL_SECONDS)[1]
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            raise ServiceError(f"these processes of {runtime_id!r} do not end, not even by SIGKILL: {pids}")

    def is_active(self, runtime_id: str) -> bool:
        """Return False: nothing starts it again."""
        return False

    def enable(self, runtime_id: str) -> None:
        """Refuse: nobody could start it."""
        raise _not_by_this(runtime_id)

    def disable(self, runtime_id: str) -> None:
        """Do nothing: it is never enabled."""


def record_file(home: Home, runtime_id: str) -> "Path":
    """Return the registry file that an older version has for an id."""
    return home.record(_file_name(runtime_id))


def log_file(home: Home, runtime_id: str) -> "Path":
    """Return the log that an older version has for an id."""
    return home.log(_file_name(runtime_id))


def completed(home: Home, found: Any) -> Any:
    """Return the content of a registry file and, if an older version wrote it, with it all that a record has today."""
    if not isinstance(found, dict) or "pid_started" in found:
        return found
    runtime_id, pid, port, prefix = (found.get(name) for name in ("id", "pid", "port", "venv"))
    if not (
        isinstance(runtime_id, str)
        and is_id(runtime_id)
        and isinstance(prefix, str)
        and type(pid) is int
        and type(port) is int
    ):
        return found
    log = log_file(home, runtime_id)
    process = _daemon(pid, port, log) if 0 < pid < 2**31 else None
    return found | {
        "backend": NAME,
        "unit": None,
        "pid_started": _NOBODY if process is None else process.started,
        "version": f"older than {__version__}",
        "log": str(log),
        "python": os.path.join(prefix, "bin", "python"),
        "venv_source": "an older version's choice",
        "arguments": [],
        "token_file": None,
    }


def note(record: "Record") -> str | None:
    """Return what to tell of a live runtime that an older version has started, None of others."""
    if record.backend != NAME:
        return None
    return f"{record.id!r} is of a version {record.version}; to replace it: `{_replacement(record.id)}`"


def _replacement(runtime_id: str) -> str:
    return f"mrmd-python --kill {runtime_id} && mrmd-python --id {runtime_id}"


def _file_name(runtime_id: str) -> str:
    return runtime_id.replace(":", "_")


def _daemon(pid: int, port: int, log: "Path") -> ProcessIdentity | None:
    """Return the older daemon that has this pid, or None if the pid is now another's or nobody's."""
    import psutil

    process = ProcessIdentity.of(pid)
    if process is None:
        return None
    try:
        asked = psutil.Process(pid)
        if str(log.resolve()) not in (file.path for file in asked.open_files()):
            return None
        ports = [its.laddr.port for its in asked.net_connections("tcp") if its.status == psutil.CONN_LISTEN]
    except (psutil.Error, OSError):
        return None  # gone meanwhile, or another user's
    # It writes its record some seconds before it listens, and runs no code until then.
    return process if port in ports or not ports else None


def _stopped(server: "Process") -> "set[Process]":
    """Return a daemon and all processes of it, stopped one after the other, so that none starts a further one."""
    import psutil

    spared = {os.getpid()}  # a cell of that runtime may run this command
    found: set[Process] = set()
    while True:
        new = {process for process in {server, *_below(server)} - found if process.pid not in spared}
        if not new:
            return found
        for process in new:
            try:
                process.suspend()
                found.add(process)
            except psutil.NoSuchProcess:
                spared.add(process.pid)
            except psutil.AccessDenied:
                spared.add(process.pid)  # another user's by now, by sudo or the like


def _below(server: "Process") -> "set[Process]":
    import psutil

    try:
        found = set(server.children(recursive=True))
        if os.getpgid(server.pid) == server.pid:
            found |= {process for process in psutil.process_iter() if _group(process) == server.pid}
    except (psutil.Error, ProcessLookupError):
        return set()
    return found


def _group(process: "Process") -> int | None:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return None


def _not_by_this(runtime_id: str) -> ServiceError:
    return ServiceError(
        f"{runtime_id!r} was started by an older version, which does not know how to do that; to replace it: "
        f"`{_replacement(runtime_id)}`"
    )
