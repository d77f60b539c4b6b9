"""Starting a runtime: what was typed, checked and completed, and what is then printed."""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import NoReturn

import click

from mrmd_python.cli import output, variables
from mrmd_python.manager import backends, manager
from mrmd_python.runtime import ServiceError, environment
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import Limits, RuntimeSpec
from mrmd_python.runtime.validate import is_loopback
from mrmd_python.runtime.venv import absolute_path, find_venv, unused_project_venv, working_directory

_EX_CONFIG = 78  # sysexits.h; the unit does not start again what ends with it


@dataclass(frozen=True)
class Wanted:
    """What a runtime is to be, as it was typed."""

    runtime_id: str
    venv: str | None
    cwd: str | None
    host: str
    port: int
    assets_dir: str | None
    memory_max: str | None
    memory_high: str | None
    cpu_quota: str | None
    tasks_max: str | None
    nice: int | None
    properties: tuple[str, ...]
    gpus: str | None
    env: tuple[str, ...]
    env_files: tuple[Path, ...]
    idle_timeout: int
    timeout: int
    managed: bool
    token: bool
    allow_hosts: tuple[str, ...]
    allow_origins: tuple[str, ...]
    allow_users: tuple[int, ...]

    def spec(self) -> RuntimeSpec:
        """Return it checked and completed.

        Raises:
            ServiceError: its folder or its interpreter is not there.
        """
        folder = working_directory(self.cwd)
        chosen = find_venv(self.venv, os.environ)
        unused = unused_project_venv(folder, chosen)
        if unused is not None:
            output.note(f"{unused} is not used; to use it: --venv {unused}")
        return RuntimeSpec(
            id=self.runtime_id,
            venv=chosen.prefix,
            python=chosen.python,
            venv_source=chosen.source,
            cwd=str(folder),
            host=self.host,
            port=self.port,
            assets_dir=str(absolute_path(self.assets_dir)) if self.assets_dir is not None else None,
            idle_seconds=self.idle_timeout,
            start_seconds=self.timeout,
            limits=Limits(
                self.memory_max, self.memory_high, self.cpu_quota, self.tasks_max, self.nice, self.properties
            ),
            managed=self.managed,
            token=self.token or not is_loopback(self.host),
            allow_hosts=self.allow_hosts,
            allow_origins=self.allow_origins,
            allow_users=self.allow_users,
        )

    def variables(self) -> dict[str, str]:
        """Return the variables that were chosen by name.

        Raises:
            ServiceError: one cannot be had.
        """
        return variables.chosen(os.environ, files=self.env_files, settings=self.env, gpus=self.gpus)


def as_service(wanted: Wanted, backend: str | None, *, wait: bool, as_json: bool) -> None:
    """Start a runtime that outlives this command, and print where it is."""
    spec, chosen = wanted.spec(), wanted.variables()
    with output.spinner(f"Starting {spec.id!r}"):
        started = manager.start(Home.of(os.environ), spec, backend, os.environ, chosen, wait=wait)
    if started.note is not None:
        output.note(started.note)
    record = started.record
    if as_json:
        known = {"id": spec.id} if record is None else asdict(record)
        click.echo(json.dumps(known | {"alreadyRunning": started.already_running}, indent=2))
        return
    if record is None:
        click.echo(f"Runtime {spec.id!r} is starting; `mrmd-python --id {spec.id}` waits for it and says where it is.")
        return
    click.echo(f"Runtime {record.id!r} {'is already running' if started.already_running else 'started'}:")
    for name, value in (
        ("URL", record.url),
        ("PID", record.pid),
        ("venv", record.venv),
        ("cwd", record.cwd),
        ("log", record.log),
    ):
        click.echo(f"  {name + ':':<6}{value}")
    if record.token_file is not None:
        click.echo(f"  token: {record.token_file}")
        click.echo(f'Clients must show it: curl -H "Authorization: Bearer $(cat {quote(record.token_file)})" ...')
    click.echo(f"End it with: mrmd-python --kill {record.id}")


def in_foreground(wanted: Wanted) -> NoReturn:
    """Serve in this process until it is told to stop."""
    spec = wanted.spec()
    backends.load(spec.backend).validate(spec)
    if not spec.managed:
        click.echo(f"Runtime {spec.id!r} in the foreground; Ctrl-C ends it and every process it started.", err=True)
        if spec.token:
            click.echo(f"Its token will be in {Home.of(os.environ).token(spec.id)}.", err=True)
    manager.become(Home.of(os.environ), spec, os.environ, wanted.variables())


def as_instance(instance: str) -> NoReturn:
    """Serve as an instance of the template unit."""
    try:
        manager.become_instance(Home.of(os.environ), instance, os.environ)
    except (ServiceError, ValueError) as error:
        click.echo(error, err=True)
        sys.exit(_EX_CONFIG)


def render(wanted: Wanted, backend_name: str) -> None:
    """Print what such a runtime would be started from; for ``auto``, by the service manager of this platform."""
    native = (backend for backend in backends.all_backends() if backend.platform == sys.platform)
    name = backend_name if backend_name != "auto" else next(native, backends.load(backends.BACKENDS[0])).name
    spec = replace(wanted.spec(), backend=name)
    variables = {**environment.capture(os.environ), **wanted.variables()}
    click.echo(backends.load(name).render(Home.of(os.environ), spec, variables), nl=False)
