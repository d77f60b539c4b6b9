"""Starting a runtime: what was typed, checked and completed, and what is then printed."""

import json
import os
from dataclasses import asdict
from typing import NoReturn

import click

from mrmd_python.service import place, runtimes
from mrmd_python.service.home import Home
from mrmd_python.service.spec import RuntimeSpec


def spec(
    runtime_id: str,
    *,
    venv: str | None,
    cwd: str | None,
    host: str,
    port: int,
    assets_dir: str | None,
    managed: bool,
) -> RuntimeSpec:
    """Return the runtime that was asked for.

    Raises:
        ServiceError: its folder or its interpreter is not there.
    """
    folder = place.folder(cwd)
    chosen = place.interpreter(venv, folder)
    if chosen.hint is not None:
        click.echo(f"mrmd-python: note: {chosen.hint}", err=True)
    return RuntimeSpec(
        id=runtime_id,
        venv=chosen.prefix,
        python=chosen.python,
        venv_source=chosen.source,
        cwd=str(folder),
        host=host,
        port=port,
        assets_dir=str(place.absolute(assets_dir)) if assets_dir is not None else None,
        managed=managed,
    )


def as_service(runtime: RuntimeSpec, backend: str | None, *, as_json: bool) -> None:
    """Start a runtime that outlives this command, and print where it is."""
    started = runtimes.start(Home.of(os.environ), runtime, backend, os.environ)
    record = started.record
    if as_json:
        click.echo(json.dumps(asdict(record) | {"alreadyRunning": started.already}, indent=2))
        return
    click.echo(f"Runtime {record.id!r} {'is already running' if started.already else 'started'}:")
    for name, value in (
        ("URL", record.url),
        ("PID", record.pid),
        ("venv", record.venv),
        ("cwd", record.cwd),
        ("log", record.log),
    ):
        click.echo(f"  {name + ':':<6}{value}")
    click.echo(f"End it with: mrmd-python --kill {record.id}")


def in_foreground(runtime: RuntimeSpec) -> NoReturn:
    """Serve in this process until it is told to stop."""
    if not runtime.managed:
        click.echo(f"Runtime {runtime.id!r} in the foreground; Ctrl-C ends it and every process it started.", err=True)
    runtimes.become(Home.of(os.environ), runtime, os.environ)
