"""What the template unit runs: the server of an id that systemctl was told to start, and the command never was."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from mrmd_python.service import environment as environment_file
from mrmd_python.service import predecessor, registry
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.marker import VARIABLE as MARKER
from mrmd_python.service.marker import marker_of, new_marker
from mrmd_python.service.place import interpreter
from mrmd_python.service.registry import UnreadableRecordError
from mrmd_python.service.runtime_id import TEMPLATE, id_of_unit, parse_id
from mrmd_python.service.spec import RuntimeSpec


def become(home: Home, instance: str, environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by the server of a unit's instance (systemd.unit(5), ``%i``), with all defaults.

    Raises:
        ValueError: the instance is the name of no runtime.
        ServiceError: there is no Python for its sessions, or nowhere to keep its files.
    """
    runtime_id = parse_id(id_of_unit(TEMPLATE.replace("@", f"@{instance}")))
    chosen = interpreter(None)
    spec = RuntimeSpec(
        id=runtime_id,
        venv=chosen.prefix,
        python=chosen.python,
        venv_source=chosen.source,
        cwd=str(Path.home()),
        backend="systemd",
    )
    home.prepare()
    with suppress(UnreadableRecordError):
        running = registry.read(home, runtime_id)
        if running is not None and running.is_alive():
            raise ServiceError(predecessor.note(running) or f"{runtime_id!r} is already running at {running.url}")
    # One marker for all runs of the unit: what a crashed one left is swept by the next.
    marker = marker_of(runtime_id, environment_file.read(home.environment(runtime_id))) or new_marker(runtime_id)
    environment_file.write(home.environment(runtime_id), {**environment_file.capture(environ), MARKER: marker})
    command = spec.server_command()
    os.execve(command[0], command, {**environ, MARKER: marker})
