"""Runtimes as agents of macOS's launchd (launchd.plist(5), launchctl(1))."""

import os
import plistlib
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrmd_python.service import registry, templates
from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home, write_atomically
from mrmd_python.service.registry import Record
from mrmd_python.service.runtime_id import LAUNCHD_PREFIX, launchd_label
from mrmd_python.service.spec import RuntimeSpec

_START_SECONDS = 90.0
_NO_SUCH_PROCESS = 3  # launchctl's exit status for a service that is not loaded: ESRCH


def plist_path(runtime_id: str) -> Path:
    """Return where the agent of a runtime lies."""
    return Path.home() / "Library" / "LaunchAgents" / f"{launchd_label(runtime_id)}.plist"


def render(home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
    """Return the property list of a runtime, complete."""
    template = templates.read("launchd", f"{LAUNCHD_PREFIX}plist")
    agent: dict[str, Any] = plistlib.loads(template.encode())
    agent |= {
        "Label": launchd_label(spec.id),
        "ProgramArguments": replace(spec, backend="launchd").server_command(),
        "EnvironmentVariables": dict(environment),
        "WorkingDirectory": "/",
        "StandardOutPath": str(home.log(spec.id)),
        "StandardErrorPath": str(home.log(spec.id)),
    }
    return plistlib.dumps(agent)


def _launchctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["launchctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )


class LaunchdBackend:
    """Runtimes as ``dev.mrmd.python.<id>`` in the user's GUI domain."""

    name = "launchd"

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Write the agent, bootstrap it, and wait until its server has announced itself."""
        path = plist_path(spec.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render(home, spec, environment))
        started = _launchctl("bootstrap", f"gui/{os.getuid()}", str(path))
        if started.returncode != 0:
            path.unlink()
            raise StartFailedError(f"launchctl bootstrap failed ({started.returncode}): {started.stderr.strip()}")
        deadline = time.monotonic() + (_START_SECONDS if wait else 0)
        while not ((record := registry.read(home, spec.id)) and record.is_alive()):
            if time.monotonic() > deadline:
                self.stop(spec.id, None)
                raise StartFailedError(
                    f"it was not ready within {_START_SECONDS:.0f} s; its log is {home.log(spec.id)}"
                )
            time.sleep(0.02)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Have launchd end the agent's server and start it again."""

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """Boot the agent out and remove it."""
        ended = _launchctl("bootout", f"gui/{os.getuid()}/{launchd_label(runtime_id)}")
        if ended.returncode not in (0, _NO_SUCH_PROCESS):
            raise ServiceError(f"launchctl bootout failed ({ended.returncode}): {ended.stderr.strip()}")
        if record is not None:
            record.process.end()
        plist_path(runtime_id).unlink(missing_ok=True)

    def is_active(self, runtime_id: str) -> bool:
        """Return whether launchd has the agent."""
        return _launchctl("print", f"gui/{os.getuid()}/{launchd_label(runtime_id)}").returncode == 0

    def enable(self, runtime_id: str) -> None:
        """Have launchd start the agent at login."""

    def disable(self, runtime_id: str) -> None:
        """Undo `enable`."""
