"""The client of `mrmd_python.connect`: its methods, what it does when connections break, and its errors."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mrmd_python.clients.client import Client as MrpClient
from mrmd_python.clients.errors import ConnectionLostError, RequestError, RuntimeEndedError
from mrmd_python.clients.events import Asset, Ended, Error, InputRequest, Queued, Result, Start, Started, Stdout
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record
from tests.client import DRAWING, Client
from tests.machine import Machine

_LINES = 60_000


def _record(machine: Machine, runtime_id: str) -> tuple[Home, Record]:
    home = Home(machine.home / ".mrmd")
    record = registry.read(home, runtime_id)
    assert record is not None
    return home, record


def _run(machine: Machine, runtime_id: str, use: Callable[[MrpClient], Awaitable[None]]) -> None:
    """Let a function use a client of a runtime."""

    async def connected() -> None:
        async with MrpClient(*_record(machine, runtime_id), name="a test") as client:
            await use(client)

    asyncio.run(connected())


class _CuttingProxy:
    """Forwards connections to a port, and cuts the first ones, each after a random number of bytes of the answer."""

    def __init__(self, port: int, cuts: int) -> None:
        self._port = port
        self._random = random.Random(cuts)
        self.cuts_left = cuts

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen while the block runs; yields the port."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limit = None
        if self.cuts_left > 0:
            self.cuts_left -= 1
            limit = self._random.choice([0, self._random.randrange(1, 400), self._random.randrange(1, 80_000)])
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            request = asyncio.create_task(_copy(reader, server_writer, None))
            await _copy(server_reader, writer, limit)
            request.cancel()
        finally:
            server_writer.transport.abort()
            writer.transport.abort() if limit is not None else writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
    """Copy to the end of the input, or as many bytes as `limit`."""
    while limit != 0:
        data = await reader.read(65536 if limit is None else min(limit, 65536))
        if not data:
            return
        writer.write(data)
        await writer.drain()
        limit = None if limit is None else limit - len(data)


def test_nothing_is_lost_or_repeated_when_the_connection_is_cut_50_times(
    shared: Client, shared_machine: Machine, tmp_path: Path
) -> None:
    home, record = _record(shared_machine, "shared")
    code = (
        "from IPython.display import display\n"
        "runs = globals().get('runs', 0) + 1\n"
        f"for n in range({_LINES}):\n"
        "    print(n, 'é' * (n % 7), '\\U0001f600')\n"
        "    if n % 1000 == 0: display({'x/n': n}, raw=True)\n"
        "runs"
    )

    async def events_through_proxy() -> list[Any]:
        proxy = _CuttingProxy(record.port, 50)
        async with proxy.listening() as port:
            behind = dataclasses.replace(record, port=port)
            async with MrpClient(home, behind) as client:
                events = [event async for event in client.execute(code, rich=True)]
            assert proxy.cuts_left == 0
        return events

    events = asyncio.run(events_through_proxy())
    written = "".join(event.content for event in events if isinstance(event, Stdout))
    assert written == "".join(f"{n} {'é' * (n % 7)} \U0001f600\n" for n in range(_LINES))
    assert [event.data["x/n"] for event in events if hasattr(event, "data") and "x/n" in (event.data or {})] == list(
        range(0, _LINES, 1000)
    )
    assert (events[-1].success, events[-1].result) == (True, "1"), "the code has run more than once"


def test_request_whose_answer_is_cut_runs_once(shared: Client, shared_machine: Machine) -> None:
    home, record = _record(shared_machine, "shared")

    async def run_through_proxy() -> list[Any]:
        proxy = _CuttingProxy(record.port, 3)
        async with proxy.listening() as port, MrpClient(home, dataclasses.replace(record, port=port)) as client:
            return [await client.run("runs = globals().get('runs', 0) + 1; runs"), await client.sessions()]

    result, sessions = asyncio.run(run_through_proxy())
    assert (result.success, result.result) == (True, "1")
    assert sessions[0]["id"] == "default"


def test_events_are_typed_and_input_is_answered(shared: Client, shared_machine: Machine) -> None:
    async def use(client: MrpClient) -> None:
        events = []
        async for event in client.execute(f"print(input('Name? ')); {DRAWING}", exec_id="typed"):
            events.append(event)
            if isinstance(event, InputRequest):
                assert (event.prompt, event.password) == ("Name? ", False)
                assert (await client.executions())[-1]["awaitsInput"]
                assert await client.answer("typed", "Ada")
                assert not await client.answer("typed", "twice")
        assert "".join(event.content for event in events if isinstance(event, Stdout)) == "Name? Ada\nAda\n"
        (asset,) = [event for event in events if isinstance(event, Asset)]
        assert b"<svg" in await client.asset(asset.url)
        assert isinstance(events[-1], Result)
        again = [event async for event in client.follow("typed", after=events[-2].number)]
        assert again == events[-1:]
        failed = [event async for event in client.execute("1 / 0")]
        assert isinstance(failed[-1], Error)
        assert (failed[-1].type, failed[-1].line) == ("ZeroDivisionError", 1)

    _run(shared_machine, "shared", use)


def test_code_can_be_interrupted_cancelled_and_left(shared: Client, shared_machine: Machine) -> None:
    async def use(client: MrpClient) -> None:
        exec_id = await client.submit("while True: pass")
        waiting = await client.submit("input()")
        assert not await client.interrupt("no such session")
        await client.cancel(waiting)
        error = (await client.execution(waiting))["result"]["error"]
        assert error is not None
        assert error["type"] == "ExecutionDropped"
        assert await client.interrupt()
        *_, last = [event async for event in client.follow(exec_id)]
        assert isinstance(last, Error)
        assert last.type == "KeyboardInterrupt"
        async for event in client.execute("input()", exec_id="cancelled"):
            if isinstance(event, InputRequest):
                assert await client.cancel_input("cancelled")
        assert isinstance(event, Error)
        assert event.type == "InputCancelled"

    _run(shared_machine, "shared", use)


def test_other_endpoints_are_methods(shared: Client, shared_machine: Machine) -> None:
    async def use(client: MrpClient) -> None:
        session = await client.create_session("methods", environment={"cwd": "/"})
        assert session["environment"]["cwd"] == "/"
        await client.run("table = {'rows': [1, 2, 3]}", session="methods")
        assert [match["label"] for match in (await client.complete("tabl", 4, "methods"))["matches"]] == ["table"]
        assert (await client.inspect("len", 3))["signature"] is not None
        assert (await client.hover("table", 2, "methods"))["type"] == "dict"
        assert [found["name"] for found in (await client.variables("methods", "tab"))["variables"]] == ["table"]
        assert (await client.variable("table", ["rows"], "methods", maxChildren=2))["truncated"]
        assert (await client.is_complete("for n in x:"))["status"] == "incomplete"
        assert (await client.format("x=1"))["formatted"] == "x = 1"
        assert (await client.history(session="methods"))["entries"][-1]["code"] == "table = {'rows': [1, 2, 3]}"
        assert "methods" in [found["id"] for found in await client.sessions()]
        assert (await client.capabilities())["runtime"] == "mrmd-python"
        await client.reset("methods")
        assert (await client.variables("methods"))["count"] == 0
        await client.delete_session("methods")
        assert "methods" not in [found["id"] for found in await client.sessions()]

    _run(shared_machine, "shared", use)


def test_activity_of_a_session_says_who_runs_what(shared: Client, shared_machine: Machine) -> None:
    async def use(client: MrpClient) -> None:
        await client.run("0", session="watched")
        events = client.session_events("watched", after=0)
        assert [type(await anext(events)) for _ in range(3)] == [Queued, Started, Ended]
        shared.execute("41 + 1", session="watched", client="an editor")
        queued = await anext(events)
        assert isinstance(queued, Queued)
        assert (queued.code, queued.client, queued.state) == ("41 + 1", "an editor", "queued")
        await client.delete_session("watched")
        assert [type(event) async for event in events] == [Started, Ended]

    _run(shared_machine, "shared", use)


def test_end_of_the_runtime_is_an_error(here: Machine) -> None:
    running = here.start("a")

    async def use(client: MrpClient) -> None:
        exec_id = await client.submit("input()")
        events = client.follow(exec_id)
        assert isinstance(await anext(events), Start)
        here.kill("KILL", running.pid)
        with pytest.raises(RuntimeEndedError, match="'a' has crashed; see: mrmd-python --logs a"):
            _ = [event async for event in events]

    _run(here, "a", use)


def test_errors_say_what_to_do(here: Machine, free_port: int) -> None:
    here.start("a", "--token")
    home, record = _record(here, "a")
    home.token("a").write_text("another-token-than-that\n")

    async def error_of(changed: Record, request: Callable[[MrpClient], Awaitable[Any]]) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            async with MrpClient(home, changed) as client:
                await request(client)
        return caught.value

    refused = asyncio.run(error_of(record, lambda client: client.sessions()))
    assert str(refused) == f"the runtime 'a' does not accept the token in {home.token('a')}"
    gone = dataclasses.replace(record, port=free_port)
    lost = asyncio.run(error_of(gone, lambda client: client.answer("x", "y")))
    assert isinstance(lost, ConnectionLostError)
    assert str(lost).startswith("the runtime 'a' does not answer: ")


def test_refusal_has_the_words_of_the_runtime(shared: Client, shared_machine: Machine) -> None:
    async def use(client: MrpClient) -> None:
        with pytest.raises(RequestError, match="there is no execution 'none'") as caught:
            await client.execution("none")
        assert (caught.value.status, caught.value.code) == (404, "unknown_execution")

    _run(shared_machine, "shared", use)
