"""mrmd-python --console, in a terminal."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psutil

from tests.client import DRAWING, Client
from tests.machine import MRMD, Machine, assert_error, wait_until
from tests.terminal import Terminal, terminal

# Code that waits for a file.
_GATE = "import os, time\nwhile not os.path.exists({path!r}): time.sleep(0.02)\n"


@contextmanager
def _console(machine: Machine, runtime: str = "shared", columns: int = 100, rows: int = 40) -> Iterator[Terminal]:
    with terminal(machine, MRMD, "--console", runtime, columns=columns, rows=rows) as opened:
        opened.wait_for("In [")
        yield opened


def _prompt(client: Client) -> str:
    return f"In [{client.get('/sessions/default')['executionCount'] + 1}]:"


@contextmanager
def _run_by(client: Client, who: str, code: str, exec_id: str) -> Iterator[None]:
    """Let another client run code during the block, and end afterwards."""
    running = Thread(target=client.execute, args=(code,), kwargs={"client": who, "execId": exec_id})
    running.start()
    yield
    running.join()


def test_console_edits_runs_and_completes(shared_machine: Machine, shared: Client) -> None:
    shared.execute("from_an_editor = '''日本語'''")
    with _console(shared_machine) as console:
        assert _prompt(shared) in console.screen
        console.enter("def triple(x):", '"""Multiply by three."""', "return x * 3", "")
        console.enter("trip = 1")
        console.wait_for('   ...:     """Multiply by three."""\n   ...:     return x * 3\n   ...:\n\nIn [')
        console.type("tri")
        console.press("Tab")
        console.wait_for("trip    1\n", "triple  Multiply by three.\n")
        console.press("Tab", "Tab", "Enter")
        console.enter("('é日')")
        console.wait_for("triple('é日')\nOut[", "]: 'é日é日é日'")
        console.enter("1 / 0", "triple?")
        console.wait_for("ZeroDivisionError: division by zero", "Docstring: Multiply by three.")
        console.paste("for n in range(2):\n    print(f'{n} pasted')\n\n    print('more')\n")
        console.press("Enter")
        console.wait_for("\n0 pasted\nmore\n1 pasted\nmore\n")
        console.type("from_")
        console.press("Up", "Enter")  # the session's history
        console.enter("from_an_editor")
        console.wait_for("]: '日本語'")
        console.enter("quit")
        assert console.wait_for_end() == 0
        assert "To return: mrmd-python --console shared" in console.screen


def test_console_asks_for_input_and_shows_pictures(shared_machine: Machine, shared: Client) -> None:
    with _console(shared_machine) as console:
        console.enter("name = input('Name? ') + '|' + input('Second? ')")
        console.wait_for("\nName?")
        console.enter("Ada é")
        console.wait_for("\nName? Ada é\nSecond?")
        console.enter("日本")
        console.wait_for("\nName? Ada é\nSecond? 日本\n\nIn [")
        console.enter("import getpass; len(getpass.getpass('Password: '))")
        console.wait_for("\nPassword:")
        console.enter("secret")
        console.wait_for("]: 6\n", "name")
        console.enter("name")
        assert "secret" not in console.wait_for("]: 'Ada é|日本'")
        console.enter(DRAWING)
        console.wait_for("_0001.svg")
        (path,) = re.findall(r"^/.*_0001\.svg$", console.screen, re.MULTILINE)
        assert Path(path).read_text().startswith("<svg")


def test_ctrl_c_interrupts_code_and_clears_the_line(shared_machine: Machine, shared: Client) -> None:
    with _console(shared_machine) as console:
        console.enter("while True: pass")
        wait_until(shared.is_busy, "the loop runs")
        console.press("C-c")
        console.wait_for("KeyboardInterrupt", _prompt(shared))
        console.enter("!sleep 100")
        session = psutil.Process(shared.get("/sessions/default")["pid"])
        wait_until(lambda: "sleep" in [child.name() for child in session.children(recursive=True)], "sleep runs")
        console.press("C-c")
        wait_until(lambda: not shared.is_busy(), "sleep is interrupted")
        console.type("wrong")
        console.press("C-c")
        console.enter("'right'")
        assert "wrong" not in console.wait_for("]: 'right'")
        console.enter("input('Stop? ')")
        console.wait_for("\nStop?")
        console.press("C-c")
        wait_until(lambda: console.screen.count("KeyboardInterrupt") >= 2, "input is interrupted")


def test_ctrl_d_leaves_a_cell_and_the_console_returns_to_it(
    shared_machine: Machine, shared: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    lines = "for n in range({}, {}): print(f'line {{n}} é日本')\n"
    before, after = lines.format(0, 500), lines.format(500, 1000)
    code = f"{before}input('Ready? ')\n{_GATE.format(path=str(gate))}{after}input('Done? ')"
    shared.execute(f"code = {code!r}")
    with _console(shared_machine) as console:
        console.enter("exec(code)")
        console.wait_for("Ready?")
        console.enter("yes")
        console.press("C-d")
        assert console.wait_for_end() == 0
        assert "To return: mrmd-python --console shared" in console.screen
    assert shared.is_busy()
    with terminal(shared_machine, MRMD, "--console", "shared") as console:
        console.wait_for("console: exec(code)  running", "Ready? yes")
        gate.touch()
        console.wait_for("Done?")
        console.enter("no", "'typed' + 'ahead'")
        screen = console.wait_for("Done? no\n", "]: 'typedahead'")
        shown = re.findall(r"line (\d+) é日本\n", screen)
        assert shown == [str(n) for n in range(1000)]
        assert screen.count("Ready?") == screen.count("Done?") == 1


def test_console_shows_what_others_run(shared_machine: Machine, shared: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = _GATE.format(path=str(gate))
    with _console(shared_machine) as console:
        console.type("x = 4")
        shared.execute("y = 'of the agent'\nprint(y)", client="agent", execId="of-agent")
        console.wait_for("agent: y = 'of the agent' …  done, 0.", f" s\n{_prompt(shared)} x = 4")
        shared.execute("1 / 0", client="editor 日本")
        console.wait_for("editor 日本: 1 / 0  failed, 0.", f" s\n{_prompt(shared)} x = 4")
        console.enter("2", "%attach of-ag", "x")
        console.wait_for("\nof the agent\n\nIn [", "]: 42")
        with _run_by(shared, "agent", f"{wait}print('after')", "waits"):
            console.wait_for("agent: import os, time …  running\nIn [")
            console.enter("x + 1")
            console.wait_for("agent: import os, time …  runs first\n")
            gate.touch()
            console.wait_for("]: 43", "agent: import os, time …  done")
        with _run_by(shared, "agent", "while True: pass", "endless"):
            console.wait_for("agent: while True: pass  running\nIn [")
            console.enter("%attach")
            console.wait_for("%attach\nagent: while True: pass  running\n")
            console.press("C-c")
        console.wait_for("KeyboardInterrupt")
        shared.execute("import threading; threading.Timer(0.1, print, ['from a thread']).start()")
        console.wait_for(f"from a thread\n{_prompt(shared)}")


def test_console_in_a_narrow_window(shared_machine: Machine, shared: Client) -> None:
    with _console(shared_machine, columns=40, rows=15) as console:
        console.enter("text = '日本語' * 9 + 'the end'")
        console.type("len(text)  # a comment that does not fit")
        console.press("Home", "Delete", "Delete", "Delete")
        console.enter("str")
        console.wait_for(f"]: '{'日本語' * 9}the end'")
        shared.execute(f"'{'日本語' * 20}'", client="agent")
        dim = next(line for line in console.wait_for("agent: '日本", "…  done").splitlines() if "agent" in line)
        assert sum(2 if character > "⺀" else 1 for character in dim) <= 40
        console.type("text.i")
        console.press("Tab")
        console.wait_for("index", "isalnum")


def test_console_of_a_dumb_terminal_without_colors(shared_machine: Machine, shared: Client, tmp_path: Path) -> None:
    shared.execute("import os; os.environ['NO_COLOR'] = '1'", session="plain")
    command = (MRMD, "--console", "shared", "--session", "plain")
    with terminal(shared_machine, *command, env={"TERM": "dumb", "NO_COLOR": "1"}) as console:
        console.tmux("pipe-pane", f"cat > {tmp_path}/output")
        console.wait_for("In [2]:")
        shared.execute("1", session="plain", client="agent")
        console.enter("def one():", "return 1", "", "one(), input('Name? ')", "Ada")
        console.wait_for("agent: 1  done", "Out[4]: (1, 'Ada')", "In [5]:")
        console.press("C-d")
        assert console.wait_for_end() == 0
        assert "mrmd-python --console shared --session plain" in console.screen
        shows_cursor = b"\x1b[?12l\x1b[?25h"  # prompt_toolkit sends this to any terminal
        assert b"\x1b" not in (tmp_path / "output").read_bytes().replace(shows_cursor, b"")
    assert shared.request("DELETE", "/sessions/plain")[0] == 200


def test_console_needs_a_terminal_and_a_runtime(shared_machine: Machine, shared: Client) -> None:
    assert_error(shared_machine.mrmd("--console", "shared"), 2, "--console needs a terminal", "--exec shared -")
    with terminal(shared_machine, MRMD, "--console", "missing") as console:
        assert console.wait_for_end() == 1
        assert "mrmd-python: no runtime named 'missing' is running" in console.screen


def test_console_says_that_its_runtime_has_ended(here: Machine) -> None:
    client = here.start("mine")
    with _console(here, "mine") as console:
        console.enter("import time; time.sleep(100)")
        wait_until(client.is_busy, "the cell runs")
        here.kill("KILL", client.pid)
        assert console.wait_for_end() == 1
        assert "mrmd-python: the runtime 'mine' has crashed" in console.screen
    here.start("mine", "--token")
    with _console(here, "mine") as console:
        assert here.mrmd("--kill", "mine").returncode == 0
        assert console.wait_for_end() == 1
        assert "mrmd-python: the runtime 'mine' has ended" in console.screen
    here.start("mine", "--token")
    (here.home / ".mrmd/tokens/mine").write_text("wrong-wrong-wrong-wrong\n")
    with terminal(here, MRMD, "--console", "mine") as console:
        assert console.wait_for_end() == 1
        assert "does not accept the token in" in console.screen
        assert "Traceback" not in console.screen


def test_signals_and_a_closed_terminal_leave_the_cell_running(shared_machine: Machine, shared: Client) -> None:
    with _console(shared_machine) as console:
        console.enter("import time; time.sleep(100)")
        wait_until(shared.is_busy, "the cell runs")
        console_process = console.process()
        console_process.send_signal(signal.SIGTERM)
        assert console.wait_for_end() == 128 + signal.SIGTERM
    with terminal(shared_machine, MRMD, "--console", "shared") as console:
        console.wait_for("running")
        console_process = console.process()
    wait_until(lambda: not console_process.is_running(), "the console ends with its terminal")
    assert shared.is_busy()
    shared.post("/interrupt")
