"""The environment of a session: interpreter, working directory and variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypedDict

from mrmd_python.runtime.environment import SERVICE
from mrmd_python.runtime.token import VARIABLE as TOKEN


class EnvironmentJson(TypedDict):
    """The environment of a session, as MRP has it."""

    cwd: str
    virtualenv: str
    executable: str


class SessionEnvironment(NamedTuple):
    """The interpreter, directory and variables of a session."""

    executable: str
    virtualenv: str
    cwd: str
    # Set in addition to the runtime's own variables; None removes a variable.
    variables: Mapping[str, str | None] = MappingProxyType({})

    def as_json(self) -> EnvironmentJson:
        """Return the `environment` of MRP's Session."""
        return {"cwd": self.cwd, "virtualenv": self.virtualenv, "executable": self.executable}

    def process_environment(self) -> dict[str, str]:
        """Return the worker's environment: the server's, with the venv activated as bin/activate would.

        Variables of the service manager and the token are only for the server: a session must not answer the watchdog.
        """
        environ = {name: value for name, value in os.environ.items() if name not in SERVICE and name != TOKEN}
        directory = str(Path(self.executable).parent)
        path = [entry for entry in environ.get("PATH", os.defpath).split(os.pathsep) if entry != directory]
        environ["PATH"] = os.pathsep.join([directory, *path])
        environ.pop("PYTHONHOME", None)
        environ.pop("VIRTUAL_ENV", None)
        if (Path(self.virtualenv) / "pyvenv.cfg").exists():
            environ["VIRTUAL_ENV"] = self.virtualenv
        if (Path(self.virtualenv) / "conda-meta").is_dir():
            environ["CONDA_PREFIX"] = self.virtualenv
        # A session has no terminal, in which a pager would wait for keys.
        environ |= {"PAGER": "cat", "GIT_PAGER": "cat"}
        merged = {**environ, **self.variables}
        return {name: value for name, value in merged.items() if value is not None}
