"""The environment that a client asks for a session to run in, checked before anything is started."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.venv import python_of
from mrmd_python.server.endpoint import TEXT, Schema
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.exchange import RefusedError, can_be_given

ENVIRONMENT: Schema = {
    "type": ["object", "null"],
    "properties": {
        "cwd": TEXT,
        "virtualenv": TEXT,
        "executable": TEXT,
        "env": {"type": ["object", "null"], "additionalProperties": TEXT},
    },
}


def requested_environment(body: Mapping[str, Any], default: SessionEnvironment) -> SessionEnvironment | None:
    """Return what the field `environment` of a body asks for, or None if it is absent, null or empty.

    What it does not name is as in `default`. Relative paths start at the session's folder, and that at the default one.

    Raises:
        RefusedError: 400 if it is malformed, 422 if there is no such folder or Python.
    """
    asked = _object(body, "environment", "environment")
    if not asked:
        return None
    cwd = _path(asked, "cwd", Path(default.cwd)) or Path(default.cwd)
    virtualenv = _path(asked, "virtualenv", cwd)
    executable = _path(asked, "executable", cwd)
    variables = _variables(asked)
    if not os.path.isdir(cwd):
        raise RefusedError(422, "no_such_folder", f"the folder {str(cwd)!r} does not exist")
    if executable is None and virtualenv is None:
        return SessionEnvironment(default.executable, default.virtualenv, str(cwd), variables)
    python = _interpreter(virtualenv, executable)
    return SessionEnvironment(str(python), str(python.parent.parent), str(cwd), variables)


def _interpreter(virtualenv: Path | None, executable: Path | None) -> Path:
    """Return the Python that one of the two names, or both, which must then mean the same environment."""
    if executable is None:
        assert virtualenv is not None
        executable = python_of(virtualenv)
        if executable is None:
            what = "has no bin/python" if os.path.isdir(virtualenv) else "does not exist"
            raise RefusedError(422, "no_such_virtualenv", f"the virtualenv {str(virtualenv)!r} {what}")
    if not (os.path.isfile(executable) and os.access(executable, os.X_OK)):
        what = "cannot be run" if os.path.exists(executable) else "does not exist"
        raise RefusedError(422, "no_such_executable", f"the executable {str(executable)!r} {what}")
    if virtualenv is not None and os.path.realpath(executable.parent.parent) != os.path.realpath(virtualenv):
        both = f"{str(executable)!r} is not of the virtualenv {str(virtualenv)!r}"
        raise RefusedError(422, "other_virtualenv", f"{both}: name one of them")
    return executable


def _path(asked: Mapping[str, Any], name: str, start: Path) -> Path | None:
    value = asked.get(name)
    if value is None or value == "":
        return None
    if not can_be_given(value):
        raise RefusedError(400, "wrong_type", f"the field 'environment.{name}' must be a path")
    return Path(start, os.path.expanduser(value))  # Path.expanduser() raises for "~nobody"


def _variables(asked: Mapping[str, Any]) -> dict[str, str | None]:
    variables = _object(asked, "env", "environment.env")
    for name, value in variables.items():
        if not (name and "=" not in name and can_be_given(name) and (value is None or can_be_given(value))):
            raise RefusedError(400, "wrong_type", f"the field 'environment.env' cannot hold that value of {name!r}")
        if name == MARKER:
            raise RefusedError(400, "reserved_variable", f"{MARKER} is how the runtime knows its processes")
    return variables


def _object(body: Mapping[str, Any], name: str, described: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(400, "wrong_type", f"the field {described!r} must be an object")
    return value
