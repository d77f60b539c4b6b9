"""The options that manage existing runtimes: --list, --info, --logs, --restart, --enable, --disable, --kill."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn

import click

from mrmd_python.cli import output
from mrmd_python.manager import manager, status
from mrmd_python.manager.manager import Killed
from mrmd_python.manager.usage import Usage
from mrmd_python.runtime import ServiceError, environment
from mrmd_python.runtime.files import Home


def run(action: str, options: Mapping[str, Any]) -> None:
    """Run an action."""
    as_json = options["as_json"]
    home = Home.of(os.environ)
    home.check_owner()
    if isinstance(options[action], str):
        home.check_spelling(options[action])
    match action:
        case "list":
            list_all(as_json=as_json)
        case "info":
            info(options["info"], as_json=as_json)
        case "logs":
            show_log(options["logs"], follow=options["follow"], lines=options["lines"])
        case "restart":
            restart(options["restart"], as_json=as_json)
        case "enable":
            enable(options["enable"])
        case "disable":
            disable(options["disable"])
        case "kill":
            kill(options["kill"], as_json=as_json)
        case "kill_all":
            kill_all(as_json=as_json)


def list_all(*, as_json: bool) -> None:
    """Print a line for each runtime."""
    found = status.with_gpu_memory(status.all_statuses(Home.of(os.environ)))
    if as_json:
        output.print_json([output.status_as_json(each) for each in found])
    elif found:
        output.print_table(found)
    else:
        click.echo("No runtimes. Start one with: mrmd-python --id NAME")


def info(runtime_id: str, *, as_json: bool) -> None:
    """Print all that is known of a runtime."""
    home = Home.of(os.environ)
    found = status.status(home, runtime_id)
    if found is None:
        raise output.no_such_runtime(runtime_id)
    if found.error is not None:
        raise found.error
    (found,) = status.with_gpu_memory([found])
    if as_json:
        output.print_json(output.status_as_json(found))
    else:
        output.print_details(found, manager.starts_at(home, runtime_id) if found.enabled else None)


def show_log(runtime_id: str, *, follow: bool, lines: int) -> NoReturn:
    """Replace this process with the program that shows a runtime's log."""
    home = Home.of(os.environ)
    command = manager.log_command(home, runtime_id, follow=follow, lines=lines)
    if command is None:
        found = status.status(home, runtime_id)
        if found is None:
            raise output.no_such_runtime(runtime_id)
        where = found.record.log if found.record is not None else "its log once it has started"
        raise ServiceError(f"there is no log to show: {runtime_id!r} writes to {where}")
    os.execvpe(command[0], command, environment.for_programs(os.environ))


def restart(runtime_id: str, *, as_json: bool) -> None:
    """Restart a runtime with the same options, and print its URL."""
    with output.spinner(f"Restarting {runtime_id!r}") as show:
        record = manager.restart(Home.of(os.environ), runtime_id, show)
    if record is None:
        raise output.no_such_runtime(runtime_id)
    if as_json:
        output.print_json(asdict(record))
    else:
        click.echo(f"Restarted {runtime_id!r}: {record.url}, PID {record.pid}. Its variables are gone.")


def enable(runtime_id: str) -> None:
    """Make a runtime start at login or boot."""
    home = Home.of(os.environ)
    if not manager.enable(home, runtime_id):
        raise output.no_such_runtime(runtime_id)
    click.echo(f"Enabled {runtime_id!r}: it starts at {manager.starts_at(home, runtime_id)}.")


def disable(runtime_id: str) -> None:
    """Undo `enable`."""
    if not manager.disable(Home.of(os.environ), runtime_id):
        raise output.no_such_runtime(runtime_id)
    click.echo(f"Disabled {runtime_id!r}: it no longer starts by itself.")


def kill(runtime_id: str, *, as_json: bool) -> None:
    """End a runtime, and print what was freed."""
    killed = manager.kill(Home.of(os.environ), runtime_id)
    if killed is None:
        raise output.no_such_runtime(runtime_id)
    if as_json:
        output.print_json([_killed_as_json(runtime_id, killed)])
    else:
        click.echo(_killed_text(runtime_id, killed))
    _note_files_left(killed)


def kill_all(*, as_json: bool) -> None:
    """End all runtimes; raise ServiceError if some do not end."""
    home = Home.of(os.environ)
    ended: dict[str, Killed] = {}
    errors: list[str] = []

    def add(runtime_id: str, killed: Killed) -> None:
        ended[runtime_id] = killed
        if not as_json:
            click.echo(_killed_text(runtime_id, killed))
        _note_files_left(killed)

    statuses = status.all_statuses(home)
    dead = [found.record for found in statuses if found.state == "dead" and found.record is not None]
    with suppress(ServiceError, OSError):  # it is a faster `kill`, which names what it cannot remove
        for runtime_id in manager.remove_dead(home, dead):
            add(runtime_id, Killed(was_alive=False, freed=Usage(0, 0, None), swept=0, left=()))
    for runtime_id in sorted({found.id for found in statuses} - ended.keys() | home.ids_with_environment()):
        try:
            killed = manager.kill(home, runtime_id)
        except (ServiceError, OSError) as error:
            errors.append(f"{runtime_id}: {error}")
            continue
        if killed is not None:
            add(runtime_id, killed)
    if as_json:
        output.print_json([_killed_as_json(runtime_id, killed) for runtime_id, killed in ended.items()])
    elif not ended and not errors:
        click.echo("No runtimes to end.")
    if errors:
        raise ServiceError("; ".join(errors))


def _killed_text(runtime_id: str, killed: Killed) -> str:
    freed = killed.freed
    if killed.was_alive and not freed.processes:  # they were on another host
        return f"Ended {runtime_id!r} and every process it started."
    count = "1 process" if freed.processes == 1 else f"{freed.processes} processes"
    what = f"{count}, {output.memory_text(freed.memory)} of memory"
    if freed.gpu_memory is not None:
        what += f", {output.memory_text(freed.gpu_memory)} of GPU memory"
    if killed.was_alive:
        return f"Ended {runtime_id!r} and every process it started: {what} freed."
    if freed.processes:
        return f"{runtime_id!r} was already dead; ended its remaining processes: {what} freed."
    return f"{runtime_id!r} was already dead" + ("." if killed.left else "; removed its files.")


def _note_files_left(killed: Killed) -> None:
    if killed.left:
        paths = ", ".join(str(error.filename) for error in killed.left)
        output.note(f"these files could not be removed ({killed.left[0].strerror}): {paths}")


def _killed_as_json(runtime_id: str, killed: Killed) -> dict[str, object]:
    return {
        "id": runtime_id,
        "wasAlive": killed.was_alive,
        "processes": killed.freed.processes,
        "memory": killed.freed.memory,
        "gpuMemory": killed.freed.gpu_memory,
        "processesSwept": killed.swept,
        "filesLeft": [error.filename for error in killed.left],
    }
