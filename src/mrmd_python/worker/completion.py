"""Completion of code, from what the session holds."""

from typing import Any

from .shell import Shell


def complete(shell: Shell, code: str, cursor: int) -> "dict[str, Any]":
    """Return what could stand at `cursor`, in code points, of `code`."""
    return {"matches": [], "cursorStart": cursor, "cursorEnd": cursor}
