"""An execution's log as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator

from mrmd_python.server.assets import AssetJson, DisplayJson
from mrmd_python.server.execution import VALUE, Execution, Outcome
from mrmd_python.server.execution_log import Entry, ExecutionLog
from mrmd_python.server.repetition import Repetition
from mrmd_python.server.text_window import left_out_line

KEEP_ALIVE_SECONDS = 15.0
_BATCH_BYTES = 128 * 1024
"""How much of a log is read at a time: what that takes is what another client may have to wait for."""
_PAUSE_SECONDS = 0.01
"""How long one that has much repeated to it waits between two batches, so that the next has more in it. Together with
the rest of an OutputPipe it stays within the 50 ms that MRP lets text wait."""
_TEXT = ("stdout", "stderr")


def encode(number: int, name: str, data: object) -> bytes:
    """Return one event; its data is ASCII, as MRP demands."""
    return _event(number, name, json.dumps(data).encode("ascii"))


def _event(number: int, name: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode("ascii"), data)


async def event_stream(execution: Execution, after: int, *, accumulated: bool) -> AsyncIterator[bytes]:
    """Yield the events that follow the number `after`, to the last, with comments to keep the connection alive.

    A number that no event has stands for the event before it.
    """
    log = execution.log
    seen = Repetition(_TEXT)
    position = min(after, log.last)
    await _catch_up(log, seen, position)
    while True:
        while log.last <= position and not log.closed:
            if not await log.wait(position, KEEP_ALIVE_SECONDS):
                yield b": keep-alive\n\n"
        entries, missed = log.read(position, _BATCH_BYTES)
        if not entries and log.closed:
            return
        position = entries[-1].number
        events = list(_merged(entries))
        last = {event.name: event for event in events}
        if missed:
            seen.leave_out("stdout", missed)
            gap = Entry(entries[0].number - len(entries[0].data), "stdout", left_out_line(missed).encode())
            yield _text_event(gap, seen if accumulated else None, is_last="stdout" not in last)
        for event in events:
            if event.name in _TEXT:
                seen.append(event.name, event.data.decode())
                yield _text_event(event, seen if accumulated else None, is_last=last[event.name] is event)
            elif event.name == "result":
                # Without the assets: each was an event of its own.
                assert execution.outcome is not None
                texts = {stream: seen.summary(stream) for stream in _TEXT}
                fields = {**execution.outcome, **texts, "assets": []}
                displays = b", ".join(execution.shown("display", VALUE))
                data = json.dumps(fields).encode("ascii")[:-1] + b', "displayData": [' + displays + b"]}"
                yield _event(event.number, "result", data)
            elif event.name != VALUE:
                yield _event(event.number, event.name, event.data)
        # Other clients are not to wait for one that reads as fast as this can write.
        await asyncio.sleep(_PAUSE_SECONDS if accumulated and seen.is_dear and not log.closed else 0)


def _text_event(event: Entry, seen: Repetition | None, *, is_last: bool) -> bytes:
    text = event.data.decode()
    so_far = {} if seen is None else {"accumulated": seen.repeat(event.name, text, is_last=is_last)}
    return encode(event.number, event.name, {"content": text, **so_far})


async def _catch_up(log: ExecutionLog, seen: Repetition, position: int) -> None:
    """Accumulate what a client that comes back has seen already: the events up to the number `position`."""
    reached = 0
    while reached < position:
        entries, missed = log.read(reached, _BATCH_BYTES)
        if missed:
            seen.leave_out("stdout", min(missed, position - reached))
        for entry in entries:
            if entry.name in _TEXT and entry.number <= position:
                seen.append(entry.name, entry.data.decode())
        reached = entries[-1].number
        await asyncio.sleep(0)


def _merged(entries: list[Entry]) -> Iterator[Entry]:
    """Put neighbouring text of one stream together: one event instead of many, under the number of the last."""
    for name, run in itertools.groupby(entries, key=lambda entry: entry.name):
        if name in _TEXT:
            texts = list(run)
            yield Entry(texts[-1].number, name, b"".join(entry.data for entry in texts))
        else:
            yield from run


class ExecuteResult(Outcome):
    """What came of a cell."""

    stdout: str
    stderr: str
    displayData: list[DisplayJson]
    assets: list[AssetJson]


async def result(execution: Execution) -> AsyncIterator[bytes]:
    """Wait for the end of an execution; yield MRP's ExecuteResult as JSON, with all the text that its log holds.

    In pieces, since that may be tens of megabytes, and other clients are not to wait for it.
    """
    await execution.ended_event.wait()
    yield json.dumps(execution.outcome).encode("ascii")[:-1]
    yield b', "displayData": ['
    async for piece in _listed(execution.shown("display", VALUE)):
        yield piece
    yield b'], "assets": ['
    async for piece in _listed(execution.shown("asset")):
        yield piece
    yield b"]"
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
            if position < execution.log.last:
                await asyncio.sleep(0)
        yield b'"'
    yield b"}\n"


async def _listed(items: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield what stands between the brackets of a JSON array."""
    separator = b""
    for item in items:
        yield separator + item
        separator = b", "
        await asyncio.sleep(0)


def _inside_json_string(text: str) -> bytes:
    return json.dumps(text).encode("ascii")[1:-1]
