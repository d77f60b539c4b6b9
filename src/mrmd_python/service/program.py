"""Other programs, which are asked something."""

import subprocess
from collections.abc import Mapping, Sequence


def ask(
    command: Sequence[str], timeout: float | None = None, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program without any input, in this environment or another, and return its status and what it says.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it does not end within so many seconds.
    """
    return subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        check=False,
    )
