"""--restart, --enable, --disable and --logs: what is done with a runtime that there is."""

import json
import os
from dataclasses import asdict
from typing import NoReturn

import click

from mrmd_python.cli.faults import no_such_runtime
from mrmd_python.cli.spinner import spinning
from mrmd_python.service import logs, runtimes, systemctl
from mrmd_python.service.home import Home


def restart(runtime_id: str, *, as_json: bool) -> None:
    """Restart a runtime as it was started, and print where it is.

    Raises:
        ServiceError: there is none of that id, or it did not come up again.
    """
    with spinning(f"Restarting {runtime_id!r}"):
        record = runtimes.restart(Home.of(os.environ), runtime_id)
    if record is None:
        raise no_such_runtime(runtime_id)
    if as_json:
        click.echo(json.dumps(asdict(record), indent=2))
    else:
        click.echo(f"Restarted {runtime_id!r}: {record.url}, PID {record.pid}. Its variables are gone.")


def enable(runtime_id: str) -> None:
    """Have a runtime start at login.

    Raises:
        ServiceError: there is none of that id, or nothing could start it.
    """
    if not runtimes.enable(Home.of(os.environ), runtime_id, wanted=True):
        raise no_such_runtime(runtime_id)
    when = "boot" if systemctl.lingers() else "your next login, and at boot once `loginctl enable-linger` is run"
    click.echo(f"Enabled {runtime_id!r}: it starts at {when}.")


def disable(runtime_id: str) -> None:
    """Have a runtime no longer start at login.

    Raises:
        ServiceError: there is none of that id.
    """
    if not runtimes.enable(Home.of(os.environ), runtime_id, wanted=False):
        raise no_such_runtime(runtime_id)
    click.echo(f"Disabled {runtime_id!r}: it starts when it is told to.")


def show_log(runtime_id: str, *, follow: bool, lines: int) -> NoReturn:
    """Become the program that shows the log of a runtime.

    Raises:
        ServiceError: nothing was ever logged under that id.
    """
    command = logs.command(Home.of(os.environ), runtime_id, follow=follow, lines=lines)
    if command is None:
        raise no_such_runtime(runtime_id)
    os.execvp(command[0], command)
