"""IPython's magics, the shell and history."""

from pathlib import Path

import pytest

from tests.client import Client


def test_timing_magics_work(client: Client) -> None:
    timed = client.execute("%time 40 + 2")
    assert timed["result"] == "42"
    assert "Wall time" in timed["stdout"]
    assert "per loop" in client.execute("%timeit -n 2 -r 2 1")["stdout"]
    assert "Wall time" in client.execute("%%time\nx = 1\ny = 2")["stdout"]


def test_shell_commands_and_magics_work(client: Client) -> None:
    result = client.execute("%%bash\necho out; echo err >&2")
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert client.execute("%%sh\necho sh")["stdout"] == "sh\n"
    assert client.execute("!echo out; echo err >&2")["stdout"] == "out\n"
    assert client.value("lines = !echo a; echo b\nlines") == "['a', 'b']"
    assert client.execute("word = 'var'\n!echo {word} $word")["stdout"] == "var var\n"
    assert client.execute("!exit 3")["success"]
    assert client.value("_exit_code") == "3"


def test_env_and_cd_magics_change_the_process(client: Client, home: Path) -> None:
    client.execute("%env MRMD_T=set")
    assert client.value("import os; os.environ['MRMD_T']") == "'set'"
    assert client.execute("!echo $MRMD_T")["stdout"] == "set\n"
    (home / "sub").mkdir(exist_ok=True)
    moved = client.execute("%cd sub")
    assert (moved["stdout"].strip(), moved["stderr"]) == (str(home / "sub"), "")
    assert client.value("os.getcwd()") == repr(str(home / "sub"))
    assert client.execute("!pwd")["stdout"].strip() == str(home / "sub")
    assert client.value("%pwd") == repr(str(home / "sub"))


def test_writefile_run_and_autoreload_work(client: Client, home: Path) -> None:
    assert client.execute("%%writefile scribble.py\nprint('run as', __name__)\nvalue = 1")["success"]
    assert client.execute("%run scribble.py")["stdout"] == "run as __main__\n"
    assert client.value("value") == "1"
    client.execute("%load_ext autoreload\n%autoreload 2\nimport scribble")
    module = home / "scribble.py"
    module.write_text("value = 'changed'")
    later = module.stat().st_mtime + 10
    client.execute(f"import os; os.utime('scribble.py', ({later}, {later}))")
    assert client.value("scribble.value") == "'changed'"
    module.unlink()


def test_question_mark_shows_help(client: Client) -> None:
    client.execute("def square(n):\n    '''Return n times n.'''\n    return n * n")
    assert "Return n times n." in client.execute("square?")["stdout"]
    assert "return n * n" in client.execute("square??")["stdout"]
    assert "%time" in client.execute("%time?")["stdout"]
    assert "square" in client.execute("*squa*?")["stdout"]


@pytest.mark.parametrize(
    ("code", "proposed"),
    [
        ("%load loaded.py", "# %load loaded.py\nx = 1\n"),
        ("%recall 1", "first = 'cell'"),
        ("%recall first =", "first = 'cell'"),
        ("get_ipython().set_next_input('a'); get_ipython().set_next_input('b')", "b"),
        ("print('open', end=''); get_ipython().set_next_input('b')", "b"),
    ],
)
def test_set_next_input_is_reported(client: Client, home: Path, code: str, proposed: str) -> None:
    (home / "loaded.py").write_text("x = 1\n")
    assert "nextInput" not in client.execute("first = 'cell'")
    result = client.execute(code)
    assert result["nextInput"] == proposed
    assert result["stdout"].endswith(f"{proposed}\n")
    assert client.stream(code)[-2].data["nextInput"] == proposed


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("%clear", "\x1b[H\x1b[2J"),
        ("%cls", "\x1b[H\x1b[2J"),
        ("import os; _ = os.system('clear')", "\x1b[H\x1b[2J"),
        ("!tput cols", "80\n"),
        ("%less loaded.py", "x = 1"),
        ("%more loaded.py", "x = 1"),
        ("%page __name__", "__main__"),
        ("%autosave 60", "the editor saves the notebook"),
        ("%connect_info", "mrmd-python --list"),
    ],
)
def test_terminal_and_jupyter_magics_work(client: Client, home: Path, code: str, shown: str) -> None:
    (home / "loaded.py").write_text("x = 1\n")
    result = client.execute(code)
    assert result["success"], result["error"]
    assert shown in result["stdout"]
    assert result["stderr"] == ""


@pytest.mark.parametrize("code", ["%edit", "%ed x", "%qtconsole", "%less no_such_file"])
def test_unsupported_magic_fails_with_one_line(client: Client, code: str) -> None:
    result = client.execute(code)
    assert result["error"]["type"] == "UsageError"
    assert result["stderr"].startswith("UsageError: ")
    assert result["stderr"].count("\n") == 1
    assert result["error"]["traceback"] == [result["stderr"].rstrip("\n")]
    assert result["stdout"] == ""


def test_interrupt_ends_unanswered_debugger(client: Client) -> None:
    client.execute("1 / 0")
    result = client.execute("%debug")
    assert result["success"]
    assert "input() is not available" in result["stderr"]
    client.execute("%pdb on")
    failed = client.execute("1 / 0")
    client.execute("%pdb off")
    assert failed["error"]["type"] == "ZeroDivisionError"
    assert "input() is not available" in failed["stderr"]


def test_store_magic_keeps_variables_across_reset(client: Client) -> None:
    client.execute("stored = {'a': 1}")
    assert "Stored" in client.execute("%store stored")["stdout"]
    client.post("/reset")
    assert client.execute("%store -r stored")["success"]
    assert client.value("stored") == "{'a': 1}"
    client.execute("%store -d stored")


def test_history_is_kept_in_memory_only(client: Client, home: Path) -> None:
    for code in ("a = 1", "a + 1", "a + 2"):
        client.execute(code)
    assert client.execute("%history")["stdout"] == "a = 1\na + 1\na + 2\n%history\n"
    assert client.value("_, __, Out[2], In[1]") == "(3, 2, 2, 'a = 1')"
    assert client.value("_i1") == "'a = 1'"
    assert client.execute("%rerun 2")["success"]
    assert "=== Executing: ===\na + 1\n" in client.execute("%rerun 2")["stdout"]
    assert "a = 1" in client.execute("%history -g a =*")["stdout"]
    assert not list(home.rglob("history.sqlite*")), "IPython wrote its history to a file"
