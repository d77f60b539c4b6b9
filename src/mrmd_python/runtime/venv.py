"""Which Python runs the code, and in which directory."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from mrmd_python.runtime import ServiceError

# What chose the Python: the --venv option, the venv that mrmd-python is installed in, `uv run`, the environment, or
# nothing.
VenvSource = Literal["option", "own", "uv", "VIRTUAL_ENV", "system"]
_ANSWER_SECONDS = 10.0
# Without Apple's developer tools, it is a program that opens a dialog to install them (xcode-select(1)).
_APPLE_PYTHON = "/usr/bin/python3"
# What the names of environments begin with that uv makes for one command.
_UV_TEMPORARY = ".tmp"


class VenvError(ServiceError):
    """A venv has no usable Python; the message says what to do."""


class Venv(NamedTuple):
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


def own_python() -> str:
    """Return the Python that servers run on: this one, unless it ends with the command.

    Raises:
        VenvError: it does, and no other one has mrmd-python.
    """
    if _extended_by_uv() is None:
        return sys.executable
    from importlib import metadata

    installed = Path(str(metadata.distribution("mrmd-python").locate_file("")))
    python = next((python_of(prefix) for prefix in installed.parents if (prefix / "pyvenv.cfg").exists()), None)
    if python is None:
        raise VenvError(f"uv removes {sys.prefix} when this command ends; start the runtime with uvx mrmd-python")
    return str(python)


def python_of(prefix: Path) -> Path | None:
    """Return the interpreter of an environment, a venv or a conda prefix, or None if it has none.

    Raises:
        PermissionError: the environment cannot be read.
    """
    for name in ("python", "python3"):
        python = prefix / "bin" / name
        try:
            python.stat()
        except PermissionError:
            raise
        except OSError:
            continue
        return python
    return None


def notes_on_unused(cwd: Path, chosen: Venv, environ: Mapping[str, str]) -> list[str]:
    """Return a note on each environment that the user may have meant, unless `chosen` was named by option.

    These are the project's own ``.venv`` and the active environment.
    """
    if chosen.source == "option":
        return []
    active = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    if active == sys.prefix:  # as uv run sets it, for an environment that it removes again
        active = None
    # Keyed by identity, since the active environment is often the project's.
    found: dict[Path, str] = {}
    for path in (cwd / ".venv", *([Path(active).absolute()] if active else [])):
        try:
            if python_of(path) is None or path.samefile(chosen.prefix):
                continue
            found.setdefault(path.resolve(), f"{path} is not used; to use it: --venv {path}")
        except PermissionError as error:
            found.setdefault(path, f"{path} is not used: {error.strerror}")
    return list(found.values())


def _named_venv(path: Path) -> Venv:
    if not path.exists():
        raise VenvError(f"the venv {path} does not exist; create it with `python -m venv {path}` or `uv venv {path}`")
    if path.is_file():
        # The file may be a wrapper that sets variables: it is kept.
        return Venv(_ask(_executable(path)).prefix, str(path), "option")
    return _venv_at(path, "option")


def _default_venv(environ: Mapping[str, str]) -> Venv:
    own = Path(sys.prefix)
    extended = _extended_by_uv()
    if extended is not None:
        if extended.name.startswith(_UV_TEMPORARY):
            raise VenvError(f"uv removes {extended} when this command ends: use uv run without --isolated, or --venv")
        return _venv_at(extended, "uv")
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


def _extended_by_uv() -> Path | None:
    """Return the environment that `uv run --with` extends with this one, which it removes again; None elsewhere."""
    try:
        settings = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^extends-environment *= *(.+)$", settings, re.MULTILINE)
    return Path(found[1]) if found is not None else None


def _system_python(own: Path) -> Venv:
    """Return the Python outside any venv: the first on PATH, or the one that the venv of this process is based on."""
    if not _is_environment(own):
        return Venv(str(own), sys.executable, "system")
    import shutil

    for directory in os.get_exec_path():
        if Path(directory).parent != own:
            python = shutil.which("python3", path=directory)
            if python is not None and not (sys.platform == "darwin" and python == _APPLE_PYTHON):
                return _ask(python)
    base = getattr(sys, "_base_executable", None)
    if not base:
        raise VenvError("no python3 on PATH; name an environment with --venv")
    return Venv(sys.base_prefix, base, "system")


def _ask(python: str) -> Venv:
    """Return where a Python says that it is. The shims of pyenv, asdf and mise start one of another directory."""
    import subprocess

    program = "import sys; print(sys.prefix); print(sys.executable)"
    try:
        command = [python, "-E", "-s", "-c", program]
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
        prefix, executable = answer.stdout.splitlines()[-2:]
    except (OSError, ValueError, subprocess.TimeoutExpired):  # the first session reports why it does not run
        return Venv(str(Path(python).parent.parent), python, "system")
    return Venv(prefix, executable or python, "system")


def _venv_at(prefix: Path, source: VenvSource) -> Venv:
    try:
        python = python_of(prefix)
    except PermissionError:
        raise VenvError(f"{prefix} cannot be read: Permission denied; name another environment with --venv") from None
    if python is None:
        raise VenvError(
            f"{prefix} has no bin/python: it is not a venv, or a broken one; recreate it or name another with --venv"
        )
    return Venv(str(prefix), _executable(python), source)


def _executable(python: Path) -> str:
    if not os.access(python, os.X_OK):
        raise VenvError(f"{python} is not executable")
    return str(python)
