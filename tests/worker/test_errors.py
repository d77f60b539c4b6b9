"""Errors: their type, their position in the cell, and tracebacks with only the user's frames."""

from pathlib import Path

import pytest

from tests.client import Client
from tests.interpreters import numbers


@pytest.mark.parametrize(
    ("code", "kind", "line"),
    [
        ("x = 1\ndef f(: pass", "SyntaxError", 2),
        ("1 +", "SyntaxError", 1),
        ("\n \n\n  1 / 0", "ZeroDivisionError", 4),
        ("\n\nx = 1\ndef f(: pass", "SyntaxError", 4),
        ("for i in range(3):\n    x = 1\n   y = 2", "IndentationError", 3),
        ("x = 'abc", "SyntaxError", 1),
        ("x = 1\nreturn 3", "SyntaxError", 2),
        ("x = 1\nx = y_nowhere", "NameError", 2),
        ("def f():\n    1 / 0\nf()", "ZeroDivisionError", 2),
        ("import json\njson.loads('{')", "JSONDecodeError", 2),
        ("def f(): f()\nf()", "RecursionError", 1),
        ("x = bytearray(10**15)", "MemoryError", 1),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", 1),
        ("import asyncio\nawait asyncio.wait_for(asyncio.sleep(9), 0)", "TimeoutError", 2),
        ("raise ValueError('\\ud800 \\x00')", "ValueError", 1),
        ("class E(Exception):\n    def __str__(self): raise TypeError\nraise E", "E", 3),
        ("exec('1 / 0')", "ZeroDivisionError", 1),
    ],
)
def test_error_has_type_and_line(client: Client, code: str, kind: str, line: "int | None") -> None:
    error = client.execute(code)["error"]
    assert (error["type"], error["line"]) == (kind, line)
    shown = "\n".join(error["traceback"])
    assert "\x1b" not in shown
    assert "mrmd" not in shown
    assert "run_code" not in shown
    assert client.value("1 + 1") == "2"


def test_traceback_shows_source_lines_of_cells(client: Client) -> None:
    client.execute("def in_an_earlier_cell():\n    first = 1\n    return first / 0  # here")
    result = client.execute("x = 1\nin_an_earlier_cell()")
    assert "return first / 0  # here" in result["stdout"]
    assert "in_an_earlier_cell()" in result["stdout"]
    assert "\n".join(result["error"]["traceback"]) == result["stdout"].rstrip("\n")
    assert (result["error"]["line"], result["error"]["message"]) == (2, "division by zero")
    printed = client.execute("import traceback\ntry: in_an_earlier_cell()\nexcept Exception: traceback.print_exc()")
    assert "return first / 0  # here" in printed["stderr"]


def test_error_has_column_where_python_reports_it(client: Client, runtime: Client) -> None:
    column = client.execute("x = (1 +\n     1 / 0)")["error"]["column"]
    assert column == (6 if numbers(runtime.get("/capabilities")["pythonVersion"])[:2] >= (3, 11) else None)
    assert client.execute("abc def")["error"]["column"] == 5


def test_traceback_shows_chained_exceptions(client: Client) -> None:
    shown = client.execute("try: 1 / 0\nexcept Exception as error: raise KeyError('k') from error")["error"][
        "traceback"
    ]
    text = "\n".join(shown)
    assert text.index("ZeroDivisionError") < text.index("direct cause") < text.index("KeyError: 'k'")


def test_traceback_shows_exception_groups(client: Client, runtime: Client) -> None:
    """Python's exception groups from 3.11 on, those of the backport before."""
    code = "import trio\nasync def bad(): raise ValueError('inner')\nasync def main():\n" + (
        "    async with trio.open_nursery() as nursery: nursery.start_soon(bad)\ntrio.run(main)"
    )
    error = client.execute(code)["error"]
    assert error["type"] == "ExceptionGroup"
    text = "\n".join(error["traceback"])
    assert "ValueError: inner" in text
    assert "raise ValueError('inner')" in text
    assert "run_code" not in text
    if numbers(runtime.get("/capabilities")["pythonVersion"])[:2] >= (3, 11):
        caught = client.execute(
            "try: raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\nexcept* ValueError: raise KeyError(2)"
        )
        assert caught["error"]["type"] == "ExceptionGroup"
        assert "interactiveshell" not in caught["stdout"]


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("exit()", "SystemExit"),
        ("quit()", "SystemExit"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
    ],
)
def test_exit_ends_the_cell_not_the_session(client: Client, code: str, first: str) -> None:
    pid = client.get("/sessions/default")["pid"]
    result = client.execute(f"kept = 42\n{code}\nkept = 0")
    assert result["error"]["type"] == "SystemExit"
    assert result["stdout"].splitlines()[0] == first
    assert "the session and its variables are still there" in result["stdout"]
    assert result["stderr"] == ""
    assert (client.value("kept"), client.get("/sessions/default")["pid"]) == ("42", pid)


@pytest.mark.parametrize(
    ("code", "kind", "line"),
    [
        ("%%capture\n1 / 0", "ZeroDivisionError", 2),
        ("\n\n%%capture output\nx = 1\n\n1 / 0", "ZeroDivisionError", 6),
        ("%%capture\nimport asyncio\nawait asyncio.sleep(0)\n1 / 0", "ZeroDivisionError", 4),
        ("%%capture\ndef f(: pass", "SyntaxError", 2),
        ("%%capture\nimport sys\nsys.exit(3)", "SystemExit", 3),
        ("%%capture\n%no_such_magic", "UsageError", 2),
        ("%%time\nx = 1\n1 / 0", "ZeroDivisionError", 3),
        ("%%time\n\ndef f(: pass", "SyntaxError", 3),
        ("%%time\n%%capture\nx = 1\n1 / 0", "ZeroDivisionError", 4),
        ("%%timeit -n 1 -r 1 x = 1\nx\n1 / 0", "ZeroDivisionError", 3),
        ("%%prun\nx = 1\n1 / 0", "ZeroDivisionError", 3),
        ("x = 1\n%time 1 / 0", "ZeroDivisionError", 2),
        ("x = 1\n%run fails.py\nprint('after')", "ZeroDivisionError", 2),
        ("x = 1\n%run exits.py", "SystemExit", 2),
        ("x = 1\n%run fails.ipy", "ZeroDivisionError", 2),
        ("x = 1\nresult = get_ipython().run_cell('1 / 0')", "ZeroDivisionError", 2),
        (
            "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
            "    result = get_ipython().run_cell('1 / 0')",
            "ZeroDivisionError",
            3,
        ),
    ],
)
def test_error_within_magic_fails_the_cell(client: Client, home: Path, code: str, kind: str, line: int) -> None:
    """Such an error is printed even if output is captured, with its line in the cell, without IPython's frames."""
    for name in ("fails.py", "fails.ipy"):
        (home / name).write_text("x = 1\n1 / 0")
    (home / "exits.py").write_text("raise SystemExit(4)")
    result = client.execute(code)
    assert not result["success"]
    assert (result["error"]["type"], result["error"]["line"]) == (kind, line)
    shown = "\n".join(result["error"]["traceback"])
    assert shown
    assert shown in result["stdout"] + result["stderr"]
    assert "interactiveshell" not in shown
    assert "run_cell" not in shown.replace("get_ipython().run_cell('1 / 0')", "")
    assert ("after" in result["stdout"]) == ("after" in code)


def test_error_of_a_rich_cell_is_in_no_text(client: Client, home: Path) -> None:
    for name in ("fails.py", "fails.ipy"):
        (home / name).write_text("x = 1\n1 / 0")
    codes = (
        *("1 +", "x = 1\n  y = 2", "1 / 0", "%no_such_magic", "def f(): f()\nf()", "raise SystemExit(3)", "exit()"),
        *("raise KeyboardInterrupt", "import asyncio\nawait asyncio.wait_for(asyncio.sleep(9), 0)", "eval('1+')"),
        *("%%capture\n1 / 0", "%%time\nx = 1\n1 / 0", "%%prun\n1 / 0"),
        *("%%time\n%%capture\n1 / 0", "%time 1 / 0", "%run fails.py", "%run fails.ipy"),
        *("get_ipython().run_cell('1 / 0');", "class C:\n    def __repr__(self): 1 / 0\nC()"),
        *("try: 1 / 0\nexcept Exception as error: raise KeyError from error", "del error", "await 1"),
    )
    for code in codes:
        result = client.execute(code, rich=True)
        assert result["error"], code
        assert result["error"]["type"] not in result["stdout"] + result["stderr"], code
        assert result["error"]["type"] in "".join(result["error"]["traceback"]), code
        # The session has NO_COLOR.
        assert result["error"]["ansiTraceback"] == result["error"]["traceback"], code


@pytest.mark.parametrize(
    "code",
    [
        "try: 1 / 0\nexcept Exception: get_ipython().showtraceback()",
        "import sys\ntry: 1 / 0\nexcept Exception: sys.excepthook(*sys.exc_info())",
        "%tb",
        "class C:\n    def _repr_html_(self): 1 / 0\ndisplay(C())",
        "get_ipython().run_cell('1 + 1').success",
    ],
)
def test_traceback_printed_by_the_user_does_not_fail_the_cell(client: Client, code: str) -> None:
    client.execute("1 / 0")
    result = client.execute(code)
    assert result["success"]
    assert "ZeroDivisionError" in result["stdout"] or "run_cell" in code
    client.execute("1 / 0")
    rich = client.execute(code, rich=True)
    assert (rich["success"], rich["stdout"]) == (True, "")
    assert "ZeroDivisionError" in rich["stderr"] or "run_cell" in code


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 1\n\n\neval('1+')", 4),
        ("import ast\ndef parsed(text):\n    return ast.parse(text)\nparsed('a b')", 3),
        ("x = 1\ncompile('1+', 'name.py', 'exec')", 2),
        ("x = 1\nexec('y = 1\\ny +')", 2),
        ("x = 1\n%time eval('1+')", 2),
        ("x = 1\nimport broken_module", 2),
    ],
)
def test_syntax_error_in_parsed_text_has_the_line_of_the_call(client: Client, home: Path, code: str, line: int) -> None:
    (home / "broken_module.py").write_text("x = (")
    result = client.execute(code)
    assert (result["error"]["type"], result["error"]["line"]) == ("SyntaxError", line)
    assert "interactiveshell" not in result["stdout"]
    assert "_mrmd" not in result["stdout"]


def test_traceback_shows_body_of_a_cell_magic(client: Client) -> None:
    client.execute("%%time\ndef in_a_timed_cell():\n    return 1 / 0  # here")
    assert "return 1 / 0  # here" in client.execute("in_a_timed_cell()")["stdout"]
    assert "1 / 0  # here" in client.value("import inspect; inspect.getsource(in_a_timed_cell)")
    assert "%%time" in client.execute("%%time\nin_a_timed_cell()")["stdout"]


def test_custom_exception_handler_does_not_hide_the_traceback(client: Client) -> None:
    client.execute(
        "def handle(self, kind, error, traceback, tb_offset=None): print('handled', error)\n"
        "get_ipython().set_custom_exc((ZeroDivisionError,), handle)"
    )
    result = client.execute("x = 1\n1 / 0")
    client.execute("get_ipython().set_custom_exc((), None)")
    assert result["stdout"] == "handled division by zero\n"
    assert (result["error"]["type"], result["error"]["line"]) == ("ZeroDivisionError", 2)
    assert "----> 2 1 / 0" in "\n".join(result["error"]["traceback"])


def test_error_column_counts_characters(client: Client, runtime: Client) -> None:
    if numbers(runtime.get("/capabilities")["pythonVersion"])[:2] >= (3, 11):
        assert client.execute("x = 'é'; 1 / 0")["error"]["column"] == 10
