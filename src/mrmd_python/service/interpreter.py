"""Where an environment, be it a venv or a conda prefix, has its Python."""

import os
from pathlib import Path


def python_of(prefix: Path) -> Path | None:
    """Return the interpreter of an environment, or None if there is none."""
    candidates = (prefix / "bin" / name for name in ("python", "python3"))
    return next((python for python in candidates if os.path.exists(python)), None)
