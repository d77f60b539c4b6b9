"""What systemd's journal has of the runtimes (journalctl(1))."""

import shutil

from mrmd_python.service.program import ask
from mrmd_python.service.runtime_id import unit_name
from mrmd_python.service.systemctl import systemctl


def command(runtime_id: str, *options: str) -> list[str]:
    """Return the command that shows what a runtime has logged."""
    # Not --user: that reads the user's own journal alone, which is not kept where the journal is volatile.
    return ["journalctl", "--quiet", *options, f"--user-unit={unit_name(runtime_id)}"]


def has_any(runtime_id: str) -> bool:
    """Return whether a runtime has ever logged something that is still kept."""
    return bool(shutil.which("journalctl")) and bool(_read(command(runtime_id, "--output=cat", "--lines=1")))


def last_lines_of_last_run(unit: str) -> str:
    """Return the last lines that a unit's last run logged, or nothing."""
    invocation = systemctl("show", "--property=InvocationID", "--value", unit).stdout.strip()
    if not invocation or shutil.which("journalctl") is None:
        return ""
    return _read(["journalctl", "--quiet", "--output=cat", "--lines=10", f"_SYSTEMD_INVOCATION_ID={invocation}"])


def _read(journalctl: list[str]) -> str:
    return ask([*journalctl, "--no-pager"]).stdout.strip()
