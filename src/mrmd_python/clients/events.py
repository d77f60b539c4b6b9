"""The events of MRP's streams, and how they are read: Server-Sent Events, each with a number, a name and JSON.

docs/protocol.md describes them.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import msgspec


class Event(msgspec.Struct, rename="camel", tag_field="event", kw_only=True):
    """An event of a stream."""

    # A stream that is opened again after this number has all that followed.
    number: int = 0


class Start(Event, tag="start"):
    """The execution has left the queue."""

    exec_id: str
    timestamp: str


class Text(Event):
    """Text that the code has written."""

    content: str


class Stdout(Text, tag="stdout"):
    """Text on stdout."""


class Stderr(Text, tag="stderr"):
    """Text on stderr."""


class Stdin(Event, tag="stdin"):
    """A line of input that a client has sent, and no password. Only with `rich`; it is part of stdout otherwise."""

    content: str


class InputRequest(Event, tag="stdin_request"):
    """The code waits for a line of input."""

    prompt: str
    password: bool
    exec_id: str


class Display(Event, tag="display"):
    """Something was displayed: its forms by MIME type. An update replaces the earlier display with the same id."""

    data: dict[str, Any]
    metadata: dict[str, Any] = {}
    display_id: str | None = None
    update: bool = False
    # Whether it came after the last expression, whose value is in the result, as an open figure does.
    late: bool = False


class Asset(Event, tag="asset"):
    """Something was displayed, and saved to a file on the runtime's machine."""

    path: str
    url: str
    mime_type: str
    asset_type: str
    size: int
    metadata: dict[str, Any] = {}
    # Its other forms.
    data: dict[str, Any] = {}
    display_id: str | None = None
    update: bool = False


class ClearOutput(Event, tag="clear_output"):
    """Remove the output: at once or, with `wait`, when there is new output."""

    wait: bool


class Error(Event, tag="error"):
    """The code has failed."""

    type: str
    message: str
    traceback: list[str]
    # Where in the code.
    line: int | None = None
    column: int | None = None
    # The traceback in color; only with `rich`.
    ansi_traceback: list[str] = []


class Result(Event, tag="result"):
    """The code has succeeded, or is the answer of `Client.run`, which also reports failures."""

    success: bool
    stdout: str = ""
    stderr: str = ""
    # The last expression: its repr and, with `rich`, its forms by MIME type.
    result: str | None = None
    data: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    error: Error | None = None
    display_data: list[Display] = []
    assets: list[Asset] = []
    execution_count: int = 0
    # In milliseconds.
    duration: float = 0.0
    imports: list[str] = []
    exec_id: str = ""
    # What the code proposes as the next cell.
    next_input: str | None = None


class Done(Event, tag="done"):
    """The stream is complete."""


class Execution(Event):
    """An execution, when something happens to it."""

    exec_id: str
    session: str
    code: str
    # queued, running, done or error.
    state: str
    # Who has asked for it.
    client: str | None = None
    cell_id: str | None = None
    # Whether its client shows displays and errors itself: its stdout has only what the code writes.
    rich: bool = False
    created: str | None = None
    started: str | None = None
    ended: str | None = None


class Queued(Execution, tag="queued"):
    """An execution waits."""


class Started(Execution, tag="started"):
    """An execution has left the queue."""


class Ended(Execution, tag="ended"):
    """An execution has ended."""


ExecutionEvent: TypeAlias = (
    Start | Stdout | Stderr | Stdin | InputRequest | Display | Asset | ClearOutput | Result | Error | Done
)
# Text and displays are those that come while nothing runs.
SessionEvent: TypeAlias = Queued | Started | Ended | Stdout | Stderr | Display

_KINDS: dict[bytes, type[Event]] = {
    str(kind.__struct_config__.tag).encode(): kind
    for kind in (
        *(Start, Stdout, Stderr, Stdin, InputRequest, Display, Asset, ClearOutput, Result, Error, Done),
        *(Queued, Started, Ended),
    )
}


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Yield the events of a stream as they are complete; skip comments, and events that this version does not know."""
    buffer = bytearray()
    async for chunk in chunks:
        # An event can have many megabytes, so what was searched is not searched again.
        searched = max(0, len(buffer) - 1)
        buffer += chunk
        end = buffer.rfind(b"\n\n", searched)
        if end < 0:
            continue
        complete = bytes(buffer[:end])
        del buffer[: end + 2]
        for block in complete.split(b"\n\n"):
            fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
            kind = _KINDS.get(fields.get(b"event", b""))
            if kind is not None:
                event = _decoded(fields[b"data"], kind)
                event.number = int(fields[b"id"])
                yield event


def _decoded(data: bytes, kind: type[Event]) -> Event:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        # It has half a surrogate pair, which str and json can have. Neither UTF-8 nor a terminal can.
        return msgspec.json.decode(json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace"), type=kind)
