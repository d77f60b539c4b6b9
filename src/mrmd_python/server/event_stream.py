"""Logs as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypedDict

import msgspec

from mrmd_python.server.accumulated_text import AccumulatedText, omission_line
from mrmd_python.server.activity import ActivityLog
from mrmd_python.server.assets import AssetJson, DisplayJson
from mrmd_python.server.event_log import Entry, EventLog
from mrmd_python.server.execution import VALUE, Execution, Outcome
from mrmd_python.server.pace import Pace

KEEP_ALIVE_SECONDS = 15.0
# How much of a log is read at a time. Other clients wait until the batch is sent.
_BATCH_BYTES = 128 * 1024
# How long a stream that is over budget waits between two batches, so that the next one has more text in it. Together
# with the delay in OutputPipe this stays within the 50 ms that MRP allows between text and its event.
_PAUSE_SECONDS = 0.01
_TEXT = ("stdout", "stderr")
_KEEP_ALIVE = b": keep-alive\n\n"

_Batches: TypeAlias = AsyncIterator[tuple[list[Entry], int]]


def encode(number: int, name: str, data: object) -> bytes:
    """Return one event. Its data is ASCII, as MRP requires."""
    return _event(number, name, json.dumps(data).encode("ascii"))


def _event(number: int, name: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode("ascii"), data)


async def event_stream(execution: Execution, after: int, *, accumulated: bool) -> AsyncIterator[bytes]:
    """Yield all events after the number `after`, and comments that keep the connection alive.

    If no event has that number, the stream starts after the last event with a lower one.
    """
    log = execution.log
    output = AccumulatedText(_TEXT)
    position = min(after, log.last)
    await _catch_up(log, output, position)
    batches = _batches(log, position)
    # What has all text in each event is far slower, and leaves out the middle of long text in any case.
    async for entries, missed in batches if accumulated else _paced(batches, execution.pace, position):
        if not entries:
            yield _KEEP_ALIVE
            continue
        events = list(_merged(entries))
        last = {event.name: event for event in events}
        if missed:
            output.skip("stdout", missed)
            gap = Entry(entries[0].number - len(entries[0].data), "stdout", omission_line(missed).encode())
            yield _text_event(gap, output if accumulated else None, is_last="stdout" not in last)
        for event in events:
            if event.name in _TEXT:
                output.append(event.name, event.data.decode())
                yield _text_event(event, output if accumulated else None, is_last=last[event.name] is event)
            elif event.name == "result":
                assert execution.outcome is not None
                texts = {stream: output.for_result(stream) for stream in _TEXT}
                # Each asset has had its own event and, with `rich`, each display, which may have megabytes.
                displays = b", ".join(() if execution.cell.rich else execution.displays())
                fields = json.dumps({**execution.outcome, **texts, "assets": []}).encode("ascii")[:-1]
                data = fields + b', "displayData": [' + displays + b"]" + execution.rich_value() + b"}"
                yield _event(event.number, "result", data)
            elif event.name != VALUE:
                yield _event(event.number, event.name, event.data)
        # Serve other clients, even if this one reads as fast as the server writes.
        await asyncio.sleep(_PAUSE_SECONDS if accumulated and output.over_budget and not log.closed else 0)


async def activity_stream(activity: ActivityLog, after: int) -> AsyncIterator[bytes]:
    """Yield all events after the number `after` that are kept, until the session ends, and keep-alive comments."""
    async for entries, _ in _batches(activity, min(max(after, activity.start), activity.last)):
        if not entries:
            yield _KEEP_ALIVE
        for event in _merged(entries):
            yield (
                _text_event(event, None, is_last=True)
                if event.name in _TEXT
                else _event(event.number, event.name, event.data)
            )
        await asyncio.sleep(0)


async def _batches(log: EventLog, position: int) -> _Batches:
    """Yield what `read` returns after the number `position`, until the log ends. No entries: a keep-alive is due."""
    while True:
        while log.last <= position and not log.closed:
            if not await log.wait(position, KEEP_ALIVE_SECONDS):
                yield [], 0
        entries, missed = log.read(position, _BATCH_BYTES)
        if not entries and log.closed:
            return
        position = entries[-1].number
        yield entries, missed


async def _paced(batches: _Batches, pace: Pace, position: int) -> _Batches:
    """Yield the same, and let the code that writes wait for this reader."""
    with pace.reading(position) as reader:
        async for entries, missed in batches:
            yield entries, missed
            if entries:
                reader.advance(entries[-1].number)


def _text_event(event: Entry, output: AccumulatedText | None, *, is_last: bool) -> bytes:
    text = event.data.decode()
    data = b'{"content": ' + _json_string(text)
    if output is not None:
        data += b', "accumulated": ' + _json_string(output.so_far(event.name, text, is_last=is_last))
    return _event(event.number, event.name, data + b"}")


async def _catch_up(log: EventLog, output: AccumulatedText, position: int) -> None:
    """Accumulate the text that a returning client has received already: the events up to the number `position`."""
    reached = 0
    while reached < position:
        entries, missed = log.read(reached, _BATCH_BYTES)
        if missed:
            output.skip("stdout", min(missed, position - reached))
        for entry in entries:
            if entry.name in _TEXT and entry.number <= position:
                output.append(entry.name, entry.data.decode())
        reached = entries[-1].number
        await asyncio.sleep(0)


def _merged(entries: list[Entry]) -> Iterator[Entry]:
    """Join consecutive text of one stream into one event, with the number of the last."""
    for name, run in itertools.groupby(entries, key=lambda entry: entry.name):
        if name in _TEXT:
            texts = list(run)
            yield Entry(texts[-1].number, name, b"".join(entry.data for entry in texts))
        else:
            yield from run


class _Value(TypedDict, total=False):
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]


class ExecuteResult(Outcome, _Value):
    """The result of an execution."""

    stdout: str
    stderr: str
    displayData: list[DisplayJson]
    assets: list[AssetJson]


async def result(execution: Execution) -> AsyncIterator[bytes]:
    """Wait for the end of an execution, and yield MRP's ExecuteResult as JSON, with all the text in its log.

    It may have tens of megabytes, so it is sent in pieces, and other clients are served in between.
    """
    await execution.ended_event.wait()
    yield json.dumps(execution.outcome).encode("ascii")[:-1]
    yield b', "displayData": ['
    async for piece in _comma_separated(execution.displays()):
        yield piece
    yield b'], "assets": ['
    async for piece in _comma_separated(execution.assets()):
        yield piece
    yield b"]" + execution.rich_value()
    for name in _TEXT:
        yield f', "{name}": "'.encode("ascii")
        position = 0
        while position < execution.log.last:
            entries, missed = execution.log.read(position, _BATCH_BYTES)
            if missed and name == "stdout":
                yield _json_string(omission_line(missed))[1:-1]
            text = b"".join(entry.data for entry in entries if entry.name == name).decode()
            yield _json_string(text)[1:-1]
            position = entries[-1].number
            if position < execution.log.last:
                await asyncio.sleep(0)
        yield b'"'
    yield b"}\n"


async def _comma_separated(items: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the items of a JSON array, without the brackets."""
    separator = b""
    for item in items:
        yield separator + item
        separator = b", "
        await asyncio.sleep(0)


def _json_string(text: str) -> bytes:
    # msgspec is eight times as fast as json, but does not escape other characters.
    return msgspec.json.encode(text) if text.isascii() else json.dumps(text).encode("ascii")
