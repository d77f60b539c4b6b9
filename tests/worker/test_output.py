"""All ways to write output; tests/test_output.py tests its order and bounds, on one interpreter."""

import ast
from pathlib import Path

import pytest

from tests.client import Client

_LIBC = "import ctypes; libc = ctypes.CDLL(None);"


@pytest.mark.parametrize(
    ("code", "stdout", "stderr"),
    [
        ("print('é', 1, sep='|', end='')", "é|1", ""),
        ("import sys; print('x', file=sys.stderr)", "", "x\n"),
        ("import sys; _ = sys.stdout.write('x'); _ = sys.stdout.buffer.write(b'y'); sys.stdout.flush()", "xy", ""),
        (f"{_LIBC} libc.printf(b'c %d\\n', 3); libc.fflush(None);", "c 3\n", ""),
        ("import os; _ = os.system('echo a; echo b >&2')", "a\n", "b\n"),
        ("import subprocess; _ = subprocess.run(['echo', 'child'])", "child\n", ""),
        ("import os; _ = os.write(1, b'raw\\x00'); _ = os.write(2, b'raw')", "raw\x00", "raw"),
        ("import sys, faulthandler; faulthandler.dump_traceback(file=sys.stderr)", "", "most recent call first"),
        ("import logging; logging.getLogger('here').warning('careful')", "", "careful\n"),
        ("import warnings; warnings.warn('careful')", "", "UserWarning: careful\n"),
        ("import tqdm\nfor _ in tqdm.tqdm(range(3)): pass", "", "3/3"),
        ("import tqdm.auto\nfor _ in tqdm.auto.tqdm(range(3)): pass", "", "3/3"),
        ("import rich; rich.print('[bold]hi[/bold]', {'a': 1})", "hi\n{'a': 1}\n", ""),
        ("import threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()", "thread\n", ""),
        ("import concurrent.futures as f\nwith f.ThreadPoolExecutor() as p: p.submit(print, 'pool')", "pool\n", ""),
        ("print('\\ud800')", "\\ud800\n", ""),
        ("import os; print(os.fsdecode(b'\\xff'))", "\ufffd\n", ""),
    ],
)
def test_every_way_to_write_is_captured(client: Client, code: str, stdout: str, stderr: str) -> None:
    result = client.execute(code)
    assert result["success"], result["error"]
    assert result["stdout"] == stdout
    assert stderr in result["stderr"]
    assert bool(stderr) == bool(result["stderr"])


@pytest.mark.parametrize(
    "damage",
    [
        "import os; os.close(1)",
        "import os; os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "import sys; sys.stdout = open('/dev/null', 'w'); sys.stdout.close()",
        "import sys; sys.stdout = open('/dev/null')",
        "import sys; sys.stdout.close()",
        "import sys; sys.__stdout__.detach(); sys.stdout = 3",
        "import sys; sys.stdout.detach()",
        "import sys; sys.stdout = None",
        "import sys; sys.stdout = sys.__stdout__ = object()",
        "import sys; del sys.stdout",
    ],
)
def test_session_repairs_stdout_after_each_cell(client: Client, damage: str) -> None:
    client.execute(damage)
    assert client.execute("print('fine'); import os; _ = os.system('echo child')")["stdout"] == "fine\nchild\n"


_TEE = """
import io, sys
class Tee:
    def __init__(self, stream): self.stream, self.copy = stream, io.StringIO()
    def write(self, text): self.copy.write(text); return self.stream.write(text)
    def flush(self): self.stream.flush()
"""


def test_working_replacement_of_stdout_is_kept(client: Client) -> None:
    client.execute(f"{_TEE}sys.stdout, sys.stderr = Tee(sys.stdout), Tee(sys.stderr)")
    result = client.execute("print('out'); print('err', file=sys.stderr)")
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert client.value("sys.stdout.copy.getvalue()[:4], sys.stderr.copy.getvalue()") == r"('out\n', 'err\n')"
    client.post("/reset")
    assert client.value("import sys; (sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)") == "(True, True)"


def test_redirection_can_span_cells(client: Client, home: Path) -> None:
    log = home / "redirected.log"
    client.execute(
        f"import contextlib\nstack = contextlib.ExitStack()\nlog = stack.enter_context(open({str(log)!r}, 'w'))\n"
        "_ = stack.enter_context(contextlib.redirect_stdout(log))"
    )
    assert client.execute("print('logged')")["stdout"] == ""
    assert client.execute("1 + 1")["stdout"] == "Out[3]: 2\n", (
        "results must be shown although stdout is redirected, as in Jupyter"
    )
    assert "ZeroDivisionError" in client.execute("1 / 0")["stdout"]
    assert client.execute("stack.close(); print('shown')")["stdout"] == "shown\n"
    assert log.read_text() == "logged\n"


_TRACK = """
import rich.console, rich.progress
for n in rich.progress.track([1, 2], console=rich.console.Console()): {}
"""


def test_rich_progress_bar_is_updated_while_it_runs(client: Client) -> None:
    """The cell waits for input until the test has seen the bar."""
    code = _TRACK.format("input()")
    with client.streaming(f"import os; os.environ.pop('NO_COLOR', None)\n{code}", execId="bar") as events:
        seen = ""
        for event in events:
            seen += event.data["content"] if event.name == "stdout" else ""
            if event.name == "stdin_request":
                assert "0%" in seen, "the bar is not shown while it runs"
                client.post("/input", {"execId": "bar", "text": ""})
    assert "\x1b[" in seen
    client.execute("os.environ['NO_COLOR'] = '1'")


def test_rich_prints_plain_text_with_no_color(client: Client) -> None:
    shown = client.execute(_TRACK.format("pass"))["stdout"]
    assert "100%" in shown
    assert "\x1b" not in shown


def test_children_have_no_terminal(client: Client) -> None:
    code = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.stdout.isatty())']);"
    assert client.execute(f"import os; os.environ.pop('NO_COLOR', None)\n{code}")["stdout"] == "False\n"
    client.execute("os.environ['NO_COLOR'] = '1'")


def test_forked_child_can_print_while_threads_print(client: Client) -> None:
    code = """
import os, threading, time
go_on = True
def printing():
    while go_on: print("t" * 5000)
threads = [threading.Thread(target=printing) for _ in range(2)]
for thread in threads: thread.start()
children = []
for n in range(100):
    child = os.fork()
    if child == 0:
        print("c" * 5000); os._exit(0)
    children.append(child)
deadline = time.monotonic() + 20
while children and time.monotonic() < deadline:
    children = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
go_on = False
for thread in threads: thread.join()
for child in children: os.kill(child, 9)
len(children)
"""
    assert client.value(code) == "0", "forked children hang"


@pytest.mark.parametrize("show", ["print('h' * 5000)", "display({'x/h': ''}, raw=True)"])
def test_signal_handler_can_print_and_display_while_the_cell_does(client: Client, show: str) -> None:
    code = f"""
import signal
from IPython.display import display
count = 0
def on_alarm(*_):
    global count
    count += 1
    {show}
    if count < 100: signal.setitimer(signal.ITIMER_REAL, 0.001)  # not earlier, or handlers would nest
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while count < 100: {show}
"""
    result = client.execute(code)
    assert result["success"], result["error"]
    shown = len(result["displayData"]) if "display(" in show else result["stdout"].count("h") / 5000
    assert shown >= 100
    assert int(shown) == shown


def test_long_lines_of_threads_are_not_mixed(client: Client) -> None:
    code = """
import concurrent.futures
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for n in range(400): pool.submit(print, str(n % 10) * 20000 + "\\n", end="")
"""
    lines = client.execute(code)["stdout"].splitlines()
    assert sorted({(line[0], len(line), len(set(line))) for line in lines}) == [(str(n), 20000, 1) for n in range(10)]


def test_non_blocking_stdout_loses_no_output(client: Client) -> None:
    code = "import os; os.set_blocking(1, False)\nfor n in range(20): print(str(n % 10) * 100_000)"
    result = client.execute(code)
    assert result["success"], result["error"]
    assert len(result["stdout"]) == 20 * 100_001


def test_redirect_stdout_and_capture_work(client: Client) -> None:
    code = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as output: print("held")
print(repr(output.getvalue()))
"""
    assert client.execute(code)["stdout"] == "'held\\n'\n"
    assert client.execute("%%capture output\nprint('held')\n1 + 1")["stdout"] == ""
    assert "held" in client.value("output.stdout")


@pytest.mark.parametrize(
    ("command", "stdout", "stderr"),
    [
        ("!echo out; echo err >&2", "out\n", "err\n"),
        ("get_ipython().system('echo system')", "system\n", ""),
        ("%ls -d /", "//\n", ""),
        ("!printf 'é\\xff'", "é\ufffd", ""),
        ("!sleep 100 & echo started", "started\n", ""),
    ],
)
def test_commands_write_to_redirected_stdout(client: Client, command: str, stdout: str, stderr: str) -> None:
    code = f"""
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
    {command}
"""
    captured = f"%%capture output\n{command}"
    for cell, names in ((code, "out.getvalue(), err.getvalue()"), (captured, "output.stdout, output.stderr")):
        result = client.execute(cell)
        assert (result["success"], result["stdout"], result["stderr"]) == (True, "", "")
        assert ast.literal_eval(client.value(names)) == (stdout, stderr)
    pip = client.execute("%%capture\n%pip --version")
    assert (pip["success"], pip["stdout"], pip["stderr"]) == (True, "", "")
    result = client.execute("!echo out; echo err >&2")
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")


def test_command_output_reaches_replaced_stdout_while_it_runs(client: Client, home: Path) -> None:
    code = f"""
import os, sys
os.mkfifo({str(home / "go")!r})
class Tee:
    def __init__(self, stream): self.stream = stream
    def write(self, text): return self.stream.write(text.upper())
    def flush(self): self.stream.flush()
sys.stdout = Tee(sys.stdout)
!echo first; read line < go; echo second
sys.stdout = sys.stdout.stream
"""
    with client.streaming(code) as events:
        seen = ""
        for event in events:
            seen += event.data["content"] if event.name == "stdout" else ""
            if seen == "FIRST\n":
                (home / "go").write_text("go\n")
    (home / "go").unlink()
    assert seen == "FIRST\nSECOND\n"


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("print('open', end='')\n1 + 1", "open\nOut[1]: 2\n"),
        ("import sys; _ = sys.stdout.write('open'); sys.stdout.flush()\n1 + 1", "open\nOut[1]: 2\n"),
        ("print('closed')\n1 + 1", "closed\nOut[1]: 2\n"),
        ("print('open', end='')\nget_ipython().set_next_input('next')", "open\nnext\n"),
        ("print('open', end='')\n!echo closed\n1 + 1", "openclosed\nOut[1]: 2\n"),
        ("from IPython.display import clear_output; clear_output()\n1 + 1", "\x1b[2K\rOut[1]: 2\n"),
    ],
)
def test_ipython_text_starts_on_a_new_line(client: Client, code: str, stdout: str) -> None:
    assert client.execute(code)["stdout"].replace("\x1b[2K\r\x1b[2K\r", "\x1b[2K\r") == stdout
    client.execute("print('open', end='')")
    assert client.execute("1 / 0")["stdout"].startswith("-----"), "the open line of an earlier cell must not matter"
    assert "open\n-----" in client.execute("print('open', end='')\n1 / 0")["stdout"]


@pytest.mark.parametrize(
    "names",
    [
        ["builtins.print", "builtins.input", "builtins.open"],
        ["sys.stdout", "sys.displayhook"],
        ["json.dumps", "json.loads", "json.JSONEncoder.encode"],
        ["time.time", "time.perf_counter", "time.sleep"],
        ["os.write", "traceback.format_exception", "ast.parse", "base64.b64encode"],
    ],
)
def test_session_does_not_use_functions_that_a_cell_replaced(client: Client, names: list[str]) -> None:
    code = f"""
from unittest.mock import Mock, patch
fails = Mock(spec=[], side_effect=RuntimeError("replaced"))
patches = [patch(name, fails) for name in {names!r}]
for each in patches: each.start()
"""
    assert client.execute(code)["success"]
    value, shown, error = (client.execute(code) for code in ("40 + 2", "display(43)", "1 / 0"))
    assert client.execute("for each in patches: each.stop()")["success"]
    assert (value["result"], value["stdout"].partition(" ")[2]) == ("42", "42\n")
    assert shown["displayData"][0]["data"] == {"text/plain": "43"}
    assert "ZeroDivisionError: division by zero" in error["stdout"]
    assert error["error"]["type"] == "ZeroDivisionError"


def test_worker_keeps_no_printed_output(client: Client) -> None:
    result = client.execute("import tracemalloc; tracemalloc.start()\nfor n in range(32): print(str(n) * 500_000)")
    assert result["success"], result["error"]
    kept = int(client.value("tracemalloc.get_traced_memory()[0], tracemalloc.stop()").strip("()").partition(",")[0])
    assert kept < 4_000_000, "the worker keeps printed output (of 30 MB)"


def test_signal_handler_that_raises_during_output_breaks_nothing(client: Client) -> None:
    """Timeouts are often implemented by such handlers."""
    code = """
import signal
from IPython.display import display
class Late(Exception): pass
def on_alarm(*_): raise Late
signal.signal(signal.SIGALRM, on_alarm)
for n in range(3000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while True: display({"x/h": ""}, raw=True)
    except Late: pass
print("h" * 3_000_000)
"""
    result = client.execute(code)
    assert result["success"], result["error"]
    assert result["stdout"].count("h") == 3_000_000
    thread = "import threading; thread = threading.Thread(target=display, args=('shown',), daemon=True)"
    is_waiting = client.value(f"{thread}; thread.start(); thread.join(20); thread.is_alive()")
    assert is_waiting == "False", "another thread waits for a lock that was never released"
