"""--kill and --kill-all."""

import json
import os

import click

from mrmd_python.cli import wording
from mrmd_python.cli.faults import no_such_runtime
from mrmd_python.service import runtimes, status
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.runtimes import Killed


def kill(runtime_id: str, *, as_json: bool) -> None:
    """End a runtime and say so.

    Raises:
        ServiceError: there is none of that id, or it does not end.
    """
    killed = runtimes.kill(Home.of(os.environ), runtime_id)
    if killed is None:
        raise no_such_runtime(runtime_id)
    if as_json:
        click.echo(json.dumps([_as_json(runtime_id, killed)], indent=2))
    else:
        click.echo(_sentence(runtime_id, killed))


def kill_all(*, as_json: bool) -> None:
    """End all runtimes, each as far as it goes.

    Raises:
        ServiceError: some do not end; the others have ended.
    """
    home = Home.of(os.environ)
    ended: dict[str, Killed] = {}
    faults: list[str] = []
    for runtime_id in sorted({found.id for found in status.all_statuses(home)} | home.kept_ids()):
        try:
            killed = runtimes.kill(home, runtime_id)
        except (ServiceError, OSError) as error:
            faults.append(f"{runtime_id}: {error}")
            continue
        if killed is not None:
            ended[runtime_id] = killed
            if not as_json:
                click.echo(_sentence(runtime_id, killed))
    if as_json:
        click.echo(json.dumps([_as_json(runtime_id, killed) for runtime_id, killed in ended.items()], indent=2))
    elif not ended and not faults:
        click.echo("No runtimes to end.")
    if faults:
        raise ServiceError("; ".join(faults))


def _sentence(runtime_id: str, killed: Killed) -> str:
    freed = killed.freed
    what = f"{freed.processes} processes, {wording.memory(freed.memory)} of memory"
    if freed.gpu_memory is not None:
        what += f", {wording.memory(freed.gpu_memory)} of GPU memory"
    if killed.was_alive:
        return f"Ended {runtime_id!r} and every process it started: {what} freed."
    return f"{runtime_id!r} was dead already; " + (
        f"{what} freed that it had left behind." if freed.processes else "what was known of it is removed."
    )


def _as_json(runtime_id: str, killed: Killed) -> dict[str, object]:
    return {
        "id": runtime_id,
        "wasAlive": killed.was_alive,
        "processes": killed.freed.processes,
        "memory": killed.freed.memory,
        "gpuMemory": killed.freed.gpu_memory,
        "processesSwept": killed.swept,
    }
