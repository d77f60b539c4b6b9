"""Runtimes as daemons, for machines without a service manager (daemon(7), "SysV Daemons")."""

import json
import os
import select
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from mrmd_python.manager.backends.base import Backend, StartFailedError, open_log, tail
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime import environment as environment_file
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.locks import claim
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import marker_of, new_marker, sweep
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec, Service, stop_seconds

_DETACH = Path(__file__).with_name("detach.py")
_BACKSTOP_SECONDS = 30.0  # longer than the server's own limit for its start


class ForkBackend(Backend):
    """Runtimes as double-forked daemons."""

    name = "fork"
    noun = "a daemon"
    limits = frozenset({"nice"})

    def render(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str]) -> bytes:
        """Return the command line of the daemon."""
        return os.fsencode(f"{shlex.join(_command(spec))}\n")

    def start(self, home: Home, spec: RuntimeSpec, environment: Mapping[str, str], *, wait: bool) -> None:
        """Fork the daemon and wait until it reports on a pipe that it is ready."""
        log = home.log(spec.id)
        with open_log(log) as output:
            before = os.fstat(output.fileno()).st_size
            reader, writer = os.pipe()
            # The daemon inherits the claim, so that a second start finds the id claimed from the beginning.
            claimed = claim(home.claim(spec.id))
            if claimed is None:
                raise ServiceError(f"{spec.id!r} is already running; see `mrmd-python --info {spec.id}`")
            try:
                command = [*_command(spec), f"--ready-fd={writer}", f"--claim-fd={claimed}"]
                _daemonize(command, environment, output, [writer, claimed], spec.umask)
            finally:  # the clean-up of an interrupted start removes the claim, which must not be held then
                os.close(writer)
                os.close(claimed)
        with open(reader, encoding="utf-8") as pipe:
            if not wait:
                return
            if not select.select([pipe], [], [], spec.timeout + _BACKSTOP_SECONDS)[0]:
                raise StartFailedError(f"the server did not report that it is ready; see its log, {log}")
            report = pipe.read()
        error = json.loads(report)["error"] if report else tail(log, before) or "the server exited without a message"
        if error:
            raise StartFailedError(error)

    def restart(self, home: Home, runtime_id: str, record: Record | None) -> None:
        """Stop the daemon, kill its remaining processes, and start it again with the same environment and options."""
        assert record is not None, "a daemon is known only by its record"
        spec, environment = record.runtime_spec(), environment_file.read(home.environment(runtime_id))
        with registry.set_aside(home, runtime_id):
            record.process.terminate(stop_seconds(record.stop_timeout))
            marker = marker_of(runtime_id, environment)
            if marker is not None:
                sweep(marker, record.stop_timeout)
            else:
                environment[MARKER] = marker = new_marker(runtime_id)
                environment_file.write(home.environment(runtime_id), environment)
            try:
                self.start(home, spec, environment, wait=True)
            except BaseException:
                sweep(marker, record.stop_timeout)
                raise

    def service(self, home: Home, runtime_id: str) -> Service:
        """Return a service that writes its own log file."""
        log = home.log(runtime_id)
        return Service(backend=self.name, unit=None, log=str(log), log_file=log)


def _command(spec: RuntimeSpec) -> list[str]:
    nice = [] if spec.nice is None else ["nice", "-n", str(spec.nice)]
    return [*nice, *spec.server_command()]


def _daemonize(
    command: list[str], environment: Mapping[str, str], log: BinaryIO, descriptors: list[int], umask: str | None
) -> None:
    """Run `command` as a daemon that inherits nothing but the environment, the log and `descriptors`.

    The first descriptor is a pipe: an error in starting the command is written to it.
    """
    subprocess.run(
        [sys.executable, "-I", "-S", str(_DETACH), ",".join(map(str, descriptors)), *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=descriptors,
        start_new_session=True,
        umask=-1 if umask is None else int(umask, 8),
        check=False,
    )


BACKEND = ForkBackend
