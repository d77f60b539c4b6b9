"""Interrupts of code that is hard to interrupt, and of what runs after it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, Event, text_of


def _wait_for_output(events: Iterator[Event], word: str) -> None:
    text = ""
    for event in events:
        if event.name == "stdout":
            text += event.data["content"]
            if word in text:
                return
    raise AssertionError(f"{word!r} was not printed, only {text!r}")


def _run_and_interrupt(client: Client, code: str) -> list[Event]:
    with client.streaming(f"print('runs')\n{code}") as events:
        _wait_for_output(events, "runs")
        assert client.post("/interrupt") == {"interrupted": True}
        rest = list(events)
    assert [event.data["type"] for event in rest if event.name == "error"] == ["KeyboardInterrupt"]
    return rest


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "!sleep 1000",
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    !sleep 1000",
        "import subprocess; subprocess.run(['sleep', '1000'])",
        "import threading; threading.Event().wait()",
        "import queue; queue.Queue().get()",
        "import asyncio; asyncio.run(asyncio.sleep(1000))",
        "import asyncio; asyncio.get_event_loop().run_until_complete(asyncio.sleep(1000))",
        "import asyncio; asyncio.new_event_loop().run_forever()",
        "import asyncio, uvloop; uvloop.run(asyncio.sleep(1000))",
        "import asyncio, time; task = asyncio.create_task(asyncio.sleep(0)); time.sleep(1000)",
        "import select; select.select([], [], [])",
        "import socket; a, b = socket.socketpair(); a.recv(1)",
        "import numpy\nx = numpy.random.rand(300, 300)\nwhile True: x @ x",
        "sum(x for x in iter(int, 1))",
        "import asyncio\nasync def spin():\n    while True: await asyncio.sleep(0)\nawait spin()",
    ],
)
def test_interrupt_ends_cell(client: Client, code: str) -> None:
    client.execute("kept = 42")
    _run_and_interrupt(client, code)
    assert client.value("kept") == "42"


def test_interrupt_ends_import(client: Client, home: Path) -> None:
    module = home / "slow_to_import.py"
    module.write_text("import time\nprint('importing', flush=True)\ntime.sleep(1000)")
    with client.streaming("import slow_to_import") as events:
        _wait_for_output(events, "importing")
        client.post("/interrupt")
        rest = list(events)
    assert [event.data["type"] for event in rest if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("import sys; 'slow_to_import' in sys.modules") == "False"
    module.unlink()


def test_finally_block_can_be_interrupted_too(client: Client) -> None:
    code = "try:\n    print('in try')\n    while True: pass\nfinally:\n    print('in finally')\n    while True: pass"
    with client.streaming(code) as events:
        _wait_for_output(events, "in try")
        assert client.post("/interrupt") == {"interrupted": True}
        _wait_for_output(events, "in finally")
        assert client.post("/interrupt") == {"interrupted": True}
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("1 + 1") == "2"


@pytest.mark.parametrize("wait", ["time.sleep(1000)", "[0 for _ in iter(int, 1)]"])
def test_code_that_catches_interrupts_can_be_interrupted_again(client: Client, wait: str) -> None:
    code = f"""
import time
for n in range(3):
    try:
        print(f"round {{n}}")
        {wait}
    except KeyboardInterrupt: pass
print("caught all")
"""
    with client.streaming(code) as events:
        for n in range(3):
            _wait_for_output(events, f"round {n}")
            assert client.post("/interrupt") == {"interrupted": True}
        rest = list(events)
    assert text_of(rest, "stdout").endswith("caught all\n")
    assert [event.name for event in rest][-2:] == ["result", "done"]


@pytest.mark.parametrize(
    "wait_in_finalizer",
    [
        "class Finalized:\n    def __del__(self): wait()\nFinalized()",
        "import weakref\nclass Referred: pass\nreferred = Referred()\n"
        "reference = weakref.ref(referred, lambda _: wait()); del referred",
    ],
)
def test_one_interrupt_ends_cell_waiting_in_a_finalizer(client: Client, wait_in_finalizer: str) -> None:
    """Python ignores exceptions in finalizers, but one interrupt must end the cell."""
    code = "import time\nwaited = []\ndef wait(): waited.append(1); print('waits'); time.sleep(1000)\n"
    with client.streaming(f"{code}{wait_in_finalizer}\ntime.sleep(1000)") as events:
        _wait_for_output(events, "waits")
        assert client.post("/interrupt") == {"interrupted": True}
        rest = list(events)
    assert [event.data["type"] for event in rest if event.name == "error"] == ["KeyboardInterrupt"]
    assert "ignored" not in text_of(rest, "stderr")
    assert client.value("1 + 1") == "2"


def test_sigint_handler_of_the_user_is_called(client: Client) -> None:
    code = """
import signal, time
handled = []
signal.signal(signal.SIGINT, lambda *_: handled.append(1))
print("waits")
while not handled: time.sleep(0.01)
print("handled")
"""
    with client.streaming(code) as events:
        _wait_for_output(events, "waits")
        client.post("/interrupt")
        assert "handled\n" in text_of(list(events), "stdout")
    _run_and_interrupt(client, "while True: pass")
