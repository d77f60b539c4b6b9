"""What the command prints: tables, details, JSON, notes, and a spinner while the user waits."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mrmd_python.manager import gpu
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.printable import printable
from mrmd_python.runtime.registry import OldRecordError, Record

if TYPE_CHECKING:
    from mrmd_python.manager.gpu import GpuMemory
    from mrmd_python.manager.status import Status

_COLORS = {"running": "green", "pending": "yellow", "starting": "yellow", "stopping": "yellow", "stopped": None}
_VENV_SOURCES = {
    "option": "named by --venv",
    "own": "mrmd-python is installed in it",
    "uv": "uv run extends it",
    "VIRTUAL_ENV": "named by VIRTUAL_ENV",
    "system": "the system's Python: no venv was named or active",
}
_HEADINGS = ("ID", "STATUS", "PID", "PORT", "UPTIME", "MEMORY", "GPU", "VENV")
_STATUS = _HEADINGS.index("STATUS")
_GPU = _HEADINGS.index("GPU")
_SPINNER_FRAMES = "|/-\\"
_SPINNER_DELAY_SECONDS = 0.3
_FRAME_SECONDS = 0.1


def no_such_runtime(runtime_id: str) -> ServiceError:
    """Return the error for an id that no runtime has."""
    return ServiceError(f"no runtime named {runtime_id!r}; see `mrmd-python --list`")


def note(text: str) -> None:
    """Print a note to stderr."""
    click.echo(f"mrmd-python: note: {printable(text)}", err=True)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def status_as_json(found: "Status") -> dict[str, Any]:
    """Return what --list and --info print of a runtime as JSON: its record and its current state."""
    state: dict[str, Any] = {
        "status": found.state,
        "uptime": found.uptime,
        "memory": found.memory,
        "gpuMemory": gpu.total(found.gpu_memory),
        "gpuProcesses": [held._asdict() for held in found.gpu_memory],
        "enabled": found.enabled,
    }
    if found.detail is not None:
        state["detail"] = found.detail
    if found.facts:
        state["facts"] = dict(found.facts)
    if found.error is not None:
        state["error"] = str(found.error)
    return record_as_json(found.id, found.record) | state


def record_as_json(runtime_id: str, record: Record | None) -> dict[str, Any]:
    """Return a record as JSON, or only the id if there is none."""
    return {"id": runtime_id} if record is None else asdict(record)


def print_table(found: "list[Status]") -> None:
    """Print a line for each runtime, and how to end those of older versions.

    The column for GPU memory is left out if no runtime uses a GPU.
    """
    rows = [_HEADINGS, *map(_row, found)]
    if not any(each.gpu_memory or "gpus" in each.facts for each in found):
        rows = [(*row[:_GPU], *row[_GPU + 1 :]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if row is not rows[0]:
            cells[_STATUS] = cells[_STATUS].replace(row[_STATUS], state_text(row[_STATUS]))
        click.echo("  ".join(cells).rstrip())
    for each in found:
        if isinstance(each.error, OldRecordError) and each.error.may_be_running:
            note(str(each.error))


def print_details(found: "Status", starts_at: str | None) -> None:
    """Print all that is known of a runtime, one fact per line; `starts_at` is when it starts, if it is enabled."""
    for name, value in _details(found, starts_at).items():
        text = printable(str(value))
        click.echo(f"{name + ':':<9}{state_text(text) if name == 'status' else text}")


def state_text(state: str) -> str:
    """Return a state, in color unless NO_COLOR is set."""
    color = None if state.startswith("on ") else _COLORS.get(state.split()[0], "red")
    return state if "NO_COLOR" in os.environ else click.style(state, fg=color)


def _state(found: "Status") -> str:
    """Return the state as users see it: ``on HOST`` for a runtime that lives there."""
    if found.state == "elsewhere" and found.record is not None:
        return f"on {found.record.hostname}"
    if found.detail is not None:
        return f"{found.state} ({found.detail})"
    node = found.facts.get("node")
    return found.state if node is None else f"{found.state} on {node}"


def memory_text(amount: int | None) -> str:
    """Return a number of bytes, as ``ls -h`` writes it."""
    if amount is None:
        return "-"
    size = float(amount)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def duration_text(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return "-"
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """On a terminal, show `text` and the elapsed seconds while the block runs, then erase the line.

    Yields a function that shows what the block is waiting for, too: as a line of its own if there is no terminal.
    """
    shown = [text]

    def show(progress: str) -> None:
        if shown[-1] != progress:
            shown.append(progress)
            if not is_terminal:
                click.echo(f"mrmd-python: {text}: {progress}", err=True)

    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if not is_terminal:
        yield show
        return
    ended = threading.Event()
    thread = threading.Thread(target=_spin, args=(text, shown, ended), daemon=True)
    thread.start()
    try:
        yield show
    finally:
        ended.set()
        thread.join()


def _spin(text: str, shown: list[str], ended: threading.Event) -> None:
    started = time.monotonic()
    if ended.wait(_SPINNER_DELAY_SECONDS):
        return
    count = 0
    while not ended.wait(_FRAME_SECONDS):
        frame = _SPINNER_FRAMES[count % len(_SPINNER_FRAMES)]
        waited = f"{text}: {time.monotonic() - started:.0f} s"
        line = waited if len(shown) == 1 else f"{waited}, {shown[-1]}"
        print(f"\r{frame} {line}\x1b[K", end="", file=sys.stderr, flush=True)
        count += 1
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # erase the line (ECMA-48, EL)


def _row(found: "Status") -> tuple[str, ...]:
    record = found.record
    if found.state == "elsewhere" and record is not None:
        return (found.id, _state(found), "-", "-", "-", "-", "-", record.venv)
    if record is None:
        return (found.id, _state(found), "-", "-", "-", "-", found.facts.get("gpus", "-"), "-")
    where = (str(record.pid), str(record.port)) if found.state == "running" else ("-", "-")
    gpus = found.facts.get("gpus") or memory_text(gpu.total(found.gpu_memory))
    used = (duration_text(found.uptime), memory_text(found.memory), gpus)
    return (found.id, _state(found), *where, *used, printable(record.venv))


def _details(found: "Status", starts_at: str | None) -> dict[str, object]:
    record = found.record
    details: dict[str, object] = {"id": found.id, "status": _state(found)}
    if found.uptime is not None:
        details |= {"uptime": duration_text(found.uptime), "memory": memory_text(found.memory)}
    details |= _gpu_details(found.gpu_memory) | dict(found.facts)
    if record is not None:
        details |= {
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
            details["token"] = record.token_file
    if found.enabled is not None:
        details["enabled"] = "no" if starts_at is None else f"yes, it starts at {starts_at}"
    return details


def _gpu_details(found: "Iterable[GpuMemory]") -> dict[str, object]:
    """Return a line for each GPU: what is allocated on it, and by which processes."""
    by_gpu: dict[int, list[GpuMemory]] = {}
    for held in found:
        by_gpu.setdefault(held.gpu, []).append(held)
    return {
        f"gpu {index}": f"{memory_text(gpu.total(here))} on {here[0].name} "
        f"({', '.join(f'PID {held.pid}: {memory_text(held.memory)}' for held in here)})"
        for index, here in by_gpu.items()
    }
