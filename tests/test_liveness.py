"""The server answers whatever a session does, and reports how its worker died (invariant 7)."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, text_of
from tests.machine import Machine, wait_until


def test_interrupt_right_after_the_start_is_not_lost(client: Client) -> None:
    """The interrupt may arrive before the worker has begun the cell, or before there is a worker."""
    for attempt in range(20):
        session = "default" if attempt % 4 else f"new{attempt}"
        with client.streaming("while True: pass", session=session) as events:
            assert next(events).name == "start"
            assert client.post("/interrupt", {"session": session}) == {"interrupted": True}
            assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]


def test_interrupt_never_hits_the_next_cell(client: Client) -> None:
    for _ in range(100):
        with client.streaming("1") as events:
            client.post("/interrupt")
            list(events)
        assert client.value("2") == "2"


def test_idle_session_cannot_be_interrupted(here: Machine) -> None:
    client = here.start("a")
    for session in ("default", "unknown"):
        answer = client.post("/interrupt", {"session": session})
        assert answer["interrupted"] is False
        assert session in answer["error"]
    here.kill("INT", int(client.value("import os; os.getpid()")))
    assert client.value("1 + 1") == "2"


def test_executions_queue_first_in_first_out(client: Client) -> None:
    client.execute("order = []")
    with contextlib.ExitStack() as opened:
        next(opened.enter_context(client.streaming("import time; time.sleep(100)")))
        queued = []
        for number in range(5):
            queued.append(opened.enter_context(client.streaming(f"order.append({number})")))
            wait_until(lambda: client.get("/sessions/default")["queued"] == len(queued), "the execution is queued")
        client.post("/interrupt")
        for events in queued:
            assert [event.name for event in events] == ["start", "result", "done"]
    assert client.value("order") == "[0, 1, 2, 3, 4]"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(1)", "exited with status 1"),
        ("import os; os._exit(0)", "exited with status 0"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("import os; os.abort()", "was killed by SIGABRT"),
    ],
)
def test_worker_death_is_reported_with_its_cause(client: Client, code: str, cause: str) -> None:
    client.execute("kept = 42")
    events = client.stream(f"print('before', flush=True)\n{code}")
    assert text_of(events, "stdout") == "before\n"
    error = next(event.data for event in events if event.name == "error")
    assert error["type"] == "SessionDied"
    assert cause in error["message"]
    assert "variables are gone" in error["message"]
    assert "memory" not in error["message"]
    assert client.get("/sessions/default")["state"] == "dead"
    result = client.execute("kept")
    assert result["error"]["type"] == "NameError"
    assert cause in result["stderr"]
    assert "the variables are gone" in result["stderr"]
    assert client.execute("1")["stderr"] == ""


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A cgroup, v1 or v2, that is limited to 512 MiB of memory."""
    v1 = Path("/sys/fs/cgroup/memory")
    parent, limit = (v1, "memory.limit_in_bytes") if v1.is_dir() else (Path("/sys/fs/cgroup"), "memory.max")
    directory = parent / f"mrmd-test-{os.getpid()}"
    try:
        directory.mkdir()
        (directory / limit).write_text(str(512 * 2**20))
    except OSError as error:
        pytest.skip(f"cannot make a cgroup with a memory limit here: {error}")
    yield directory
    directory.rmdir()


def test_kill_by_the_kernel_is_reported_as_out_of_memory(memory_cgroup: Path, here: Machine) -> None:
    join = ["sh", "-c", f'echo $$ > {memory_cgroup}/cgroup.procs; exec "$@"', "sh"]
    client = dataclasses.replace(here, prefix=join).start("a")
    error = client.execute("x = b'x' * 10**9")["error"]
    assert error["type"] == "SessionDied"
    assert "was killed by SIGKILL from the kernel: out of memory" in error["message"]
    assert "out of memory" in client.execute("1 + 1")["stderr"]
    error = client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")["error"]
    assert "out of memory" not in error["message"], "a SIGKILL from a process was reported as out of memory"


def test_address_space_limit_raises_memory_error(client: Client) -> None:
    client.execute("import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); kept = 42")
    assert client.execute("x = b'x' * 2**31")["error"]["type"] == "MemoryError"
    assert client.value("kept") == "42"


_LATE_ALARM = "signal.setitimer(signal.ITIMER_REAL, 0.01)"


def test_signal_handler_that_raises_between_cells_is_only_logged(here: Machine) -> None:
    client = here.start("a")
    handler = "def handle(*_):\n    global calls\n    calls += 1\n    raise TimeoutError('late')\n"
    client.execute(f"import signal\nkept, calls = 42, 0\n{handler}signal.signal(signal.SIGALRM, handle)")
    here.kill("ALRM", client.get("/sessions/default")["pid"])
    log = here.home / ".mrmd" / "logs" / "a.log"
    wait_until(lambda: "stderr: TimeoutError: late" in log.read_text(), "the exception is in the log")
    assert client.value("kept, calls") == "(42, 1)"
    assert "asyncio" not in log.read_text(), "the traceback has frames of the runtime"


@pytest.mark.parametrize(
    ("name", "send"),
    [("ALRM", _LATE_ALARM), *((name, f"os.kill(os.getpid(), signal.SIG{name})") for name in ("USR1", "HUP", "XCPU"))],
)
def test_worker_death_by_unhandled_signal_names_the_signal(client: Client, name: str, send: str) -> None:
    client.execute(f"import os, signal; {send};")
    wait_until(lambda: client.get("/sessions/default")["state"] == "dead", "the worker has died")
    assert f"was killed by SIG{name}" in client.execute("1")["stderr"]


def test_sigterm_lets_worker_clean_up_and_keeps_queued_cell(client: Client) -> None:
    code = "import atexit, os, threading, time; atexit.register(os.write, 1, b'exit handler\\n')\n"
    code += "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
    code += "try: print('runs'); time.sleep(1000)\nfinally: print('finally')"
    with client.streaming(code) as events:
        assert [next(events).name for _ in range(2)] == ["start", "stdout"]
        with client.streaming("print('fresh')") as queued:
            wait_until(lambda: client.get("/sessions/default")["queued"] == 1, "the second cell is queued")
            os.kill(client.get("/sessions/default")["pid"], signal.SIGTERM)
            rest, fresh = list(events), list(queued)
    assert text_of(rest, "stdout").endswith("finally\nexit handler\n")
    assert rest[-2].data["type"] == "SessionDied"
    assert "was killed by SIGTERM" in rest[-2].data["message"]
    assert "was killed by SIGTERM" in text_of(fresh, "stderr")
    assert (text_of(fresh, "stdout"), fresh[-2].name) == ("fresh\n", "result")


def test_cell_sent_to_an_exiting_worker_runs_in_a_new_one(client: Client) -> None:
    for _ in range(5):
        client.execute("kept = 42")
        os.kill(client.get("/sessions/default")["pid"], signal.SIGTERM)
        result = client.execute("'kept' in globals()")
        assert (result["success"], result["result"]) == (True, "False")
        assert "was killed by SIGTERM" in result["stderr"]


def test_sigkill_of_busy_worker_is_reported(machine: Machine) -> None:
    client = machine.start("a")
    pid = client.get("/sessions/default")["pid"]
    with client.streaming("import time; print('runs'); time.sleep(100)") as events:
        # Wait until the cell runs: one that has not begun would run in a new worker instead.
        assert [next(events).name for _ in range(2)] == ["start", "stdout"]
        machine.kill("KILL", pid)
        error = next(event.data for event in events if event.name == "error")
    assert "was killed by SIGKILL" in error["message"]
    assert client.value("1 + 1") == "2"


def test_idle_worker_death_is_reported_by_next_execution(here: Machine) -> None:
    client = here.start("a")
    here.kill("KILL", client.get("/sessions/default")["pid"])
    wait_until(lambda: client.get("/sessions/default")["state"] == "dead", "the session is dead")
    result = client.execute("1 + 1")
    assert result["success"]
    assert "was killed by SIGKILL" in result["stderr"]


def test_closing_every_descriptor_ends_only_that_session(client: Client) -> None:
    error = client.execute("import os; os.closerange(3, 256); import time; time.sleep(100)")["error"]
    assert error["type"] == "SessionDied"
    assert client.value("1 + 1") == "2"


def test_reset_ends_session_that_ignores_interrupts(client: Client) -> None:
    code = "import time\nwhile True:\n    try: time.sleep(100)\n    except KeyboardInterrupt: pass"
    with client.streaming(code) as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        assert client.post("/reset") == {"success": True}
        assert [event.name for event in events][-2:] == ["error", "done"]
    assert client.execute("1 + 1")["stderr"] == "", "a reset must not report lost variables"


def test_forked_child_does_not_end_the_cell(client: Client) -> None:
    result = client.execute(
        "import os\npid = os.fork()\nprint('child' if pid == 0 else 'parent')\nif pid == 0: 1 / 0\nos.wait()[0] == pid"
    )
    assert result["error"] is None, "the result is not that of the parent"
    assert client.value("1 + 1") == "2"


@pytest.mark.parametrize(
    ("code", "status"),
    [("None", 0), ("1 / 0", 1), ("sys.exit()", 0), ("sys.exit(7)", 7), ("sys.exit('no')", 1), ("exit()", 0)],
)
def test_forked_child_exits_at_the_end_of_the_cell(client: Client, code: str, status: int) -> None:
    code = f"import os, sys\npid = os.fork()\nif pid == 0: {code}\nelse: print(os.WEXITSTATUS(os.waitpid(pid, 0)[1]))"
    for awaiting in ("", "import asyncio; await asyncio.sleep(0)\n"):
        result = client.execute(awaiting + code)
        assert result["success"]
        assert result["stdout"].splitlines()[-1] == str(status)
    with client.streaming("import asyncio; await asyncio.sleep(100)") as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        client.post("/interrupt")
        assert [event.data["type"] for event in events if event.name == "error"] == ["KeyboardInterrupt"]
