"""Runtimes as daemons of their own, where there is no service manager (daemon(7), "SysV Daemons")."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.home import Home
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec

_DETACH = Path(__file__).with_name("detach.py")
_SHOWN_LOG_LINES = 10


class ForkBackend:
    """Runtimes as double-forked daemons."""

    name = "fork"

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> None:
        """Fork the daemon and wait on a pipe for its word that it is ready."""
        log = home.log(spec.id)
        before = log.stat().st_size if log.exists() else 0
        reader, writer = os.pipe()
        _daemonize([*replace(spec, backend="fork").server_command(), f"--ready-fd={writer}"], environment, log, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as report:
            said = report.read()
        fault = json.loads(said)["error"] if said else _tail(log, before) or "its server ended without a word"
        if fault:
            raise StartFailedError(fault)

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """End the server, gently first."""
        if record is not None:
            record.process.end()

    def is_active(self, runtime_id: str) -> bool:
        """Return False: nothing starts a daemon again."""
        return False


def _daemonize(command: list[str], environment: Mapping[str, str], log: Path, ready: int) -> None:
    """Run `command` as a daemon: no parent, session, terminal or descriptor of ours but the pipe `ready`."""
    subprocess.run(
        [sys.executable, "-I", "-S", str(_DETACH), str(ready), str(log), *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        pass_fds=[ready],
        start_new_session=True,
        check=False,
    )


def _tail(log: Path, start: int) -> str:
    """Return the last lines that were written to `log` from the offset `start` on."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        print(f"mrmd-python: cannot read {log}: {error.strerror}", file=sys.stderr)
        return ""
    return "\n".join(lines[-_SHOWN_LOG_LINES:])
