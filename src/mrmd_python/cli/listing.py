"""--list and --info."""

import json
import os
from dataclasses import asdict
from typing import Any

import click

from mrmd_python.cli import wording
from mrmd_python.cli.faults import no_such_runtime, note
from mrmd_python.service import predecessor, status
from mrmd_python.service.home import Home
from mrmd_python.service.status import Status

_VENV_SOURCES = {
    "option": "named by --venv",
    "own": "mrmd-python is installed in it",
    "VIRTUAL_ENV": "named by VIRTUAL_ENV",
    "system": "the system's Python: no venv was named or active",
}
_HEADINGS = ("ID", "STATUS", "PID", "PORT", "UPTIME", "MEMORY", "VENV")
_STATUS = _HEADINGS.index("STATUS")


def list_all(*, as_json: bool) -> None:
    """Print a line for each runtime."""
    found = status.all_statuses(Home.of(os.environ))
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in found], indent=2))
    elif not found:
        click.echo("No runtimes. Start one with: mrmd-python --id NAME")
    else:
        _print_table([_HEADINGS, *map(_row, found)])
        _note_older(found)


def info(runtime_id: str, *, as_json: bool) -> None:
    """Print all that is known of a runtime.

    Raises:
        ServiceError: there is none of that id, or its registry file cannot be read.
    """
    found = status.status(Home.of(os.environ), runtime_id)
    if found is None:
        raise no_such_runtime(runtime_id)
    if found.fault is not None:
        raise found.fault
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
        return
    for name, value in _details(found).items():
        click.echo(f"{name + ':':<9}{value}")


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if row is not rows[0]:
            cells[_STATUS] = cells[_STATUS].replace(row[_STATUS], wording.state(row[_STATUS]))
        click.echo("  ".join(cells).rstrip())


def _note_older(found: list[Status]) -> None:
    older = [each.record for each in found if each.state == "running" and each.record is not None]
    for told in filter(None, map(predecessor.note, older)):
        note(told)


def _row(found: Status) -> tuple[str, ...]:
    record = found.record
    if record is None:
        return (found.id, found.state, "-", "-", "-", "-", "-")
    where = (str(record.pid), str(record.port)) if found.state == "running" else ("-", "-")
    return (found.id, found.state, *where, wording.span(found.uptime), wording.memory(found.memory), record.venv)


def _details(found: Status) -> dict[str, object]:
    record = found.record
    shown: dict[str, object] = {"id": found.id, "status": wording.state(found.state)}
    if found.uptime is not None:
        shown |= {"uptime": wording.span(found.uptime), "memory": wording.memory(found.memory)}
    if record is not None:
        shown |= {
            "url": record.url,
            "pid": record.pid,
            "backend": record.backend if record.unit is None else f"{record.backend} ({record.unit})",
            "venv": f"{record.venv} ({_VENV_SOURCES.get(record.venv_source, record.venv_source)})",
            "python": record.python,
            "cwd": record.cwd,
            "assets": record.assets_dir or f"{record.cwd}/.mrmd-assets",
            "created": record.created,
            "version": record.version,
            "log": record.log,
        }
        if record.token_file is not None:
            shown["token"] = record.token_file
    if found.enabled is not None:
        shown["enabled"] = "yes, it starts at login" if found.enabled else "no"
    return shown


def _as_json(found: Status) -> dict[str, Any]:
    told = {"status": found.state, "uptime": found.uptime, "memory": found.memory, "enabled": found.enabled}
    if found.fault is not None:
        told["error"] = str(found.fault)
    return ({"id": found.id} if found.record is None else asdict(found.record)) | told
