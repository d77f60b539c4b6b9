"""An execution's log as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping

from mrmd_python.server.execution import Execution
from mrmd_python.server.execution_log import Entry, ExecutionLog
from mrmd_python.server.text_window import TextWindow, left_out_line

KEEP_ALIVE_SECONDS = 15.0
_BATCH_BYTES = 256 * 1024
_TEXT = ("stdout", "stderr")


def encode(number: int, name: str, data: object) -> bytes:
    """Return one event; its data is ASCII, as MRP demands."""
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode("ascii")


async def event_stream(execution: Execution, after: int, *, accumulated: bool) -> AsyncIterator[bytes]:
    """Yield the events that follow the number `after`, to the last, with comments to keep the connection alive."""
    log = execution.log
    windows = {name: TextWindow() for name in _TEXT}
    position = _catch_up(log, windows, after)
    while True:
        while log.last <= position and not log.closed:
            try:
                await asyncio.wait_for(log.wait(position), KEEP_ALIVE_SECONDS)
            except asyncio.TimeoutError:
                yield b": keep-alive\n\n"
        entries, missed = log.read(position, _BATCH_BYTES)
        if not entries and log.closed:
            return
        position = entries[-1].number
        if missed:
            windows["stdout"].leave_out(missed)
            yield _text_event(entries[0].number - 1, "stdout", left_out_line(missed), windows, accumulated)
        for entry in _merged(entries):
            if entry.name in windows:
                text = entry.data.decode()
                windows[entry.name].append(text)
                yield _text_event(entry.number, entry.name, text, windows, accumulated)
            elif entry.name == "result":
                texts = {stream: str(window) for stream, window in windows.items()}
                # Assets have been told as they came.
                yield encode(entry.number, "result", execution.outcome | texts | {"assets": []})
            else:
                yield encode(entry.number, entry.name, json.loads(entry.data))


def _text_event(number: int, name: str, text: str, windows: Mapping[str, TextWindow], accumulated: bool) -> bytes:
    so_far = {"accumulated": str(windows[name])} if accumulated else {}
    return encode(number, name, {"content": text, **so_far})


def _catch_up(log: ExecutionLog, windows: Mapping[str, TextWindow], after: int) -> int:
    """Accumulate what a client that comes back has seen already; return the number of the last of that."""
    position = 0
    while position < min(after, log.last):
        entries, missed = log.read(position, _BATCH_BYTES)
        if missed:
            windows["stdout"].leave_out(missed)
        for entry in entries:
            if entry.name in windows and entry.number <= after:
                windows[entry.name].append(entry.data.decode())
        position = min(after, entries[-1].number)
    return position


def _merged(entries: list[Entry]) -> Iterator[Entry]:
    """Put neighbouring text of one stream together: one event instead of many, under the number of the last."""
    for name, run in itertools.groupby(entries, key=lambda entry: entry.name):
        if name in _TEXT:
            texts = list(run)
            yield Entry(texts[-1].number, name, b"".join(entry.data for entry in texts))
        else:
            yield from run


async def result(execution: Execution) -> AsyncIterator[bytes]:
    """Wait for the end of an execution; yield MRP's ExecuteResult as JSON, with all the text that its log holds.

    In pieces, since that may be tens of megabytes, and other clients are not to wait for it.
    """
    await execution.ended_event.wait()
    yield json.dumps(execution.outcome).encode("ascii")[:-1]
    for name in _TEXT:
        yield f', "{name}": "'.encode("ascii")
        position = 0
        while position < execution.log.last:
            entries, missed = execution.log.read(position, _BATCH_BYTES)
            if missed and name == "stdout":
                yield _inside_json_string(left_out_line(missed))
            text = b"".join(entry.data for entry in entries if entry.name == name).decode()
            yield _inside_json_string(text)
            position = entries[-1].number
            await asyncio.sleep(0)
        yield b'"'
    yield b"}\n"


def _inside_json_string(text: str) -> bytes:
    return json.dumps(text).encode("ascii")[1:-1]
