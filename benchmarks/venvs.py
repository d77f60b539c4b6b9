"""Makes the virtual environments of the peers, with packages from PyPI, the same Python and the same pandas."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_COMMON = ["pandas"]


class UnavailableError(Exception):
    """A peer cannot be installed here."""


def make(cache: Path, name: str, packages: Sequence[str], *, fresh: str | None = None) -> Path:
    """Return the Python of a venv that has `packages`.

    Args:
        cache: the directory of all venvs.
        name: the name of the venv. An existing one is used again if it was made with the same packages.
        packages: requirements, or the directory of a source tree.
        fresh: one of the packages, to install again each time, because its content can change without its version.

    Raises:
        UnavailableError: the packages cannot be installed; the message says why.
    """
    directory = cache / name
    python = directory / "bin" / "python"
    wanted = "\n".join([sys.version, *_COMMON, *packages])
    made_of = directory / "made-of"
    if not (made_of.exists() and made_of.read_text() == wanted):
        _uv("venv", "--clear", "--python", _base_python(), str(directory))
        _uv("pip", "install", "--compile-bytecode", "--python", str(python), *_COMMON, *packages)
        made_of.write_text(wanted)
    elif fresh is not None:
        _uv("pip", "install", "--compile-bytecode", "--reinstall", "--no-deps", "--python", str(python), fresh)
    return python


def _base_python() -> str:
    """Return the interpreter that the benchmark's venv is based on."""
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "--quiet", *arguments], capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode != 0:
        raise UnavailableError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "uv failed")
