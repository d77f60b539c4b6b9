"""input(), similar functions and debuggers, on several Pythons; tests/test_stdin.py tests how requests end."""

import pytest

from tests.client import Client, Event, text_of


@pytest.mark.parametrize(
    ("code", "answers", "printed"),
    [
        ("print(repr(input('Name? ')))", ["Ada\n"], "Name? Ada\n'Ada'\n"),
        ("print(input('1 ') + input('2 '))", ["a", "b"], "1 a\n2 b\nab\n"),
        ("import getpass; print(len(getpass.getpass('Key: ')))", ["s3cret"], "Key: 6\n"),
        ("import sys; print(repr(sys.stdin.readline()))", ["é😀"], "é😀\n'é😀\\n'\n"),
        (
            "import sys\nfor line in sys.stdin:\n    print(line.strip())\n    if line == 'end\\n': break",
            ["x", "end"],
            "x\nx\nend\nend\n",
        ),
        ("print(repr(input()))", [""], "\n''\n"),
        ("import asyncio; print(await asyncio.to_thread(input, 'T '))", ["thread"], "T thread\nthread\n"),
    ],
)
def test_every_way_to_read_input_works(client: Client, code: str, answers: list[str], printed: str) -> None:
    events = client.converse(code, *answers)
    assert text_of(events, "stdout") == printed
    assert [event.name for event in events][-2:] == ["result", "done"]


def test_debuggers_work_over_input(client: Client) -> None:
    events = client.converse("def f(y):\n    breakpoint()\n    return y\nf(41)", "p y + 1", "c")
    assert "42\n" in text_of(events, "stdout")
    client.execute("def g(y): return 1 / y\ng(0)")
    assert "7\n" in text_of(client.converse("%debug", "p y + 7", "q"), "stdout")
    quit_ = client.converse("import pdb; pdb.set_trace(); x = 1", "q")
    assert quit_[-2].data["type"] == "BdbQuit"
    assert client.value("1 + 1") == "2"


@pytest.mark.parametrize(("module", "step"), [("pdb", "n"), ("pdb", "s"), ("IPython.core.debugger", "n")])
def test_debugger_steps_through_the_cell_only(client: Client, module: str, step: str) -> None:
    code = f"import {module} as d; d.set_trace()\nx = 1\n\ndef f(): return 2\n\ny = f()\nx, y"
    with client.streaming(code, execId=module + step) as events:
        seen = []
        for event in events:
            seen.append(event)
            if event.name == "stdin_request":
                client.post("/input", {"execId": module + step, "text": step})
    assert seen[-2].data["result"] == "(1, 2)"
    assert "y = f()" in text_of(seen, "stdout")
    assert "_mrmd_worker" not in text_of(seen, "stdout")
    assert client.value("import sys; sys.gettrace()") == "None"
    assert client.value("f()") == "2"


def test_breakpoint_stays_set_for_later_cells(client: Client) -> None:
    client.execute("def f(x):\n    y = x + 1\n    return y")
    client.converse("import pdb; debugger = pdb.Pdb(); debugger.set_trace()", "b f", "c")
    assert "41\n" in text_of(client.converse("f(40)", "n", "p y", "cl 1", "c"), "stdout")
    assert client.execute("debugger.clear_all_breaks(); sys = __import__('sys'); sys.settrace(None)")["success"]


@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()", "import sys; sys.stdin.readline()"])
def test_input_raises_at_once_without_stdin(client: Client, code: str) -> None:
    for result in (client.execute(code)["error"], client.stream(code, allowStdin=False)[-2].data):
        assert result["type"] == "StdinNotImplementedError"
        assert "allowStdin" in result["message"]


def _interrupt_first_request(client: Client, code: str) -> list[Event]:
    """Run code, interrupt it when it requests input, and return all events; a second request is an error."""
    events = []
    with client.streaming(code) as stream:
        for event in stream:
            events.append(event)
            if event.name == "stdin_request":
                assert "stdin_request" not in [earlier.name for earlier in events[:-1]], (
                    "the code requested input again"
                )
                assert client.post("/interrupt") == {"interrupted": True}
    return events


@pytest.mark.parametrize(
    "code",
    [
        "def f(y):\n    breakpoint()\n    return y\nf(1)",
        "import pdb; pdb.set_trace(); x = 1",
        "from IPython.core.debugger import set_trace; set_trace(); x = 1",
        "import code; code.interact()",
        "import cmd\nwhile True:\n    try: cmd.Cmd().cmdloop()\n    except KeyboardInterrupt: print('again')",
        "while True:\n    try: input('? ')\n    except KeyboardInterrupt: pass",
        "import asyncio\nasync def f(): breakpoint()\nawait asyncio.gather(f(), asyncio.sleep(100))",
        "import asyncio\nasync def f(): breakpoint()\ntask = asyncio.create_task(f()); await asyncio.sleep(100)",
        "import asyncio\nasync def f(): breakpoint()\nasyncio.run(f())",
    ],
)
def test_one_interrupt_ends_code_that_requests_input_in_a_loop(client: Client, code: str) -> None:
    events = _interrupt_first_request(client, code)
    error = events[-2].data
    assert (events[-2].name, error["type"]) == ("error", "KeyboardInterrupt")
    assert "pdb.py" not in "".join(error["traceback"])
    assert client.value("import sys; sys.gettrace()") == "None", "the next cell is traced"
    assert text_of(client.converse(f"print(input('? '))  # {code!r}", "yes"), "stdout") == "? yes\nyes\n"


def test_post_mortem_debugger_writes_to_the_current_stdout(client: Client) -> None:
    client.execute("1 / 0")
    client.converse("%debug", "q")
    client.execute("import sys; sys.stdout.detach()")
    client.execute("def g(y): return 1 / y\ng(0)")
    assert "7\n" in text_of(client.converse("get_ipython().debugger(force=True)", "p y + 7", "q"), "stdout")


def test_one_interrupt_ends_post_mortem_debugger(client: Client) -> None:
    client.execute("def g(y): return 1 / y\ng(0)")
    last = _interrupt_first_request(client, "%debug")[-2].data
    assert last["type"] == "KeyboardInterrupt", "\n".join(last["traceback"])


@pytest.mark.parametrize(
    "code",
    [
        "try: input('? ')\nexcept KeyboardInterrupt: print('cancelled')",
        "import cmd\ntry: cmd.Cmd().cmdloop()\nexcept KeyboardInterrupt: print('cancelled')",
        "import asyncio\nasync def f():\n    try: input('? ')\n    except KeyboardInterrupt: print('cancelled')\n"
        "    await asyncio.sleep(0)\nasyncio.run(f())",
    ],
)
def test_code_can_catch_interrupt_of_input(client: Client, code: str) -> None:
    events = _interrupt_first_request(client, code)
    assert events[-2].name == "result"
    assert text_of(events, "stdout").endswith("cancelled\n")


@pytest.mark.parametrize(
    "code",
    [
        "input()",
        "import getpass; getpass.getpass()",
        "import sys; next(sys.stdin)",
        "import asyncio; await asyncio.sleep(0); input()",
    ],
)
def test_traceback_of_interrupted_input_has_only_the_cells_frames(client: Client, code: str) -> None:
    error = _interrupt_first_request(client, code)[-2].data
    assert error["type"] == "KeyboardInterrupt"
    traceback = "\n".join(error["traceback"])
    assert traceback.count("line 1") == 1
    assert ".py" not in traceback


def test_input_reads_from_replaced_stdin(client: Client) -> None:
    client.execute("import io, sys; sys.stdin = io.StringIO('a\\nb\\nc\\n')")
    assert client.execute("print(input('1 '), sys.stdin.readline())")["stdout"] == "1 a b\n\n"
    assert client.value("input()") == "'c'"
    assert client.execute("input()")["error"]["type"] == "EOFError"
    client.execute("sys.stdin.close()")
    assert text_of(client.converse("print(input())", "text"), "stdout") == "text\ntext\n"


@pytest.mark.parametrize("damage", ["sys.stdin.close()", "sys.stdin = None", "sys.stdin = 3", "del sys.stdin"])
def test_session_repairs_stdin_after_each_cell(client: Client, damage: str) -> None:
    client.execute(f"import sys; {damage}")
    code = f"print(input('1 ')); import sys; print(sys.stdin.readline())  # {damage}"
    assert text_of(client.converse(code, "a", "b"), "stdout") == "1 a\na\nb\nb\n\n"
