"""Which Python a runtime's sessions run in, and why."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.interpreter import python_of
from mrmd_python.service.spec import VenvSource


class VenvError(ServiceError):
    """There is no interpreter where one was named; the message says what to do."""


@dataclass(frozen=True)
class Venv:
    """An interpreter: its prefix, its path, and who chose it."""

    prefix: str
    python: str
    source: VenvSource


def named(found: Path) -> Venv:
    """Return the venv that ``--venv`` names: its folder, or its python.

    Raises:
        VenvError: there is none.
    """
    if not found.exists():
        raise VenvError(f"the venv {found} does not exist; make it with `python -m venv {found}` or `uv venv {found}`")
    if found.is_file():
        return Venv(str(found.parent.parent), _executable(found), "option")
    return _of_prefix(found, "option")


def detect(environ: Mapping[str, str]) -> Venv:
    """Return the venv that a command means which names none.

    Raises:
        VenvError: VIRTUAL_ENV names one that is not there, or no Python is installed.
    """
    own = Path(sys.prefix)
    if _is_environment(own) and not _is_tool_environment(own):
        return Venv(str(own), sys.executable, "own")
    active = environ.get("VIRTUAL_ENV")
    if active and Path(active) != own:
        try:
            return _of_prefix(Path(active).absolute(), "VIRTUAL_ENV")
        except VenvError as error:
            raise VenvError(f"VIRTUAL_ENV: {error}") from None
    return _system(own)


def overlooked(folder: Path, chosen: Venv) -> Path | None:
    """Return the venv in a folder that may be meant by who names none and gets another, or None if there is none."""
    local = folder / ".venv"
    is_another = (local / "pyvenv.cfg").exists() and local.resolve() != Path(chosen.prefix).resolve()
    return local if is_another and chosen.source != "option" else None


def _is_environment(prefix: Path) -> bool:
    return sys.prefix != sys.base_prefix or (prefix / "conda-meta").is_dir()


def _is_tool_environment(prefix: Path) -> bool:
    """Return whether an installer made this environment for the tool alone, so that nobody means it."""
    return (
        (prefix / "uv-receipt.toml").exists()  # uv tool install
        or (prefix / "pipx_metadata.json").exists()  # pipx
        # uvx: environments that uv keeps in its cache, which is tagged (https://bford.info/cachedir/)
        or any((parent / "CACHEDIR.TAG").exists() for parent in prefix.parents)
    )


def _system(own: Path) -> Venv:
    """Return the Python outside any venv: the first on PATH, or the one below the environment this runs in."""
    if not _is_environment(own):
        return Venv(str(own), sys.executable, "system")
    for folder in os.get_exec_path():
        if Path(folder).parent != own:
            python = shutil.which("python3", path=folder)
            if python is not None:
                return Venv(str(Path(python).parent.parent), python, "system")
    base = getattr(sys, "_base_executable", None)
    if not base:
        raise VenvError("no python3 is on PATH; name an environment with --venv")
    return Venv(sys.base_prefix, base, "system")


def _of_prefix(prefix: Path, source: VenvSource) -> Venv:
    python = python_of(prefix)
    if python is None:
        raise VenvError(
            f"{prefix} has no bin/python: it is not a venv, or a broken one; make it again or name another with --venv"
        )
    return Venv(str(prefix), _executable(python), source)


def _executable(python: Path) -> str:
    if not os.access(python, os.X_OK):
        raise VenvError(f"{python} cannot be run: it is not executable")
    return str(python)
