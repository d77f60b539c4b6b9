"""What a server has written to its log file."""

import sys
from pathlib import Path

_SHOWN_LINES = 10


def tail(log: Path, start: int) -> str:
    """Return the last lines that were written to `log` from the offset `start` on."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        print(f"mrmd-python: cannot read {log}: {error.strerror}", file=sys.stderr)
        return ""
    return "\n".join(lines[-_SHOWN_LINES:])
