"""One execution: a cell on its way through the queue, the worker and the log."""

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from mrmd_python.server.assets import Asset
from mrmd_python.server.execution_log import ExecutionLog

_DISPLAYS_BYTES = 32 * 1024 * 1024
"""How much of its displays an execution's result repeats."""

_ENTRY_CHARACTERS = 64 * 1024
"""How much text an entry of the log has at most, so that no reader has to take more at a time."""

State = Literal["queued", "running", "done", "error"]


def timestamp() -> str:
    """Return the time as MRP writes it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat()


def new_execution_id() -> str:
    """Return an id for an execution that its client gave none."""
    return f"exec-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Cell:
    """What a client asked to run."""

    code: str
    session: str
    exec_id: str
    cell_id: str | None
    store_history: bool
    silent: bool
    allow_stdin: bool
    asset_dir: str | None


@dataclass(frozen=True)
class InputRequest:
    """A line that a cell asks its client for; `number` is the worker's."""

    number: int
    password: bool


@dataclass
class Execution:
    """A cell, its state and everything that came of it."""

    cell: Cell
    log: ExecutionLog = field(default_factory=ExecutionLog)
    state: State = "queued"
    created: str = field(default_factory=timestamp)
    started: str | None = None
    ended: str | None = None
    awaited_input: InputRequest | None = None
    """What it has asked its client for and not got yet."""
    ended_event: asyncio.Event = field(default_factory=asyncio.Event)
    assets: list[Asset] = field(default_factory=list)
    displays: list[dict[str, Any]] = field(default_factory=list)
    """What the result repeats."""
    _displays_size: int = 0
    _displays_are_full: bool = False
    outcome: dict[str, Any] = field(default_factory=dict)
    """The fields of MRP's ExecuteResult other than the text, once it has ended."""

    def as_json(self) -> dict[str, Any]:
        """Return it as MRP lists it."""
        return {
            "execId": self.cell.exec_id,
            "session": self.cell.session,
            "cellId": self.cell.cell_id,
            "state": self.state,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
        }

    def begin(self) -> None:
        """Leave the queue."""
        self.state = "running"
        self.started = timestamp()
        self._append("start", {"execId": self.cell.exec_id, "timestamp": self.started})

    def text(self, stream: str, text: str) -> None:
        """Add to stdout or stderr."""
        for start in range(0, len(text), _ENTRY_CHARACTERS):
            part = text[start : start + _ENTRY_CHARACTERS]
            self.log.append(stream, part.encode(errors="replace"))  # a client's JSON may hold half a surrogate pair

    def display(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Add a display."""
        display = {"data": data, "metadata": metadata}
        size = self._append("display", display)
        if self._displays_size + size <= _DISPLAYS_BYTES:
            self._displays_size += size
            self.displays.append(display)
        elif not self._displays_are_full:
            self._displays_are_full = True
            self.text("stderr", "mrmd-python: the displays from here on are not repeated in the result\n")

    def asset(self, asset: Asset) -> None:
        """Add a display that has become a file."""
        self.assets.append(asset)
        self._append("asset", asset.as_json())

    def ask(self, number: int, prompt: str, password: bool) -> None:
        """Ask the client for a line."""
        self.awaited_input = InputRequest(number, password)
        self._append("stdin_request", {"prompt": prompt, "password": password, "execId": self.cell.exec_id})

    def end(self, outcome: dict[str, Any]) -> None:
        """Finish with what the worker reported."""
        self.outcome = {
            "success": outcome["success"],
            "result": outcome.get("result"),
            "error": outcome.get("error"),
            "displayData": self.displays,
            "assets": [asset.as_json() for asset in self.assets],
            "executionCount": outcome.get("executionCount", 0),
            "duration": outcome.get("duration", 0.0),
            "imports": outcome.get("imports", []),
            "execId": self.cell.exec_id,
        }
        self.awaited_input = None
        self.state = "done" if outcome["success"] else "error"
        self.ended = timestamp()
        # A `result` is completed by each reader, which knows the text that it has read.
        self._append("result", {}) if outcome["success"] else self._append("error", outcome["error"])
        self._append("done", {})
        self.log.close()
        self.ended_event.set()

    def _append(self, name: str, data: dict[str, Any]) -> int:
        encoded = json.dumps(data).encode()
        self.log.append(name, encoded)
        return len(encoded)
