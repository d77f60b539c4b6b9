"""--list and --info."""

import json
import os
from dataclasses import asdict
from typing import Any

import click

from mrmd_python.service import registry
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.home import Home
from mrmd_python.service.registry import Record, UnreadableRecordError

_VENV_SOURCES = {
    "option": "named by --venv",
    "own": "mrmd-python is installed in it",
    "VIRTUAL_ENV": "named by VIRTUAL_ENV",
    "system": "the system's Python: no venv was named or active",
}


def list_all(*, as_json: bool) -> None:
    """Print a line for each registered runtime."""
    found = list(registry.read_all(Home.of(os.environ)))
    if as_json:
        click.echo(json.dumps([_as_json(runtime_id, record) for runtime_id, record in found], indent=2))
        return
    if not found:
        click.echo("No runtimes. Start one with: mrmd-python --id NAME")
        return
    rows = [
        ("ID", "STATUS", "PID", "PORT", "BACKEND", "VENV"),
        *(_row(runtime_id, record) for runtime_id, record in found),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def info(runtime_id: str, *, as_json: bool) -> None:
    """Print all that is known of a runtime.

    Raises:
        ServiceError: there is none of that id, or its registry file cannot be read.
    """
    record = registry.read(Home.of(os.environ), runtime_id)
    if record is None:
        raise ServiceError(f"there is no runtime {runtime_id!r}; `mrmd-python --list` shows those there are")
    if as_json:
        click.echo(json.dumps(_as_json(runtime_id, record), indent=2))
        return
    lines = {
        "id": record.id,
        "status": _status(record),
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
    for name, value in lines.items():
        click.echo(f"{name + ':':<9}{value}")


def _status(record: Record) -> str:
    return "running" if record.is_alive() else "dead"


def _row(runtime_id: str, record: Record | UnreadableRecordError) -> tuple[str, ...]:
    if isinstance(record, UnreadableRecordError):
        return (runtime_id, "unreadable", "-", "-", "-", "-")
    return (runtime_id, _status(record), str(record.pid), str(record.port), record.backend, record.venv)


def _as_json(runtime_id: str, record: Record | UnreadableRecordError) -> dict[str, Any]:
    if isinstance(record, UnreadableRecordError):
        return {"id": runtime_id, "status": "unreadable", "error": str(record)}
    return asdict(record) | {"status": _status(record)}
