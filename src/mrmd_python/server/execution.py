"""One execution: a cell, its state and its log."""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec

from mrmd_python.server.assets import Asset, Display
from mrmd_python.server.execution_log import ExecutionLog
from mrmd_python.server.pace import Pace

# The longest text in one entry of the log: readers read whole entries.
_ENTRY_CHARACTERS = 64 * 1024

# The name of the log entry with the rich forms of the last expression. They are part of the result, not an event.
VALUE = "value"

State = Literal["queued", "running", "done", "error"]


def timestamp() -> str:
    """Return the time as MRP writes it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat()


class Cell(msgspec.Struct, rename="camel"):
    """The code that a client asks to run, with its options, named as in the request."""

    code: str
    session: str
    exec_id: str = ""
    cell_id: str | None = None
    cell_meta: Any = None
    store_history: bool = True
    silent: bool = False
    allow_stdin: bool = False
    asset_dir: str | None = None
    # Who asks for it.
    client: str | None = None
    # Whether the client renders displays, values and errors itself.
    rich: bool = False
    # Whether a failure drops the executions queued behind this one.
    stop_on_error: bool = False

    def __post_init__(self) -> None:
        self.exec_id = self.exec_id or f"exec-{secrets.token_hex(8)}"
        self.cell_id = self.cell_id or None
        self.asset_dir = self.asset_dir or None
        self.client = self.client or None


class InputRequest(NamedTuple):
    """A line of input that a cell waits for. The worker chose its number."""

    number: int
    password: bool


class _AnsiTraceback(TypedDict, total=False):
    ansiTraceback: list[str]


class CellErrorJson(_AnsiTraceback):
    """The error that ended a cell. Line and column are positions in the cell."""

    type: str
    message: str
    traceback: list[str]
    line: int | None
    column: int | None


class _NextInput(TypedDict, total=False):
    nextInput: str


class Outcome(_NextInput):
    """The fields of MRP's ExecuteResult that are not in the log."""

    success: bool
    result: str | None
    error: CellErrorJson | None
    executionCount: int
    duration: float
    imports: list[str]
    execId: str


class ExecutionJson(TypedDict):
    """An execution as MRP lists it."""

    execId: str
    session: str
    code: str
    client: str | None
    rich: bool
    cellId: str | None
    state: State
    created: str
    started: str | None
    ended: str | None
    awaitsInput: bool


@dataclass
class Execution:
    """A cell, its state, and its output and result."""

    cell: Cell
    log: ExecutionLog = field(default_factory=ExecutionLog)
    pace: Pace = field(default_factory=Pace)
    state: State = "queued"
    created: str = field(default_factory=timestamp)
    started: str | None = None
    ended: str | None = None
    # The input that it waits for.
    awaited_input: InputRequest | None = None
    ended_event: asyncio.Event = field(default_factory=asyncio.Event)
    # The number of new files for its displays.
    asset_count: int = 0
    # Set when it ends.
    outcome: Outcome | None = None
    # For each display, the entry that goes into the result, which is its last update: its name and position in the log.
    # The key is the position of the display's first entry.
    _final: dict[int, tuple[str, int]] = field(default_factory=dict)
    # The position of a display's first entry, by display id.
    _first_by_id: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> ExecutionJson:
        """Return the execution as MRP lists it."""
        return {
            "execId": self.cell.exec_id,
            "session": self.cell.session,
            "code": self.cell.code,
            "client": self.cell.client,
            "rich": self.cell.rich,
            "cellId": self.cell.cell_id,
            "state": self.state,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "awaitsInput": self.awaited_input is not None,
        }

    def begin(self) -> None:
        """Mark it as running."""
        self.state = "running"
        self.started = timestamp()
        self._append("start", {"execId": self.cell.exec_id, "timestamp": self.started})

    def text(self, stream: str, text: str) -> None:
        """Add to stdout or stderr."""
        for start in range(0, len(text), _ENTRY_CHARACTERS):
            part = text[start : start + _ENTRY_CHARACTERS]
            self.log.append(stream, part.encode(errors="replace"))  # JSON may hold a lone surrogate

    def echo(self, text: str) -> None:
        """Add a line of input. Other clients show it as a terminal does."""
        if self.cell.rich:
            self._append("stdin", {"content": text})
        else:
            self.text("stdout", text)

    def display(self, display: Display) -> None:
        """Add a display."""
        self._show("display", display, display.as_json())

    def asset(self, asset: Asset) -> None:
        """Add a display that was saved to a file."""
        if not asset.display.update:
            self.asset_count += 1
        self._show("asset", asset.display, asset.as_json())

    def value(self, display: Display) -> None:
        """Add the rich forms of the last expression, which clients get with the result."""
        self._show(VALUE, display, display.as_json())

    def displays(self) -> Iterator[bytes]:
        """Yield the JSON of the displays that go into the result; with `rich`, the last expression is not one."""
        return self._final_entries("display") if self.cell.rich else self._final_entries("display", VALUE)

    def assets(self) -> Iterator[bytes]:
        """Yield the JSON of the assets that go into the result."""
        return self._final_entries("asset")

    def rich_value(self) -> bytes:
        """Return the fields of the result with the forms of the last expression, as JSON without the braces."""
        entries = self._final_entries(VALUE) if self.cell.rich else iter(())
        return b"".join(b", " + entry[1:-1] for entry in entries)

    def _final_entries(self, *names: str) -> Iterator[bytes]:
        """Yield the JSON of the entries with these names that go into the result: the last update of each display."""
        for name, position in self._final.values():
            if name in names:
                entries, missed = self.log.read(position, 1)
                if not missed:
                    yield entries[0].data

    def clear_output(self, wait: bool) -> None:
        """Tell clients to clear the output that they show. The result still has all of it."""
        self._append("clear_output", {"wait": wait})

    def request_input(self, number: int, prompt: str, password: bool) -> None:
        """Ask the client for a line of input."""
        self.awaited_input = InputRequest(number, password)
        self._append("stdin_request", {"prompt": prompt, "password": password, "execId": self.cell.exec_id})

    def end(self, outcome: dict[str, Any]) -> None:
        """End the execution with the outcome that the worker reported."""
        error = None if outcome["success"] else outcome["error"]
        if error is not None and self.cell.rich:
            error = {"ansiTraceback": error["traceback"], **error}
        self.outcome = {
            "success": outcome["success"],
            "result": outcome.get("result"),
            "error": error,
            "executionCount": outcome.get("executionCount", 0),
            "duration": outcome.get("duration", 0.0),
            "imports": outcome.get("imports", []),
            "execId": self.cell.exec_id,
        }
        if "nextInput" in outcome:
            self.outcome["nextInput"] = outcome["nextInput"]
        self.awaited_input = None
        self.state = "done" if outcome["success"] else "error"
        self.ended = timestamp()
        # The result is empty here: each stream fills it in with the text that it has sent.
        self._append("error", error) if error is not None else self._append("result", {})
        self._append("done", {})
        self.log.close()
        self.ended_event.set()

    def _show(self, name: str, display: Display, data: Mapping[str, Any]) -> None:
        position = first = self.log.last
        self._append(name, data)
        if display.display_id is not None:
            if display.update:
                first = self._first_by_id.get(display.display_id, position)
            self._first_by_id[display.display_id] = first
        self._final[first] = name, position

    def _append(self, name: str, data: Mapping[str, Any]) -> None:
        self.log.append(name, json.dumps(data).encode())
