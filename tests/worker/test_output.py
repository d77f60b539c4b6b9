"""What writes, and how; order and bounds are proved in tests/test_output.py, on one interpreter."""

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
def test_each_way_to_write(client: Client, code: str, stdout: str, stderr: str) -> None:
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
        "import sys; sys.stdout = open('/dev/null', 'w')",
        "import sys, io; sys.stdout = io.StringIO()",
        "import sys; sys.stdout.close()",
        "import sys; sys.stdout.detach()",
        "import sys; sys.stdout = None",
        "import sys; sys.stdout = sys.__stdout__ = object()",
        "import sys; del sys.stdout",
    ],
)
def test_a_session_recovers_its_streams(client: Client, damage: str) -> None:
    client.execute(damage)
    assert client.execute("print('fine'); import os; _ = os.system('echo child')")["stdout"] == "fine\nchild\n"


def test_redirections_work(client: Client) -> None:
    code = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as held: print("held")
print(repr(held.getvalue()))
"""
    assert client.execute(code)["stdout"] == "'held\\n'\n"
    assert client.execute("%%capture held\nprint('held')\n1 + 1")["stdout"] == ""
    assert "held" in client.value("held.stdout")


def test_what_is_printed_is_not_kept_in_the_session(client: Client) -> None:
    result = client.execute("import tracemalloc; tracemalloc.start()\nfor n in range(32): print(str(n) * 500_000)")
    assert result["success"], result["error"]
    kept = int(client.value("tracemalloc.get_traced_memory()[0], tracemalloc.stop()").strip("()").partition(",")[0])
    assert kept < 4_000_000, "of 30 MB"
