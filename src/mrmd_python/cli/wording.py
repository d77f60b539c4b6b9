"""Amounts and states as people read them."""

import os

import click

_COLORS = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": None}


def memory(amount: int | None) -> str:
    """Return a number of bytes, as ``ls -h`` writes it."""
    if amount is None:
        return "-"
    size = float(amount)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def span(seconds: float | None) -> str:
    """Return a span of time in its two largest units."""
    if seconds is None:
        return "-"
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def state(text: str) -> str:
    """Return a state, coloured where colours are wanted."""
    return text if "NO_COLOR" in os.environ else click.style(text, fg=_COLORS.get(text, "red"))
