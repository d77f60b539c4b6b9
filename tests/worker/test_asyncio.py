"""One event loop for all cells: it counts as running even in a synchronous cell, which may still run another loop."""

import pytest

from tests.client import Client, text_of
from tests.interpreters import numbers
from tests.machine import wait_until


def test_top_level_await_and_async_statements_work(client: Client) -> None:
    code = """
import asyncio, contextlib
async def numbers():
    for n in range(3):
        await asyncio.sleep(0)
        yield n
@contextlib.asynccontextmanager
async def managed():
    yield "value"
async for n in numbers(): print(n)
async with managed() as value: print(value)
[n async for n in numbers()]
"""
    result = client.execute(code)
    assert (result["stdout"].splitlines()[:4], result["result"]) == (["0", "1", "2", "value"], "[0, 1, 2]")
    assert client.value("await asyncio.sleep(0, 42)") == "42"
    assert client.value("x = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)); x") == "[1, 2]"


def test_asyncio_run_works_in_a_cell(client: Client) -> None:
    client.execute("import asyncio\nasync def f(): await asyncio.sleep(0); return 42")
    assert client.value("asyncio.run(f())") == "42"
    assert client.value("await f()") == "42"
    assert client.value("asyncio.new_event_loop().run_until_complete(f())") == "42"
    assert client.value("await f()") == "42"
    nested = client.execute("async def g(): return asyncio.run(f())\nawait g()")
    assert nested["error"]["type"] == "RuntimeError", "asyncio.run() in a coroutine must fail, as in any Python"


_WORK = """
import asyncio, anyio, trio, uvloop
async def work(n): await asyncio.sleep(0.001); return n
async def any_work(n): await anyio.sleep(0.001); return n
"""


def test_task_started_without_await_continues_after_the_cell(client: Client) -> None:
    assert client.execute(f"{_WORK}task = asyncio.create_task(work(42))")["success"]
    wait_until(lambda: client.value("task.done()") == "True", "the task ends between cells")
    assert client.value("task.result()") == "42"
    assert client.value("asyncio.get_running_loop() is asyncio.get_event_loop() is task.get_loop()") == "True"


@pytest.mark.parametrize(
    "run",
    [
        "asyncio.run(work(1))",
        "asyncio.new_event_loop().run_until_complete(work(1))",
        "asyncio.get_event_loop().run_until_complete(work(1))",
        "asyncio.get_running_loop().run_until_complete(before)",
        "anyio.run(any_work, 1)",
        "anyio.run(any_work, 1, backend='trio')",
        "trio.run(any_work, 1)",
        "uvloop.run(work(1))",
        "uvloop.new_event_loop().run_until_complete(work(1))",
    ],
)
def test_cell_can_start_tasks_and_run_an_event_loop(client: Client, run: str) -> None:
    client.execute(_WORK)
    code = f"before = asyncio.create_task(work(1)); value = {run}; after = asyncio.create_task(work(2))"
    assert client.value(f"{code}\nvalue, before.get_loop() is after.get_loop()") == "(1, True)"
    assert client.value("await asyncio.gather(before, after)") == "[1, 2]"


def test_asyncio_runner_runs_more_than_once(client: Client) -> None:
    if numbers(client.get("/capabilities")["pythonVersion"]) < (3, 11):
        return  # asyncio.Runner is new in 3.11
    client.execute(_WORK)
    code = "with asyncio.Runner() as runner: values = runner.run(work(1)), runner.run(work(2))"
    assert client.value(f"{code}\nvalues, asyncio.create_task(work(3)).done()") == "((1, 2), False)"


def test_cell_uses_the_event_loop_it_sets(client: Client) -> None:
    code = f"""{_WORK}
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
future = asyncio.gather(work(1), work(2))
loop.run_until_complete(future), asyncio.get_event_loop() is loop
"""
    assert client.value(code) == "([1, 2], True)"
    assert client.value("asyncio.get_event_loop() is loop") == "False"
    assert client.value("await asyncio.create_task(work(3))") == "3"


def test_other_threads_and_forks_have_no_running_loop(client: Client) -> None:
    code = f"""{_WORK}
import os, threading
def run():
    try: return asyncio.get_running_loop()
    except RuntimeError: return asyncio.run(work(1)) + asyncio.new_event_loop().run_until_complete(work(1))
values = []
thread = threading.Thread(target=lambda: values.append(run())); thread.start(); thread.join()
child = os.fork()
if child == 0: os._exit(run() if run() == 2 else 1)
values, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    assert client.value(code) == "([2], 2)"


def test_session_survives_suspended_event_loop(client: Client) -> None:
    """Playwright's synchronous API leaves an event loop suspended in a greenlet."""
    code = f"""{_WORK}
import greenlet
cell = greenlet.getcurrent()
async def suspend():
    for n in range(2): greenlet.getcurrent().parent.switch(n)
    return await asyncio.create_task(work(2))
suspended = greenlet.greenlet(lambda: asyncio.get_event_loop().run_until_complete(suspend()))
suspended.switch()
"""
    assert client.value(code) == "0"
    assert client.value("await work(42)") == "42"
    assert client.value("suspended.switch()") == "1"
    assert client.value("suspended.switch(), asyncio.run(work(3))") == "(2, 3)"
    assert client.value("await asyncio.create_task(work(4))") == "4"


def test_nest_asyncio_works(client: Client) -> None:
    client.execute(f"{_WORK}import nest_asyncio; nest_asyncio.apply()")
    assert client.value("asyncio.run(work(1)), asyncio.get_event_loop().run_until_complete(work(2))") == "(1, 2)"
    assert client.value("async def nested(): return asyncio.run(work(3))\nawait nested()") == "3"
    assert client.value("await asyncio.create_task(work(4))") == "4"
    assert client.request("DELETE", "/sessions/default")[0] == 200, (
        "nest_asyncio has changed asyncio for the whole process"
    )


def test_background_task_continues_between_cells(client: Client) -> None:
    code = """
import asyncio
count = 0
async def counting():
    global count
    while True:
        await asyncio.sleep(0.001)
        count += 1
task = asyncio.get_event_loop().create_task(counting())
"""
    assert client.execute(code)["success"]
    wait_until(lambda: int(client.value("count")) > 10, "the task runs between cells")
    assert client.execute("async def hold(): return task\n(await hold()) is task")["result"] == "True"
    assert client.value("task.cancel()") == "True"
    wait_until(lambda: client.value("task.cancelled()") == "True", "the task is cancelled between cells")


def test_task_of_an_awaiting_cell_can_be_awaited_in_the_next(client: Client) -> None:
    client.execute(
        "import asyncio\nevent = asyncio.Event()\ntask = asyncio.create_task(event.wait()); await asyncio.sleep(0)"
    )
    client.execute("event.set()")
    assert client.value("await task") == "True"


@pytest.mark.parametrize("framework", ["trio", "anyio", "anyio.trio"])
def test_trio_and_anyio_run_and_can_be_interrupted(client: Client, framework: str) -> None:
    name, _, backend = framework.partition(".")
    options = f", backend={backend!r}" if backend else ""
    client.execute(f"import {name}\nasync def f(seconds): print('runs'); await {name}.sleep(seconds); return 42")
    assert client.value(f"{name}.run(f, 0{options})") == "42"
    with client.streaming(f"{name}.run(f, 1000{options})") as events:
        for event in events:
            if event.name == "stdout":
                break
        assert client.post("/interrupt") == {"interrupted": True}
        rest = list(events)
    # Before Python 3.11, anyio turns KeyboardInterrupt into CancelledError, in any program.
    old = framework == "anyio" and numbers(client.get("/capabilities")["pythonVersion"]) < (3, 11)
    kind = "CancelledError" if old else "KeyboardInterrupt"
    assert [event.data["type"] for event in rest if event.name == "error"] == [kind]
    assert client.value(f"{name}.run(f, 0{options})") == "42"


def test_interrupt_cancels_an_awaiting_cell(client: Client) -> None:
    code = "import asyncio\ntry:\n print('runs')\n await asyncio.sleep(1000)\nfinally: print('cleaned up')"
    with client.streaming(code) as events:
        while next(events).name != "stdout":
            pass
        client.post("/interrupt")
        rest = list(events)
    assert "cleaned up\n" in text_of(rest, "stdout")
    assert [event.data["type"] for event in rest if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("await asyncio.sleep(0, 42)") == "42"


def test_context_variable_keeps_its_value_between_cells(client: Client) -> None:
    """Also from a cell with `await` to one without, so that one cell can reset what another has set."""
    client.execute("import asyncio, contextvars, decimal; v = contextvars.ContextVar('v', default=0); first = v.set(1)")
    assert client.value("await asyncio.sleep(0); second = v.set(v.get() + 1); v.get()") == "2"
    assert client.value("v.get()") == "2"
    assert client.value("decimal.getcontext().prec = 3; await asyncio.sleep(0); v.reset(second); v.get()") == "1"
    assert client.value("v.reset(first); v.get(), str(decimal.Decimal(1) / 3)") == "(0, '0.333')"
    client.execute("async def sets(): v.set(3); await asyncio.sleep(0)")
    assert client.value("await asyncio.create_task(sets()); v.get()") == "0", (
        "a task must have a copy of the context, as in any Python"
    )
    assert client.value("await sets(); v.get()") == "3"
    client.post("/reset")
    assert client.value("import decimal; str(decimal.Decimal(1) / 3)") != "0.333"
