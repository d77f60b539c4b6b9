"""POST /inspect and POST /hover, and introspection of a busy session."""

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.client import Client, Json
from tests.interpreters import make_venv, supported
from tests.machine import Machine, wait_until

_CODE = '''import functools, os
import pandas as pd
frame = pd.DataFrame({"a": [1, 2]})
number = 41
nested = {"key": [1, 2.5]}

def plain(a, /, b: int = 2, *rest, c=None) -> str:
    """Say something.

        Indented.
    """
    return "x"

def keep(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner

@keep
def decorated(alpha):
    """Decorated."""

class Thing:
    """A thing."""
    made = 1
    def __init__(self, size=5):
        self.size = size
    def method(self, q=1):
        """Do it."""
    @property
    def prop(self):
        """Compute it."""
        print("ran")
    @classmethod
    def build(cls, z):
        pass
    def __getattr__(self, name):
        print("read", name)
        raise AttributeError(name)

class Bare:
    y = 1

thing = Thing()
'''


@pytest.fixture
def client(client: Client) -> Client:
    assert client.execute(_CODE)["success"]
    return client


def _query(client: Client, code: str, endpoint: str = "/inspect", **fields: object) -> Json:
    """Query an endpoint with the cursor at the ``|`` in `code`, in UTF-16 code units."""
    before, _, after = code.partition("|")
    cursor = len(before.encode("utf-16-le")) // 2
    return client.post(endpoint, {"code": before + after, "cursor": cursor, **fields})


def test_inspect_describes_the_name(client: Client) -> None:
    found = _query(client, "x = pla|in", detail=2)
    source = found.pop("sourceCode")
    assert source.startswith("def plain(a")
    assert source.endswith('return "x"\n')
    assert found == {
        "found": True,
        "source": "runtime",
        "name": "plain",
        "kind": "function",
        "type": "function",
        "signature": "(a, /, b: int = 2, *rest, c=None) -> str",
        "docstring": "Say something.\n\nIndented.",
        "file": None,
        "line": 7,
        "value": "<function plain(a, /, b: int = 2, *rest, c=None) -> str>",
        "children": [],
    }
    assert _query(client, "plain|", detail=1)["sourceCode"] is None
    assert _query(client, "plain|", detail=0)["docstring"] is None
    join = _query(client, "os.path.joi|n", detail=2)
    assert Path(join["file"]).read_text().splitlines()[join["line"] - 1].startswith("def join(")
    assert join["sourceCode"].startswith("def join(")
    assert [child["name"] for child in _query(client, "nested|")["children"]] == ["key"]
    assert set(_query(client, "absent|").values()) == {False, None}
    assert client.post("/inspect", {"code": "plain", "cursor": 1, "session": "none"})["found"] is False
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"]


@pytest.mark.parametrize("endpoint", ["/inspect", "/hover"])
def test_name_under_the_cursor_is_resolved(client: Client, endpoint: str) -> None:
    expected = {
        "|number": "number",
        "number|": "number",
        "thi|ng.size": "thing",
        "thing.si|ze": "thing.size",
        "nested['key'][1]|": "nested['key'][1]",
        "frame['a'].me|an()": "frame['a'].mean",
        "frame.|a": "frame.a",
        "prin|t(1)": "print",
        "x = 1\n%timei|t x": "%timeit",
        "%timeit pla|in()": "plain",
        "!ls 'it\nnum|ber": "number",
        "f'{num|ber}'": "number",
        "(((num|ber": "number",
        "'😀', num|ber": "number",
        "num|ber \0": "number",
        "'" + "x" * 1_000_000 + "'\nnum|ber": "number",
    }
    for code, name in expected.items():
        assert _query(client, code, endpoint)["name"] == name, code
    for code in ("", "|", "'a num|ber'", "# num|ber", "fo|r", "f().num|ber", "1e|5", "absent.num|ber", "nested[9]|"):
        assert _query(client, code, endpoint)["found"] is False, code


def test_inspect_within_arguments_describes_the_function(client: Client) -> None:
    for code in (
        "plain(|",
        "plain(1, |",
        "plain(1, b=|",
        "plain(1, nu|mber=2",
        "plain(\n  [1, 2],\n  |",
        "print(plain(|",
    ):
        assert _query(client, code)["name"] == "plain", code
        assert _query(client, code, "/hover")["name"] in (None, "number"), code
    assert _query(client, "print(plain(1), |")["name"] == "print"
    assert _query(client, "plain(num|ber)")["name"] == "number"
    assert _query(client, "thing.method(|")["signature"] == "(q=1)"
    assert _query(client, "plain(1) |")["found"] is False


def test_inspect_reports_kind_and_signature(client: Client) -> None:
    expected = {
        "number": ("variable", None),
        "os": ("module", None),
        "len": ("function", "(obj, /)"),
        "decorated": ("function", "(alpha)"),
        "Thing": ("class", "(size=5)"),
        "Bare": ("class", "()"),
        "Thing.method": ("method", "(self, q=1)"),
        "thing.method": ("method", "(q=1)"),
        "thing.build": ("method", "(z)"),
        "thing.prop": ("property", None),
        "thing.size": ("variable", None),
        "nested.get": ("method", "(key, default=None, /)"),
    }
    for name, (kind, signature) in expected.items():
        found = _query(client, f"{name}|")
        assert (found["kind"], found["signature"]) == (kind, signature), name
    assert _query(client, "thing.prop|")["docstring"] == "Compute it."
    assert _query(client, "thing|")["docstring"] == "A thing."
    assert _query(client, "number|")["docstring"] is None
    assert _query(client, "decorated|", detail=2)["sourceCode"].startswith("@keep\ndef decorated")
    assert _query(client, "Bare|", detail=2)["sourceCode"] == "class Bare:\n    y = 1\n"
    assert _query(client, "Thing|", detail=2)["line"] == _CODE.splitlines().index("class Thing:") + 1
    assert _query(client, "thing.absent|")["found"] is False
    assert client.execute("1")["stdout"] == "Out[2]: 1\n", "inspecting an object ran its code"


def test_hover_describes_the_name(client: Client) -> None:
    assert _query(client, "plain|", "/hover") == {
        "found": True,
        "name": "plain",
        "type": "function",
        "value": "<function plain(a, /, b: int = 2, *rest, c=None) -> str>",
        "signature": "plain(a, /, b: int = 2, *rest, c=None) -> str",
        "docstring": "Say something.\n\nIndented.",
        "documentation": "Say something.\n\nIndented.",
    }
    frame = _query(client, "frame|", "/hover")
    assert (frame["type"], frame["value"], frame["docstring"]) == (
        "DataFrame",
        "<DataFrame 2 rows × 1 column: a>",
        None,
    )


@pytest.mark.parametrize(
    ("name", "type_", "kind", "signature"),
    [
        ("plain", "function", "function", "plain(a, /, b: int = 2, *rest, c=None) -> str"),
        ("thing.method", "method", "method", "method(q=1)"),
        ("Thing.method", "function", "method", "method(self, q=1)"),
        ("thing.build", "method", "method", "build(z)"),
        ("nested.get", "builtin_function_or_method", "method", "get(key, default=None, /)"),
        ("dict.get", "method_descriptor", "method", "get(self, key, default=None, /)"),
        ("Thing().method", "method", "method", "method(q=1)"),
        ("cached", "_lru_cache_wrapper", "function", "cached(x)"),
        ("Thing", "type", "class", "Thing(size=5)"),
        ("thing.prop", "property", "property", None),
        ("number", "int", "variable", None),
    ],
)
def test_hover_signature_has_the_name_and_inspect_signature_does_not(
    client: Client, name: str, type_: str, kind: str, signature: str | None
) -> None:
    client.execute("@functools.lru_cache\ndef cached(x): pass")
    hovered, inspected = _query(client, f"{name}|", "/hover"), _query(client, f"{name}|")
    assert (hovered["type"], hovered["signature"]) == (type_, signature)
    without_name = None if signature is None else signature[signature.index("(") :]
    assert (inspected["type"], inspected["kind"], inspected["signature"]) == (type_, kind, without_name)


def test_cursor_positions_are_checked_and_clamped(client: Client) -> None:
    code = "'😀😀';number"
    assert client.post("/hover", {"code": code, "cursor": 7})["name"] == "number"
    assert client.post("/hover", {"code": code, "cursor": 6})["name"] is None
    assert client.post("/hover", {"code": code, "cursor": 5, "positionEncoding": "utf-32"})["name"] == "number"
    assert client.post("/hover", {"code": "number", "cursor": 10**9})["name"] == "number"
    assert client.post("/hover", {"code": "number", "cursor": -5})["name"] == "number"
    assert client.post("/hover", {"code": "number \ud83d", "cursor": 3})["name"] == "number", (
        "code with a lone surrogate"
    )
    invalid = {"missing_code": {"cursor": 1}, "bad_encoding": {"code": "x", "positionEncoding": "utf-8"}}
    for expected, body in invalid.items():
        assert client.request("POST", "/hover", body)[1]["code"] == expected
    wrong: list[Json] = [
        {"code": 1},
        {"cursor": "1"},
        {"cursor": True},
        {"cursor": 1.5},
        {"detail": "2"},
        {"session": []},
    ]
    for fields in wrong:
        status, answer = client.request("POST", "/inspect", {"code": "x", "cursor": 0, **fields})
        assert (status, answer["code"]) == (400, "wrong_type"), fields


def _is_cell_running(client: Client, number: int) -> bool:
    return bool(client.post("/hover", {"code": "cell", "cursor": 1})["value"] == str(number))


def test_busy_session_answers_introspection(client: Client) -> None:
    busy = ["while True: pass", "import time; time.sleep(100)", "import asyncio; await asyncio.sleep(100)", "input()"]
    for number, code in enumerate(busy):
        with client.streaming(f"cell = {number}\n{code}") as events:
            next(events)
            wait_until(partial(_is_cell_running, client, number), "the cell runs")
            assert client.post("/variables/number")["value"] == "41"
            client.post("/interrupt")
            assert [event.name for event in events][-1] == "done"


def test_introspection_does_not_wait_for_session_blocked_in_c_code(client: Client) -> None:
    """The first query waits for a deadline; later ones are answered empty at once, until the session responds again."""
    with client.streaming("pow(7, 2 * 10**7) and None") as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        wait_until(lambda: client.post("/variables")["count"] == 0, "the session is blocked")
        started = time.monotonic()
        assert client.post("/variables") == {"variables": [], "count": 0, "truncated": True}
        assert client.post("/hover", {"code": "number", "cursor": 1})["found"] is False
        assert client.post("/inspect", {"code": "number", "cursor": 1})["found"] is False
        assert client.post("/variables/number")["truncated"] is True
        assert client.get("/capabilities")["features"]["variables"] is True
        assert time.monotonic() - started < 2, "a query to a blocked session waited for the deadline"
        client.post("/interrupt")
        list(events)
    wait_until(
        lambda: client.post("/hover", {"code": "number", "cursor": 1})["value"] == "41",
        "the session answers queries again",
    )


def test_introspection_answers_when_the_session_dies(client: Client, here: Machine) -> None:
    pid = client.get("/sessions/default")["pid"]
    answers: list[Json] = []
    with client.streaming("print('runs'); pow(7, 2 * 10**8) and None") as events:
        assert [next(events).name for _ in range(2)] == ["start", "stdout"]
        query = threading.Thread(target=lambda: answers.append(client.post("/variables")))
        query.start()
        here.kill("KILL", pid)
        query.join(timeout=30)
        list(events)
    assert len(answers) == 1
    assert client.request("POST", "/variables/number", {})[0] == 404
    assert client.post("/variables")["count"] == 0


def test_introspection_survives_cells_that_break_the_interpreter(client: Client) -> None:
    client.execute("import json, sys; json.dumps = json.loads = None; sys.stdout = sys.stderr = None")
    assert client.post("/hover", {"code": "number", "cursor": 1})["value"] == "41"
    client.execute("import sys; sys.setrecursionlimit(60)")
    assert client.post("/hover", {"code": "number", "cursor": 1})["value"] == "41"
    client.execute("import warnings; warnings.simplefilter('error')")
    assert client.post("/variables")["count"] > 0
    client.execute("import builtins; builtins.sorted = None")
    assert client.post("/variables/number", {})["fullValue"] == "41"


@pytest.mark.parametrize("version", supported()[-2:])
def test_fork_prints_no_warning_and_child_answers_no_query(here: Machine, version: str) -> None:
    """Since CPython 3.12 os.fork() warns about other threads; the worker's query thread must not cause that."""
    venv = here.home / "bare"
    make_venv(version, venv)
    client = here.start("a", "--venv", str(venv))
    code = """
import os, threading
for _ in range(20):
    if os.fork() == 0: os._exit(0)
    os.wait()
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(abs, [-1, 2]))
print(threading.active_count())
"""
    result = client.execute(code)
    assert (result["stdout"], result["stderr"]) == ("[1, 2]\n1\n", "")
    assert client.post("/hover", {"code": "code, os", "cursor": 7})["type"] == "module"
    child = "pid = os.fork()\nif pid == 0: child = 1\nelse: os.waitpid(pid, 0); parent = 1"
    client.execute(child)
    assert client.post("/hover", {"code": "parent", "cursor": 1})["value"] == "1"
    assert client.post("/hover", {"code": "child", "cursor": 1})["found"] is False
