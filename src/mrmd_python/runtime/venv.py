"""Which Python runs the code, and in which directory."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mrmd_python.runtime import ServiceError

# What chose the Python: the --venv option, the venv that mrmd-python is installed in, the environment, or nothing.
VenvSource = Literal["option", "own", "VIRTUAL_ENV", "system"]


class VenvError(ServiceError):
    """A venv has no usable Python; the message says what to do."""


@dataclass(frozen=True)
class Venv:
    """An interpreter: its prefix, its path, and what chose it."""

    prefix: str
    python: str
    source: VenvSource


def absolute_path(typed: str) -> Path:
    """Return a path that the user typed, which may start with ``~``, as an absolute path.

    Raises:
        ServiceError: it starts with ``~name`` and there is no such user.
    """
    try:
        return Path(typed).expanduser().absolute()
    except RuntimeError as error:
        raise ServiceError(f"{typed}: {error}") from None


def working_directory(cwd: str | None) -> Path:
    """Return the working directory of code: `cwd`, or the current directory if None.

    Raises:
        ServiceError: it does not exist.
    """
    try:
        found = absolute_path(cwd if cwd is not None else os.getcwd())
    except FileNotFoundError:
        raise ServiceError("the current directory does not exist any more; cd to another one, or use --cwd") from None
    if not found.is_dir():
        raise ServiceError(f"the cwd {found} {'is not a directory' if found.exists() else 'does not exist'}")
    return found


def find_venv(venv: str | None, environ: Mapping[str, str]) -> Venv:
    """Return the Python that runs the code: that of `venv`, or the default if None.

    Args:
        venv: the path of an environment or of its Python.
        environ: the caller's environment, whose VIRTUAL_ENV names the active venv.

    Raises:
        ServiceError: the environment has no usable Python.
    """
    return _default_venv(environ) if venv is None else _named_venv(absolute_path(venv))


def python_of(prefix: Path) -> Path | None:
    """Return the interpreter of an environment, a venv or a conda prefix, or None if it has none."""
    candidates = (prefix / "bin" / name for name in ("python", "python3"))
    return next((python for python in candidates if os.path.exists(python)), None)


def unused_project_venv(cwd: Path, chosen: Venv) -> Path | None:
    """Return the project's own ``.venv`` if it exists but was not chosen; None if the user chose a venv by option."""
    local = cwd / ".venv"
    is_another = (local / "pyvenv.cfg").exists() and local.resolve() != Path(chosen.prefix).resolve()
    return local if is_another and chosen.source != "option" else None


def _named_venv(path: Path) -> Venv:
    if not path.exists():
        raise VenvError(f"the venv {path} does not exist; create it with `python -m venv {path}` or `uv venv {path}`")
    if path.is_file():
        return Venv(str(path.parent.parent), _executable(path), "option")
    return _venv_at(path, "option")


def _default_venv(environ: Mapping[str, str]) -> Venv:
    own = Path(sys.prefix)
    if _is_environment(own) and not _is_tool_environment(own):
        return Venv(str(own), sys.executable, "own")
    active = environ.get("VIRTUAL_ENV")
    if active and Path(active) != own:
        try:
            return _venv_at(Path(active).absolute(), "VIRTUAL_ENV")
        except VenvError as error:
            raise VenvError(f"VIRTUAL_ENV: {error}") from None
    return _system_python(own)


def _is_environment(prefix: Path) -> bool:
    return sys.prefix != sys.base_prefix or (prefix / "conda-meta").is_dir()


def _is_tool_environment(prefix: Path) -> bool:
    """Return whether an installer made this environment only for mrmd-python, so it is not the user's."""
    return (
        (prefix / "uv-receipt.toml").exists()  # uv tool install
        or (prefix / "pipx_metadata.json").exists()  # pipx
        # uvx: environments that uv keeps in its cache, which is tagged (https://bford.info/cachedir/)
        or any((parent / "CACHEDIR.TAG").exists() for parent in prefix.parents)
    )


def _system_python(own: Path) -> Venv:
    """Return the Python outside any venv: the first on PATH, or the one that the venv of this process is based on."""
    if not _is_environment(own):
        return Venv(str(own), sys.executable, "system")
    import shutil

    for directory in os.get_exec_path():
        if Path(directory).parent != own:
            python = shutil.which("python3", path=directory)
            if python is not None:
                return Venv(str(Path(python).parent.parent), python, "system")
    base = getattr(sys, "_base_executable", None)
    if not base:
        raise VenvError("no python3 on PATH; name an environment with --venv")
    return Venv(sys.base_prefix, base, "system")


def _venv_at(prefix: Path, source: VenvSource) -> Venv:
    python = python_of(prefix)
    if python is None:
        raise VenvError(
            f"{prefix} has no bin/python: it is not a venv, or a broken one; recreate it or name another with --venv"
        )
    return Venv(str(prefix), _executable(python), source)


def _executable(python: Path) -> str:
    if not os.access(python, os.X_OK):
        raise VenvError(f"{python} is not executable")
    return str(python)
