"""The environment that a client requests for a session, checked before anything is started."""

import os
from pathlib import Path

import msgspec

from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.venv import python_of
from mrmd_python.server.api.error import RefusedError
from mrmd_python.server.api.request import FieldError, check_path, is_os_string
from mrmd_python.server.environment import SessionEnvironment


class Environment(msgspec.Struct, frozen=True):
    """The requested environment. Absent fields are as in the default session."""

    cwd: str | None = None
    virtualenv: str | None = None
    executable: str | None = None
    # Set in addition to the runtime's own variables; null removes a variable.
    env: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        for name in ("cwd", "virtualenv", "executable"):
            check_path(f"environment.{name}", getattr(self, name))
        for name, value in (self.env or {}).items():
            if not (name and "=" not in name and is_os_string(name) and (value is None or is_os_string(value))):
                raise FieldError("wrong_type", f"the field 'environment.env' has an invalid name or value: {name!r}")
            if name == MARKER:
                raise FieldError("reserved_variable", f"{MARKER} is reserved: the runtime finds its processes by it")

    def resolved(self, default: SessionEnvironment) -> SessionEnvironment | None:
        """Return the session's environment, or None if nothing is requested.

        Relative paths start at the requested `cwd`, and a relative `cwd` at the default one.

        Raises:
            RefusedError: 422 if the directory or the Python does not exist.
        """
        if self == Environment():
            return None
        cwd = _absolute(self.cwd, Path(default.cwd)) or Path(default.cwd)
        virtualenv, executable = _absolute(self.virtualenv, cwd), _absolute(self.executable, cwd)
        variables = self.env or {}
        if not os.path.isdir(cwd):
            raise RefusedError(422, "no_such_directory", f"the directory {str(cwd)!r} does not exist")
        if executable is None and virtualenv is None:
            return SessionEnvironment(default.executable, default.virtualenv, str(cwd), variables)
        python = _interpreter(virtualenv, executable)
        return SessionEnvironment(str(python), str(python.parent.parent), str(cwd), variables)


def _absolute(path: str | None, start: Path) -> Path | None:
    return Path(start, os.path.expanduser(path)) if path else None  # Path.expanduser() raises for "~nobody"


def _interpreter(virtualenv: Path | None, executable: Path | None) -> Path:
    """Return the Python of the virtualenv, or the executable; if both are given, they must belong together."""
    if executable is None:
        assert virtualenv is not None
        problem = "has no bin/python" if os.path.isdir(virtualenv) else "does not exist"
        try:
            executable = python_of(virtualenv)
        except PermissionError as error:
            problem = f"cannot be read: {error.strerror}"
        if executable is None:
            raise RefusedError(422, "no_such_virtualenv", f"the virtualenv {str(virtualenv)!r} {problem}")
    if not (os.path.isfile(executable) and os.access(executable, os.X_OK)):
        problem = "is not an executable file" if os.path.exists(executable) else "does not exist"
        raise RefusedError(422, "no_such_executable", f"the executable {str(executable)!r} {problem}")
    if virtualenv is not None and os.path.realpath(executable.parent.parent) != os.path.realpath(virtualenv):
        mismatch = f"{str(executable)!r} does not belong to the virtualenv {str(virtualenv)!r}"
        raise RefusedError(422, "other_virtualenv", f"{mismatch}: give only one of them")
    return executable
