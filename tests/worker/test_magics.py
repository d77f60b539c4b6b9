"""IPython's magics, the shell and history."""

from pathlib import Path

from tests.client import Client


def test_timing(client: Client) -> None:
    timed = client.execute("%time 40 + 2")
    assert timed["result"] == "42"
    assert "Wall time" in timed["stdout"]
    assert "per loop" in client.execute("%timeit -n 2 -r 2 1")["stdout"]
    assert "Wall time" in client.execute("%%time\nx = 1\ny = 2")["stdout"]


def test_shell(client: Client) -> None:
    result = client.execute("%%bash\necho out; echo err >&2")
    assert (result["stdout"], result["stderr"]) == ("out\n", "err\n")
    assert client.execute("%%sh\necho sh")["stdout"] == "sh\n"
    assert client.execute("!echo out; echo err >&2")["stdout"] == "out\n"
    assert client.value("lines = !echo a; echo b\nlines") == "['a', 'b']"
    assert client.execute("word = 'var'\n!echo {word} $word")["stdout"] == "var var\n"
    assert client.execute("!exit 3")["success"]
    assert client.value("_exit_code") == "3"


def test_environment_and_folder(client: Client, home: Path) -> None:
    client.execute("%env MRMD_T=set")
    assert client.value("import os; os.environ['MRMD_T']") == "'set'"
    assert client.execute("!echo $MRMD_T")["stdout"] == "set\n"
    (home / "sub").mkdir(exist_ok=True)
    moved = client.execute("%cd sub")
    assert (moved["stdout"].strip(), moved["stderr"]) == (str(home / "sub"), "")
    assert client.value("os.getcwd()") == repr(str(home / "sub"))
    assert client.execute("!pwd")["stdout"].strip() == str(home / "sub")
    assert client.value("%pwd") == repr(str(home / "sub"))


def test_files_and_reloading(client: Client, home: Path) -> None:
    assert client.execute("%%writefile scribble.py\nprint('run as', __name__)\nvalue = 1")["success"]
    assert client.execute("%run scribble.py")["stdout"] == "run as __main__\n"
    assert client.value("value") == "1"
    client.execute("%load_ext autoreload\n%autoreload 2\nimport scribble")
    module = home / "scribble.py"
    module.write_text("value = 'another'")
    later = module.stat().st_mtime + 10
    client.execute(f"import os; os.utime('scribble.py', ({later}, {later}))")
    assert client.value("scribble.value") == "'another'"
    module.unlink()


def test_help(client: Client) -> None:
    client.execute("def square(n):\n    '''Return n times n.'''\n    return n * n")
    assert "Return n times n." in client.execute("square?")["stdout"]
    assert "return n * n" in client.execute("square??")["stdout"]
    assert "%time" in client.execute("%time?")["stdout"]
    assert "square" in client.execute("*squa*?")["stdout"]


def test_history_in_memory(client: Client, home: Path) -> None:
    for code in ("a = 1", "a + 1", "a + 2"):
        client.execute(code)
    assert client.execute("%history")["stdout"] == "a = 1\na + 1\na + 2\n%history\n"
    assert client.value("_, __, Out[2], In[1]") == "(3, 2, 2, 'a = 1')"
    assert client.value("_i1") == "'a = 1'"
    assert client.execute("%rerun 2")["success"]
    assert not list(home.rglob("history.sqlite*")), "no file, and so no lock on it"
