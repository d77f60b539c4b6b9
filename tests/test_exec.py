"""--exec and --attach: what they print on a terminal and into pipes, input, signals and exit statuses."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.client import DRAWING, Client
from tests.machine import MRMD, Machine, assert_error, wait_until

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_PICTURE = f"from IPython.display import display; _ = display({{'image/png': {_PNG!r}}}, raw=True, display_id='plot')"
_LOOP = "print('go', flush=True)\nwhile True: pass"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that cells wait for; the teardown creates it, so that no cell is left waiting."""
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


def _waiting(gate: Path, code: str = "") -> str:
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n{code}"


def _piped(
    machine: Machine, *arguments: str, stdin: str = "", env: "dict[str, str] | None" = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command without a terminal."""
    command = machine.command(MRMD, *arguments, env=env)
    return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=60, check=False)


@contextmanager
def _on_terminal(machine: Machine, *arguments: str, **variables: str) -> Iterator["pexpect.spawn[str]"]:
    """Run the command on a terminal."""
    program, *rest = machine.command(MRMD, *arguments, env={"TERM": "xterm", **variables})
    terminal = pexpect.spawn(program, rest, encoding="utf-8", timeout=30)
    try:
        yield terminal
    finally:
        terminal.close(force=True)


def _rest(terminal: "pexpect.spawn[str]") -> tuple[str, int]:
    """Return what the command still prints, and its exit status."""
    terminal.expect(pexpect.EOF)
    return terminal.before.replace("\r\n", "\n"), terminal.wait()


def _state(client: Client, exec_id: str) -> str:
    return str(client.get(f"/executions/{exec_id}")["state"])


def test_exec_writes_plain_text_into_pipes(shared: Client, shared_machine: Machine) -> None:
    code = "import sys; print('out é'); print('err', file=sys.stderr); x = 6 * 7\nx"
    done = _piped(shared_machine, "--exec", "shared", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out é\n42\n", "err\n")
    done = _piped(shared_machine, "--exec", "shared", "-c", "print(x)\n1 / 0")
    assert (done.returncode, done.stdout) == (1, "42\n")
    assert done.stderr.endswith("\nZeroDivisionError: division by zero\n")
    assert "\x1b" not in done.stderr


def test_exec_reads_code_from_a_file_or_standard_input(shared: Client, shared_machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_bytes(b"\xef\xbb\xbf#!/usr/bin/env python\r\nfor n in range(3):\r\n    print(n)\r\n")
    assert _piped(shared_machine, "--exec", "shared", str(script)).stdout == "0\n1\n2\n"
    for arguments in ([], ["-"]):
        assert _piped(shared_machine, "--exec", "shared", *arguments, stdin="print(3)\n").stdout == "3\n"


@pytest.mark.parametrize(
    ("code", "status"), [("sys.exit()", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 1), ("sys.exit('no')", 1)]
)
def test_script_that_exits_has_the_status_of_its_outcome(
    shared: Client, shared_machine: Machine, code: str, status: int
) -> None:
    assert _piped(shared_machine, "--exec", "shared", "-c", f"import sys; {code}").returncode == status


def test_exec_starts_the_runtime_with_the_options_given(here: Machine) -> None:
    done = _piped(
        here, "--exec", "a", "--cwd", "/usr", "--env", "GIVEN=yes", "-c", "import os; os.getcwd(), os.environ['GIVEN']"
    )
    assert (done.returncode, done.stdout) == (0, "('/usr', 'yes')\n")
    assert done.stderr == "mrmd-python: started 'a'; end it with: mrmd-python --kill a\n"
    again = _piped(here, "--exec", "a", "-c", "1")
    assert (again.stdout, again.stderr) == ("1\n", "")
    other = _piped(here, "--exec", "a", "--cwd", "/", "-c", "1")
    assert "'a' is already running without --cwd as given here" in other.stderr
    here.kill("KILL", here.info("a")["pid"])
    wait_until(lambda: here.states() == {"a": "dead"}, "the runtime is dead")
    assert _piped(here, "--exec", "a", "-c", "2").stdout == "2\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--exec", "shared", "missing.py"], 1, "missing.py: No such file or directory"),
        (["--exec", "shared", "/dev/urandom-not-utf8"], 1, "No such file"),
        (["--exec", "shared", "-c", "1", "file.py"], 2, "-c and FILE cannot be used together"),
        (["--exec", "shared", "--id", "other", "-c", "1"], 2, "--exec shared and --id other name different runtimes"),
        (["--exec", "shared", "--attach", "shared"], 2, "--exec and --attach cannot be used together"),
        (["-c", "1"], 2, "-c needs --exec"),
        (["--attach", "shared", "--detach"], 2, "--detach needs --exec"),
        (["--list", "file.py"], 2, "Got unexpected extra argument (file.py)"),
        (["--attach", "none"], 1, "no runtime named 'none' is running; start it with: mrmd-python --id none"),
        (["--attach", "shared", "none"], 1, "there is no execution 'none' in 'shared'"),
        (["--attach", "shared", "--session", "new"], 1, "nothing has run in the session 'new' of 'shared' yet"),
    ],
)
def test_mistakes_are_one_line_and_a_status(
    shared: Client, shared_machine: Machine, arguments: list[str], status: int, words: str
) -> None:
    assert_error(_piped(shared_machine, *arguments), status, words)


def test_code_that_is_not_utf8_is_refused(shared: Client, shared_machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes("x = 1\nname = 'é'\n".encode("latin-1"))
    refused = _piped(shared_machine, "--exec", "shared", str(tmp_path / "latin.py"))
    assert_error(refused, 1, f"{tmp_path}/latin.py: line 2 is not UTF-8 text")


def test_json_has_every_event(shared: Client, shared_machine: Machine) -> None:
    done = _piped(shared_machine, "--exec", "shared", "--json", "-c", "print('é'); 1 / 0")
    first, *texts, last = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["event"], last["event"], {text["event"] for text in texts}) == ("start", "error", {"stdout"})
    assert ("".join(text["content"] for text in texts), last["type"]) == ("é\n", "ZeroDivisionError")
    assert (done.returncode, done.stderr) == (1, "")
    assert first["number"] < texts[0]["number"] < last["number"]
    attached = _piped(shared_machine, "--attach", "shared", first["execId"], "--json")
    lines = [json.loads(line) for line in attached.stdout.splitlines()]
    assert (attached.returncode, lines[0], lines[-1]) == (1, first, last)


def test_detached_code_runs_on_and_attach_shows_it_from_the_beginning(
    shared: Client, shared_machine: Machine, gate: Path
) -> None:
    code = f"print('before', flush=True)\n{_waiting(gate, 'print(chr(97) * 3)')}"
    done = _piped(shared_machine, "--exec", "shared", "--session", "far", "--detach", "-c", code)
    exec_id = done.stdout.strip()
    assert (done.returncode, done.stdout) == (0, f"{exec_id}\n")
    wait_until(lambda: _state(shared, exec_id) == "running", "the code runs")
    command = shared_machine.command(MRMD, "--attach", "shared", "--session", "far")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attached:
        assert attached.stdout is not None
        assert attached.stdout.readline() == "before\n"
        gate.touch()
        assert attached.stdout.read() == "aaa\n"
    assert attached.returncode == 0
    assert _piped(shared_machine, "--attach", "shared", exec_id).stdout == "before\naaa\n"
    shared.execute("raise SystemExit(1)", session="far", execId="fails")
    assert _piped(shared_machine, "--attach", "shared", "--session", "far").returncode == 1


def test_a_hundred_megabytes_arrive_completely_and_take_little_memory(
    shared: Client, shared_machine: Machine, tmp_path: Path, gate: Path
) -> None:
    flood = "import sys\nfor n in range(1000): _ = sys.stdout.write(('x' * 99 + '\\n') * 1000)\nsys.stdout.flush()\n"
    (tmp_path / "flood.py").write_text(flood + _waiting(gate))
    command = shared_machine.command(MRMD, "--exec", "shared", str(tmp_path / "flood.py"))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        received = 0
        while received < 100_000_000:
            part = os.read(running.stdout.fileno(), 1 << 20)
            assert part, "the output ends early"
            received += len(part)
        status = Path(f"/proc/{running.pid}/status").read_text()
        gate.touch()
        assert running.stdout.read() == b""
    assert (received, running.returncode) == (100_000_000, 0)
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) < 80 * 1024


def test_reader_that_stops_ends_the_command_but_not_the_code(
    shared: Client, shared_machine: Machine, gate: Path
) -> None:
    code = f"print('first', flush=True)\n{_waiting(gate)}for n in range(100_000): print(n)\nend = 'reached'"
    command = shared_machine.command(MRMD, "--exec", "shared", "-c", code)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"first\n"
        running.stdout.close()
        gate.touch()
        _, stderr = running.communicate(timeout=30)
    assert (running.returncode, stderr) == (-signal.SIGPIPE, b"")
    assert shared.value("end") == "'reached'"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_ends_the_command_but_not_the_code(
    shared: Client, shared_machine: Machine, gate: Path, number: signal.Signals
) -> None:
    command = shared_machine.command(
        MRMD, "--exec", "shared", "-c", f"print('go', flush=True)\n{_waiting(gate)}end = 'reached'"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "go\n"
        running.send_signal(number)
        _, stderr = running.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert running.returncode == 128 + number
        assert re.fullmatch(r"mrmd-python: (\S+) goes on; to come back: mrmd-python --attach shared \1\n", stderr)
    else:
        assert (running.returncode, stderr) == (-number, "")
    gate.touch()
    assert shared.value("end") == "'reached'"


def test_input_comes_from_standard_input(shared: Client, shared_machine: Machine) -> None:
    code = "a = input('a? '); b = input('b? '); print(a + b)\nprint(input())"
    done = _piped(shared_machine, "--exec", "shared", "-c", code, stdin="1\né\nlast")
    assert (done.returncode, done.stdout) == (0, "a? b? 1é\nlast\n")
    ended = _piped(shared_machine, "--exec", "shared", "-c", "input('Name? ')")
    assert (ended.returncode, ended.stdout) == (1, "Name? ")
    assert ended.stderr.endswith("InputCancelled: the input was cancelled\n")
    script = _piped(shared_machine, "--exec", "shared", "-", stdin="print(1)\ninput()\nprint('not input')\n")
    assert (script.returncode, script.stdout) == (1, "1\n")


def test_terminal_shows_typed_lines_once_and_no_passwords(shared: Client, shared_machine: Machine) -> None:
    code = "from getpass import getpass\nname = input('Name? '); word = getpass('Word? '); print(name, len(word))"
    with _on_terminal(shared_machine, "--exec", "shared", "-c", code) as terminal:
        terminal.expect_exact("Name? ")
        terminal.sendline("Ada")
        terminal.expect_exact("Word? ")
        assert terminal.before == "Ada\r\n"
        terminal.waitnoecho()
        terminal.sendline("secret")
        assert _rest(terminal) == ("\nAda 6\n", 0)
    with _on_terminal(shared_machine, "--exec", "shared", "-c", "input('Name? ')") as terminal:
        terminal.expect_exact("Name? ")
        terminal.sendeof()
        rest, status = _rest(terminal)
    assert "InputCancelled" in rest
    assert status == 1


def test_attached_terminal_asks_only_what_is_not_answered(shared: Client, shared_machine: Machine, gate: Path) -> None:
    code = (
        f"from getpass import getpass\nfirst = getpass('First? ')\n{_waiting(gate)}"
        "second = input('Second? '); print(first + second)"
    )
    with shared.streaming(code, execId="asks") as events:
        next(event for event in events if event.name == "stdin_request")
        assert shared.post("/input", {"execId": "asks", "text": "1"}) == {"accepted": True}
        with _on_terminal(shared_machine, "--attach", "shared") as terminal:
            terminal.expect_exact("First? ")
            terminal.sendline("early")
            terminal.expect_exact("early\r\n")  # it is typed in the open
            gate.touch()
            assert _rest(terminal) == ("Second? 1early\n", 0)


def test_ctrl_c_interrupts_the_code(shared: Client, shared_machine: Machine) -> None:
    with _on_terminal(shared_machine, "--exec", "shared", "-c", _LOOP) as terminal:
        terminal.expect_exact("go\r\n")
        terminal.sendintr()
        rest, status = _rest(terminal)
    assert status == 1
    assert "KeyboardInterrupt" in rest
    with _on_terminal(shared_machine, "--exec", "shared", "-c", "input('Name? ')") as terminal:
        terminal.expect_exact("Name? ")
        terminal.sendintr()
        rest, status = _rest(terminal)
    assert status == 1
    assert "KeyboardInterrupt" in rest


def test_second_ctrl_c_leaves_the_code_running(shared: Client, shared_machine: Machine, gate: Path) -> None:
    code = (
        f"import os, time\nprint('go', flush=True)\nwhile not os.path.exists({str(gate)!r}):\n"
        "    try: time.sleep(0.01)\n    except KeyboardInterrupt: print('no', flush=True)\nprint('done')"
    )
    with _on_terminal(shared_machine, "--exec", "shared", "-c", code) as terminal:
        terminal.expect_exact("go\r\n")
        terminal.sendintr()
        terminal.expect_exact("no\r\n")
        terminal.expect_exact("interrupted, but it has not ended; Ctrl-C again leaves it running\r\n")
        terminal.sendintr()
        terminal.expect(r"mrmd-python: (\S+) goes on; to come back: mrmd-python --attach shared (\S+)\r\n")
        assert terminal.match is not None
        exec_id = str(terminal.match[2])
        assert _rest(terminal) == ("", 130)
    assert _state(shared, exec_id) == "running"
    gate.touch()
    with _on_terminal(shared_machine, "--attach", "shared", exec_id) as terminal:
        assert _rest(terminal) == ("go\nno\ndone\n", 0)


def test_ctrl_c_takes_waiting_code_out_of_the_queue_and_interrupts_nothing_else(
    shared: Client, shared_machine: Machine, gate: Path
) -> None:
    with shared.streaming(_waiting(gate, "42"), execId="first") as events:
        next(events)
        with _on_terminal(shared_machine, "--exec", "shared", "-c", "ran = True") as terminal:
            terminal.expect_exact("it waits for what runs in the session; Ctrl-C takes it out of the queue\r\n")
            terminal.sendintr()
            rest, status = _rest(terminal)
        assert status == 1
        assert rest.endswith("ExecutionDropped: not run: it was deleted\n")
        gate.touch()
        assert [event.name for event in events][-2:] == ["result", "done"]
    assert shared.value("'ran' in globals()") == "False"


def test_closed_terminal_leaves_the_code_running(shared: Client, shared_machine: Machine, gate: Path) -> None:
    with _on_terminal(
        shared_machine, "--exec", "shared", "-c", f"print('go', flush=True)\n{_waiting(gate)}end = 1"
    ) as terminal:
        terminal.expect_exact("go\r\n")
        terminal.close(force=False)
    gate.touch()
    assert shared.value("end") == "1"


def test_pictures_are_shown_by_path_or_inline(shared: Client, shared_machine: Machine) -> None:
    code = f"print('text', end='')\n{_PICTURE}\n{_PICTURE}"
    for arguments in (["-c", _PICTURE], ["-c", DRAWING]):
        done = _piped(shared_machine, "--exec", "shared", *arguments)
        path = Path(done.stdout.removesuffix("\n"))
        assert path.parent == shared_machine.home / ".mrmd-assets", done
        assert path.read_bytes()[:4] in (b"\x89PNG", b"<svg")
    piped = _piped(shared_machine, "--exec", "shared", "-c", code)
    text, first, second = piped.stdout.splitlines()
    assert (text, Path(first).name != Path(second).name) == ("text", True)
    assert _piped(shared_machine, "--attach", "shared").stdout == piped.stdout, "a second reader saves nothing again"
    with _on_terminal(shared_machine, "--exec", "shared", "-c", code) as terminal:
        rest, _ = _rest(terminal)
        assert [line.rpartition("/")[2][-9:] for line in rest.splitlines()] == ["text", "_0001.png", "_0002.png"]
    with _on_terminal(shared_machine, "--exec", "shared", "-c", _PICTURE, TERM_PROGRAM="iTerm.app") as terminal:
        assert _rest(terminal) == (f"\x1b]1337;File=inline=1;size=70:{_PNG}\a\n", 0)
    with _on_terminal(shared_machine, "--exec", "shared", "-c", _PICTURE, KITTY_WINDOW_ID="1") as terminal:
        assert _rest(terminal) == (f"\x1b_Ga=T,f=100,q=2,m=0;{_PNG}\x1b\\\n", 0)
    with _on_terminal(shared_machine, "--exec", "shared", "-c", _PICTURE, KITTY_WINDOW_ID="1", TMUX="x") as terminal:
        assert _rest(terminal)[0].endswith("_0001.png\n")


def test_updates_and_clear_output_are_shown(shared: Client, shared_machine: Machine) -> None:
    code = (
        "from IPython.display import clear_output, display, update_display\n"
        "display('one', display_id='x'); update_display('two', display_id='x'); clear_output(); print('three')"
    )
    assert _piped(shared_machine, "--exec", "shared", "-c", code).stdout == "'one'\n'two'\nthree\n"


def test_runtime_that_ends_meanwhile_is_an_error(here: Machine) -> None:
    here.start("a")
    with subprocess.Popen(
        here.command(MRMD, "--exec", "a", "-c", _LOOP), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "go\n"
        assert here.mrmd("--kill", "a").returncode == 0
        _, stderr = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "the session was ended while this ran" in stderr or "the runtime 'a' has ended" in stderr
    here.start("a")
    died = _piped(here, "--exec", "a", "-c", "import os; os.kill(os.getpid(), 9)")
    assert_error(died, 1, "SessionDied: the session's process was killed by SIGKILL")
    here.start("b", "--token")
    (here.home / ".mrmd/tokens/b").write_text("another-token-than-that\n")
    assert_error(_piped(here, "--exec", "b", "-c", "1"), 1, "does not accept the token in")


def test_shell_completes_executions(shared: Client, shared_machine: Machine) -> None:
    shared.execute("1", execId="exec-one")
    done = shared_machine.run(
        MRMD,
        env={
            "_MRMD_PYTHON_COMPLETE": "bash_complete",
            "COMP_WORDS": "mrmd-python --attach shared exec-o",
            "COMP_CWORD": "3",
        },
    )
    assert done.stdout == "plain,exec-one\n"
