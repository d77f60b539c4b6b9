"""Where the log of a runtime is, and what shows it."""

from mrmd_python.service import journal, predecessor, registry, systemctl
from mrmd_python.service.home import Home
from mrmd_python.service.registry import UnreadableRecordError


def command(home: Home, runtime_id: str, *, follow: bool, lines: int) -> list[str] | None:
    """Return the command that shows the last `lines` of a log, that of an ended runtime too; None if there is none."""
    try:
        record = registry.read(home, runtime_id)
    except UnreadableRecordError:
        record = None
    older = record is not None and record.backend == predecessor.NAME
    log = predecessor.log_file(home, runtime_id) if older else home.log(runtime_id)
    if record.backend == "systemd" if record is not None else systemctl.unit_path(runtime_id).exists():
        return journal.command(runtime_id, f"--lines={lines}", *["--follow"] * follow)
    if log.exists():
        # -F: the file is rotated (tail(1)).
        return ["tail", "-n", str(lines), *["-F"] * follow, "--", str(log)]
    return journal.command(runtime_id, f"--lines={lines}") if journal.has_any(runtime_id) else None
