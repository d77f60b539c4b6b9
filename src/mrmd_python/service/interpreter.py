"""Where an environment, be it a venv or a conda prefix, has its Python."""

from pathlib import Path


def python_of(prefix: Path) -> Path | None:
    """Return the interpreter of an environment, or None if there is none."""
    return next((python for name in ("python", "python3") if (python := prefix / "bin" / name).exists()), None)
