"""Sessions survive what cells do to their process."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.client import Client, text_of
from tests.machine import wait_until


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket that a cell notifies when it reaches a certain point."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


def _connect(listener: socket.socket) -> str:
    """Return code that connects `peer` to the listener."""
    return f"import socket; peer = socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}))"


def _block_the_loop(listener: socket.socket) -> str:
    """Return code that schedules one callback, in C, that notifies the listener and blocks: nobody reads the rest."""
    return f"{_connect(listener)}\nimport asyncio; asyncio.get_event_loop().call_soon(peer.sendall, b'x' * 2**26)"


@contextmanager
def _notified(listener: socket.socket) -> Iterator[None]:
    """Wait for the notification. The cell's end stays connected, and its callback blocked, until the block ends."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        assert connection.recv(1) == b"x"
        yield


@pytest.fixture
def client(client: Client) -> Iterator[Client]:
    client.execute("kept = 42")
    yield client
    assert client.get("/capabilities")["runtime"] == "mrmd-python", "the server does not answer any more"


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio; asyncio.get_event_loop().stop()",
        "import asyncio; asyncio.get_event_loop().close()",
        "import asyncio; asyncio.set_event_loop(None)",
        "import asyncio; asyncio.run(asyncio.sleep(0)); await asyncio.sleep(0)",
        "globals()[1] = 2",
        "import json; json.dumps = json.loads = lambda *a, **k: 'x'",
        "import os; json = os; del os",
        "'import os\\nx=' + '-' * 200000 + '1'",
        "import os; os.close(1); print('x')",
        "import os; os.close(2)",
        "import os; os.set_blocking(1, False)",
        "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf8')",
        "import sys; sys.stdout = sys.__stdout__ = None",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "class Bad(Exception):\n    def __str__(self): raise RuntimeError('bad')\nraise Bad",
        "x = []; x.append(x); x",
        "from IPython.display import display; display({'text/plain': 'x', 'application/json': {(1, 2): 3}}, raw=True)",
        "from IPython.display import display; display({'application/json': float('nan')}, raw=True)",
        "from IPython.display import display; display({'application/json': object()}, raw=True)",
        "class B:\n    def _repr_mimebundle_(self, **k): return {'text/plain': '', 'x/json': {(1,): 2}}\nB()",
        "import threading, gc\n[threading.Thread(target=lambda: None).start() for _ in range(10)]; gc.collect();",
        "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.wait();",
        "import builtins; print = repr = None",
        "import sys; sys.path.clear()",
        "%reset -f",
    ],
)
def test_session_survives_cell(client: Client, code: str) -> None:
    client.execute(code)
    pid = client.get("/sessions/default")["pid"]
    assert client.value("import os; os.getpid()") == str(pid), "the cell ended its process"
    assert client.get("/sessions/default")["pid"] == pid
    result = client.execute("text = 'y' * 3_000_000; import sys; _ = sys.stdout.write(text)")
    assert not result["success"] or len(result["stdout"]) == 3_000_000
    with client.streaming("while True: pass") as events:
        next(events)
        client.post("/interrupt")
        assert [event.name for event in events][-1] == "done"


def test_raising_input_transformer_fails_cells_and_keeps_the_session(client: Client) -> None:
    pid = client.value("import os; os.getpid()")
    client.execute("get_ipython().input_transformers_post.append(lambda lines: 1 / 0)")
    error = client.execute("1 + 1")["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "division by zero")
    assert str(client.get("/sessions/default")["pid"]) == pid


def test_cell_that_stops_the_event_loop_runs_once(client: Client) -> None:
    client.execute("n = globals().get('n', 0) + 1\nimport asyncio; asyncio.get_event_loop().stop()")
    assert client.value("n") == "1"
    assert client.value("n") == "1"


def test_sys_exit_in_a_background_task_ends_that_task(client: Client) -> None:
    client.execute("import asyncio, sys\nasync def f(): sys.exit()\nt = asyncio.get_event_loop().create_task(f())")
    assert client.value("kept") == "42"
    assert client.value("t.done()") == "True"


def test_cell_received_while_a_background_task_exits_runs_once(client: Client, listener: socket.socket) -> None:
    """The event loop receives the next cell in the iteration in which the task raises."""
    code = f"""
{_connect(listener)}
import asyncio, sys
async def f():
    peer.send(b"x"); peer.recv(1)
    await asyncio.sleep(0)
    sys.exit()
t = asyncio.get_event_loop().create_task(f())
"""
    client.execute(code)
    with _notified(listener):
        thread = threading.Thread(target=client.execute, args=("after = 1",))
        thread.start()
        wait_until(client.is_busy, "the next cell has been sent")
    thread.join(timeout=30)
    assert client.value("after, t.done()") == "(1, True)"


def test_session_works_while_a_thread_adds_globals(client: Client) -> None:
    client.execute(
        "import threading\nstop = False\n"
        "def add():\n    n = 0\n    while not stop: globals()[f'v{n % 5000}'] = n; n += 1\n"
        "threading.Thread(target=add).start()"
    )
    for _ in range(20):
        assert client.value("kept") == "42"
    client.execute("stop = True")


def test_interrupt_does_not_cut_a_display_message(client: Client) -> None:
    for _ in range(10):
        with client.streaming(
            "from IPython.display import display\nwhile True: display({'text/x': 1}, raw=True)"
        ) as events:
            assert next(events).name == "start"
            assert next(events).name == "display"
            client.post("/interrupt")
            assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("kept") == "42"


@pytest.mark.parametrize("block", ["time.sleep(1000)", "[0 for _ in iter(int, 1)]"])
def test_interrupt_reaches_task_of_an_awaiting_cell(client: Client, listener: socket.socket, block: str) -> None:
    task = f"async def f(): peer.send(b'x'); {block}\nawait asyncio.gather(f())"
    code = f"{_connect(listener)}\nimport asyncio, time\n{task}"
    with client.streaming(code) as events, _notified(listener):
        client.post("/interrupt")
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
    assert client.value("kept") == "42"


def test_blocked_event_loop_can_be_interrupted(client: Client, listener: socket.socket) -> None:
    client.execute(_block_the_loop(listener))
    with _notified(listener), client.streaming("kept") as events:
        assert next(events).name == "start"
        client.post("/interrupt")
        assert [event.name for event in events][-1] == "done"
        assert client.value("kept") == "42"


def test_session_with_blocked_event_loop_can_be_reset(client: Client, listener: socket.socket) -> None:
    client.execute(_block_the_loop(listener))
    with _notified(listener):
        assert client.post("/reset") == {"success": True}
        assert client.execute("kept")["error"]["type"] == "NameError"


def test_session_whose_reset_hangs_can_be_deleted(client: Client, listener: socket.socket) -> None:
    client.execute(_block_the_loop(listener), session="q")
    threads = [
        threading.Thread(target=client.post, args=("/reset", {"session": "q"})),
        threading.Thread(target=client.execute, args=("1",), kwargs={"session": "q"}),
    ]
    with _notified(listener):
        for thread in threads:
            thread.start()
        assert client.request("DELETE", "/sessions/q") == (200, {"success": True})
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert client.value("kept") == "42"


def test_deleting_a_busy_session_ends_its_execution_with_session_ended(client: Client) -> None:
    with client.streaming("while True: pass", session="q") as events:
        next(events)
        wait_until(lambda: client.is_busy("q"), "the cell runs")
        assert client.request("DELETE", "/sessions/q")[0] == 200
        rest = list(events)
    assert [event.name for event in rest][-2:] == ["error", "done"]
    assert rest[-2].data["type"] == "SessionEnded"


def test_starting_session_can_be_deleted(client: Client) -> None:
    for _ in range(5):
        with client.streaming("while True: pass", session="q") as events:
            next(events)
            assert client.request("DELETE", "/sessions/q")[0] == 200
            assert [event.name for event in events][-2:] == ["error", "done"]


def test_slow_reader_gets_all_output_of_a_deleted_session(client: Client) -> None:
    code = "for n in range(40): print(str(n % 10) * 500_000)\nimport time; time.sleep(1000)"
    with client.streaming(code, session="q", accumulated=False) as events:
        next(events)
        started = next(events)
        worker = psutil.Process(client.get("/sessions/q")["pid"])
        wait_until(lambda: worker.io_counters().write_chars >= 40 * 500_001, "the worker has written all output")
        assert client.request("DELETE", "/sessions/q")[0] == 200
        rest = [started, *events]
    assert text_of(rest, "stdout").startswith("".join(str(n % 10) * 500_000 + "\n" for n in range(40)))
    assert [event.name for event in rest][-2:] == ["error", "done"]


def test_alternating_streams_cost_bounded_memory_for_a_slow_reader(client: Client) -> None:
    code = """
import sys, time
for n in range(500):
    print("o" * 600)
    print("e" * 600, file=sys.stderr)
    time.sleep(0.004)
"""
    server = psutil.Process(client.pid)
    before = server.memory_info().rss
    with client.streaming(code, execId="alternating") as events:
        next(events)
        wait_until(lambda: client.get("/executions/alternating")["state"] == "done", "the cell has ended")
        seen = list(events)
    assert len(text_of(seen, "stdout")) == len(text_of(seen, "stderr")) == 500 * 601
    assert server.memory_info().rss - before < 64 * 2**20


@pytest.mark.parametrize(("lines", "chunked"), [(1, None), (20, "chunked")])
def test_large_result_is_sent_in_chunks(client: Client, lines: int, chunked: "str | None") -> None:
    """Building and sending a large result in one piece would block the server."""
    code = json.dumps(
        {"code": f"for n in range({lines}): print('é' * 1_000_0)\nfor n in range({lines}): print('x' * 99_999)"}
    )
    answer = client.fetch("POST", "/mrp/v1/execute", code, Content_Type="application/json")
    assert answer.headers.get("transfer-encoding") == chunked
    printed = json.loads(answer.body)["stdout"]
    assert printed == f"{'é' * 10_000}\n" * lines + f"{'x' * 99_999}\n" * lines


@pytest.mark.parametrize("session", ["", "a\nb", "\ud800", "x" * 300])
def test_invalid_session_id_is_rejected(client: Client, session: str) -> None:
    status, answer = client.request("POST", "/execute", {"code": "1", "session": session})
    assert (status, answer["code"]) == (400, "bad_session")
