"""Invariants 5 and 6: output is complete, in order and bounded, and no reader changes an execution."""

import json

import psutil
import pytest

from tests.client import Client, text_of
from tests.machine import Machine, wait_until


def test_every_way_to_write_keeps_its_order(client: Client) -> None:
    code = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None)
for n in range(20):
    print("print", n)
    print("end", end=" ")
    os.system(f"echo system {n}")
    os.write(1, b"write\\n")
    subprocess.run(["echo", "run"])
    libc.printf(b"printf\\n"); libc.fflush(None)
    sys.stdout.write("sys.stdout\\n")
"""
    expected = "".join(f"print {n}\nend system {n}\nwrite\nrun\nprintf\nsys.stdout\n" for n in range(20))
    assert text_of(client.stream(code), "stdout") == expected
    assert client.execute(code)["stdout"] == expected


def test_displays_keep_their_order_in_the_output(client: Client) -> None:
    code = """
from IPython.display import Markdown, display
import sys
for n in range(50):
    print("before", n); print("error", n, file=sys.stderr)
    display({"image/png": "", "text/plain": "image"}, raw=True, metadata={"n": n})
"""
    seen = {"stdout": 0, "stderr": 0, "display": 0}
    for event in client.stream(code):
        if event.name in ("stdout", "stderr"):
            seen[event.name] += event.data["content"].count("\n")
        elif event.name == "display":
            seen["display"] += 1
            assert seen == {"stdout": seen["display"], "stderr": seen["display"], "display": seen["display"]}
    assert seen["display"] == 50


def test_no_display_of_many_is_lost(client: Client) -> None:
    code = "from IPython.display import display\nfor n in range(5000): display({'x/n': str(n)}, raw=True)"
    events = client.stream(code)
    assert [event.data["data"]["x/n"] for event in events if event.name == "display"] == list(map(str, range(5000)))


def test_output_never_moves_to_the_next_cell(client: Client) -> None:
    for number in range(100):
        result = client.execute(f"import os; print({number}); _ = os.system('echo {number}')")
        assert result["stdout"] == f"{number}\n{number}\n"


def test_thread_output_goes_to_the_running_execution_or_the_log(here: Machine) -> None:
    client = here.start("a")
    client.execute(
        "import sys, threading\ngo, printed = threading.Event(), threading.Event()\n"
        "def work():\n    go.wait(); print('late'); printed.set()\n"
        "    go.clear(); go.wait(); sys.stdout.write('later\\n')\n"
        "threading.Thread(target=work, daemon=True).start()"
    )
    assert client.execute("go.set(); printed.wait(); None")["stdout"] == "late\n"
    client.execute("threading.Timer(0.05, go.set).start()")
    log = here.home / ".mrmd" / "logs" / "a.log"
    wait_until(lambda: "session default, stdout: later" in log.read_text(), "the text is in the log")
    assert client.execute("None")["stdout"] == ""


def test_output_between_executions_is_logged_line_by_line(here: Machine) -> None:
    client = here.start("a")
    code = r"""
import os, sys, threading
from IPython.display import Markdown, display
go = threading.Event()
def work():
    go.wait()
    print("one"); print("tw", end=""); print("o"); print(); print("\x1b[31mred\x1b[0m"); print("three\r\nfour")
    sys.stdout.write("10%\r"); sys.stdout.write("20%\r\n")
    print("error", file=sys.stderr)
    display(Markdown("*m*"))
    display({"image/png": "", "text/plain": "an image\nof a cat"}, raw=True)
    display({"x/y": 1, "x/z": 2}, raw=True)
    print("x" * 200_000)
    os.system("echo child; printf 'no end'")
    os.write(2, b"no end either")
    open("done", "w").close()
threading.Thread(target=work).start()
"""
    client.execute(code)
    client.execute("threading.Timer(0.05, go.set).start()")
    wait_until((here.home / "done").exists, "the thread has finished")
    assert client.request("DELETE", "/sessions/default")[0] == 200
    log = (here.home / ".mrmd" / "logs" / "a.log").read_text()
    lines = [line.partition("session default, ")[2] for line in log.splitlines() if "session default, " in line]
    assert [line for line in lines if line.startswith("stderr")] == ["stderr: error", "stderr: no end either"]
    assert [line for line in lines if line.startswith("display")] == [
        "display: <IPython.core.display.Markdown object>",
        "display: an image",
        "display: of a cat",
        "display: x/y, x/z",
    ]
    printed = [line.removeprefix("stdout: ") for line in lines if line.startswith("stdout")]
    words = ["one", "two", "red", "three", "four", "10%", "20%"]
    assert printed[: len(words)] == words
    assert "".join(printed[len(words) : -2]) == "x" * 200_000, "an unfinished long line must be logged in parts"
    assert printed[-2:] == ["child", "no end"]


def test_invalid_utf8_is_replaced_and_does_not_reach_the_next_cell(client: Client) -> None:
    assert client.execute(r"import os; _ = os.write(1, b'\xff\x00\xe2\x82')")["stdout"] == "\ufffd\x00\ufffd"
    assert client.execute(r"_ = os.write(1, b'\xac')")["stdout"] == "\ufffd"


@pytest.mark.parametrize("read", ["at once", "later", "never"])
def test_long_output_uses_bounded_memory_and_never_blocks(here: Machine, read: str) -> None:
    """512 MiB exceed the log and every buffer between worker and client; the log keeps 48 MiB in full."""
    size = 48 if read == "at once" else 512
    client = here.start("a")
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    code = f"line = 'x' * 1023 + '\\n'\nfor n in range({size}): _ = __import__('sys').stdout.write(line * 1024)\n"
    sizes, text = [before], ""

    def is_done() -> bool:
        sizes.append(server.memory_info().rss)
        return bool(client.get("/executions/long")["state"] == "done")

    with client.streaming(code, accumulated=False, execId="long") as events:
        next(events)
        if read == "at once":
            text = text_of(list(events), "stdout")
        elif read == "later":
            next(events)
        wait_until(is_done, "the cell has ended without waiting for its reader", 60)
        if read == "later":
            text = text_of(list(events), "stdout")
    growth = (max(sizes) - before) >> 20
    assert growth < 96, f"the server grew by {growth} MiB"
    if read == "at once":
        assert len(text) == size * 2**20
    elif read == "later":
        assert "bytes of output are left out here" in text
        assert text.startswith("x" * 1023 + "\n")
        assert text.endswith("x" * 1023 + "\n")
        assert 48 * 2**20 < len(text) < 80 * 2**20


@pytest.mark.parametrize(
    ("code", "rich"),
    [
        ("'y' * SIZE", False),
        ("'y' * SIZE", True),
        ("raise ValueError('y' * SIZE)", True),
        ("display({'text/html': 'y' * SIZE}, raw=True)", False),
        ("display({'image/svg+xml': '<svg/>', 'text/html': 'y' * SIZE}, raw=True)", False),
        ("class C:\n    def _repr_mimebundle_(self, **_): return {'text/plain': 'C', 'a/b': 'y' * SIZE}\nC()", True),
    ],
    ids=["result", "rich result", "error", "display", "asset", "last expression"],
)
def test_kept_executions_use_little_server_memory(here: Machine, code: str, rich: bool) -> None:
    client = here.start("a")
    server = psutil.Process(client.pid)
    client.execute("SIZE = 1")
    before = server.memory_info().rss
    for number in range(5):
        body = json.dumps({"code": code.replace("SIZE", "20_000_000"), "execId": str(number), "rich": rich})
        assert client.fetch("POST", "/mrp/v1/execute", body, Content_Type="application/json").status == 200
    growth = (server.memory_info().rss - before) >> 20
    assert growth < 60, f"the server grew by {growth} MiB"
    assert [entry["execId"] for entry in client.get("/executions")["executions"]][1:] == list(map(str, range(5)))


def test_execution_continues_when_its_client_disconnects(client: Client) -> None:
    with client.streaming("import time\nfor n in range(20): print(n); time.sleep(0.02)\ndone = True") as events:
        next(events)
    assert client.value("done") == "True"


@pytest.mark.parametrize("accumulated", [True, False])
def test_streaming_costs_linear_bytes(client: Client, accumulated: bool) -> None:
    for lines in (1_000, 50_000):
        code = f"for n in range({lines}): print('x' * 79)"
        body = json.dumps({"code": code, "accumulated": accumulated})
        cost = len(client.fetch("POST", "/mrp/v1/execute/stream", body, Content_Type="application/json").body)
        printed = lines * 80
        assert cost / printed < (3 if accumulated else 1.6) + 2 * 256 * 1024 / printed, (
            f"{cost / printed:.2f} bytes sent per byte printed"
        )


def test_stream_of_many_short_events_costs_linear_bytes(here: Machine) -> None:
    client = here.start("a")
    code = """
import sys
from IPython.display import display
for n in range(5000):
    print(f"{n:079}"); print(f"{n:079}", file=sys.stderr); display({"x/n": ""}, raw=True)
"""
    client.execute(code, execId="x")
    assert len(client.fetch("GET", "/mrp/v1/executions/x/stream").body) < 8 * 10_000 * 80
    events = client.follow("x")
    expected = "".join(f"{n:079}\n" for n in range(5000))
    for stream in ("stdout", "stderr"):
        received = [event for event in events if event.name == stream]
        assert len(received) >= 5000
        assert text_of(received, stream) == expected
        head, _, rest = received[-1].data["accumulated"].partition("\n[mrmd-python: ")
        missing, _, tail = rest.partition(" bytes of output are left out here]\n")
        assert (expected.startswith(head), expected.endswith(tail)) == (True, True)
        assert len(head) + int(missing) + len(tail) == len(expected), (
            "the last accumulated text does not cover all output"
        )
