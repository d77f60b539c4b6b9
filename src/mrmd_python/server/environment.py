"""What a session's process runs in: interpreter, working directory and environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from mrmd_python.runtime.environment import SERVICE
from mrmd_python.runtime.token import VARIABLE as TOKEN


class EnvironmentJson(TypedDict):
    """What a session runs in."""

    cwd: str
    virtualenv: str
    executable: str


@dataclass(frozen=True)
class SessionEnvironment:
    """Where a session runs."""

    executable: str
    virtualenv: str
    cwd: str
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """What is added to the runtime's own environment or, if it is None, removed from it."""

    def as_json(self) -> EnvironmentJson:
        """Return it as a Session of MRP has it."""
        return {"cwd": self.cwd, "virtualenv": self.virtualenv, "executable": self.executable}

    def process_environment(self) -> dict[str, str]:
        """Return the environment of the worker: the server's, with the venv activated as its own script would.

        What the service manager told the server alone is left out: a session must not answer the watchdog. So is the
        token.
        """
        environ = {name: value for name, value in os.environ.items() if name not in SERVICE and name != TOKEN}
        folder = str(Path(self.executable).parent)
        path = [entry for entry in environ.get("PATH", os.defpath).split(os.pathsep) if entry != folder]
        environ["PATH"] = os.pathsep.join([folder, *path])
        environ.pop("PYTHONHOME", None)
        environ.pop("VIRTUAL_ENV", None)
        if (Path(self.virtualenv) / "pyvenv.cfg").exists():
            environ["VIRTUAL_ENV"] = self.virtualenv
        if (Path(self.virtualenv) / "conda-meta").is_dir():
            environ["CONDA_PREFIX"] = self.virtualenv
        # No one could press a pager's keys.
        environ |= {"PAGER": "cat", "GIT_PAGER": "cat"}
        wanted = {**environ, **self.variables}
        return {name: value for name, value in wanted.items() if value is not None}
