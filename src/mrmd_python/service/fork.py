"""Runtimes as daemons of their own, where there is no service manager (daemon(7), "SysV Daemons")."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mrmd_python.service import environment as environment_file
from mrmd_python.service.backend import StartFailedError
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.log_file import tail
from mrmd_python.service.marker import VARIABLE as MARKER
from mrmd_python.service.marker import marker_of, new_marker, sweep
from mrmd_python.service.registry import Record
from mrmd_python.service.spec import RuntimeSpec

_DETACH = Path(__file__).with_name("detach.py")
_BACKSTOP_SECONDS = 30.0  # above the server's own time to start


class ForkBackend:
    """Runtimes as double-forked daemons."""

    name = "fork"

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Fork the daemon and wait on a pipe for its word that it is ready."""
        log = home.log(spec.id)
        before = log.stat().st_size if log.exists() else 0
        reader, writer = os.pipe()
        command = [*replace(spec, backend="fork").server_command(), f"--ready-fd={writer}"]
        if spec.limits.nice is not None:
            command = ["nice", "-n", str(spec.limits.nice), *command]
        _daemonize(command, environment, log, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as report:
            if not wait:
                return
            if not select.select([report], [], [], spec.start_seconds + _BACKSTOP_SECONDS)[0]:
                raise StartFailedError(f"its server said nothing; its log is {log}")
            said = report.read()
        fault = json.loads(said)["error"] if said else tail(log, before) or "its server ended without a word"
        if fault:
            raise StartFailedError(fault)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """End the daemon and what it left, and start it again with the same environment and arguments."""
        assert record is not None, "a daemon is known by its record alone"
        if record.backend != "fork":
            raise ServiceError(f"{runtime_id!r} runs in the foreground of a terminal: restart it there")
        environment = environment_file.read(home.environment(runtime_id))
        record.process.end()
        marker = marker_of(runtime_id, environment)
        if marker is not None:
            sweep(marker)
        else:
            environment[MARKER] = new_marker(runtime_id)
            environment_file.write(home.environment(runtime_id), environment)
        self.start(home, record.spec(), environment, wait=True)

    def stop(self, runtime_id: str, record: Record | None) -> None:
        """End the server, gently first."""
        if record is not None:
            record.process.end()

    def is_active(self, runtime_id: str) -> bool:
        """Return False: nothing starts a daemon again."""
        return False

    def enable(self, runtime_id: str) -> None:
        """Refuse: nobody would start it."""
        raise ServiceError(f"{runtime_id!r} is a daemon, and nothing starts daemons at login: that needs systemd")

    def disable(self, runtime_id: str) -> None:
        """Do nothing: a daemon is never enabled."""


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
