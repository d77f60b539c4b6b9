"""IPython's profile: configuration, extensions and startup files, as in IPython and Jupyter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import Client, Json


@contextmanager
def _session(runtime: Client, ipython_dir: Path, **files: str) -> Iterator[str]:
    """Create a session whose IPython profile has these files; yields its id."""
    profile = ipython_dir / "profile_default"
    (profile / "startup").mkdir(parents=True)
    for name, text in files.items():
        kind = "" if "config" in name else "startup/"
        (profile / f"{kind}{name.replace('__', '.')}").write_text(text)
    environment = {"env": {"IPYTHONDIR": str(ipython_dir)}}
    assert runtime.request("POST", "/sessions", {"id": ipython_dir.name, "environment": environment})[0] == 200
    try:
        yield ipython_dir.name
    finally:
        assert runtime.request("DELETE", f"/sessions/{ipython_dir.name}")[0] == 200


def _names(client: Client, session: str) -> list[str]:
    variables: list[Json] = client.post("/variables", {"session": session})["variables"]
    return [variable["name"] for variable in variables]


def test_ipython_profile_is_loaded(runtime: Client, tmp_path: Path) -> None:
    (tmp_path / "own_extension.py").write_text("def load_ipython_extension(ip): ip.push({'by_extension': 4})")
    with _session(
        runtime,
        tmp_path / "full",
        ipython_config__py=f"""
import sys
sys.path.append({str(tmp_path)!r})
c.InteractiveShell.ast_node_interactivity = "all"
c.InteractiveShellApp.extensions = ["own_extension"]
c.InteractiveShellApp.exec_lines = ["by_line = by_startup + 1", "print('started')"]
c.AliasManager.user_aliases = [("hello", "echo hello")]
""",
        ipython_kernel_config__py="c.IPKernelApp.exec_files = ['more.py']\nc.ZMQInteractiveShell.xmode = 'Minimal'\n"
        "c.HistoryManager.enabled = True",
        a__py="import contextvars; v = contextvars.ContextVar('v', default=0); v.set(1); by_startup = 1",
        b__ipy="%time in_order = by_startup",
    ) as session:
        (tmp_path / "full" / "more.py").write_text("by_file = by_line + 1")
        first = runtime.execute("by_startup, by_line, by_file, by_extension, v.get()", session=session)
        assert first["result"] == "(1, 2, 3, 4, 1)"
        assert "started\n" in first["stdout"]
        assert first["stderr"] == ""
        assert first["executionCount"] == 1
        assert _names(runtime, session) == [], "names from startup must be hidden, as in %who"
        assert runtime.execute("1; 2", session=session)["stdout"] == "Out[2]: 1\nOut[2]: 2\n"
        assert runtime.execute("%hello", session=session)["stdout"] == "hello\n"
        assert runtime.execute("1 / 0", session=session)["stdout"].strip() == "ZeroDivisionError: division by zero"
        runtime.execute("by_startup = 10", session=session)
        assert _names(runtime, session) == ["by_startup"], "a name that a cell has set must be listed"
        runtime.post("/reset", {"session": session})
        again = runtime.execute("by_startup, by_line", session=session)
        assert (again["result"], again["executionCount"]) == ("(1, 2)", 1)
        assert "started\n" in again["stdout"]
    assert not list(tmp_path.rglob("history.sqlite*"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ipython_config__py": "def f(: pass"}, "SyntaxError"),
        ({"ipython_config__py": "import no_such_module"}, "no_such_module"),
        ({"ipython_config__py": "import sys; sys.exit(3)"}, "SystemExit: 3"),
        ({"ipython_config__py": "c.InteractiveShellApp.exec_lines = 5"}, "exec_lines"),
        ({"ipython_config__py": "c.InteractiveShell.ast_node_interactivity = 5"}, "ast_node_interactivity"),
        ({"ipython_config__py": "c.InteractiveShellApp.extensions = ['no_such_extension']"}, "no_such_extension"),
        ({"ipython_config__py": "c.InteractiveShellApp.exec_lines = ['1 / 0']"}, "ZeroDivisionError"),
        ({"ipython_config__json": "{"}, "ipython_config.json"),
        ({"a__py": "x = 1\n1 / 0"}, "ZeroDivisionError"),
        ({"a__ipy": "x = 1\n1 / 0"}, "ZeroDivisionError"),
        ({"a__py": "def f(: pass"}, "SyntaxError"),
        ({"a__py": "import sys; sys.exit(4)"}, "startup file"),
    ],
)
def test_profile_error_is_shown_in_first_cell(
    runtime: Client, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    with _session(runtime, tmp_path / "broken", **files) as session:
        first = runtime.execute("print('printed')\n40 + 2", session=session)
        assert (first["success"], first["result"]) == (True, "42")
        assert message in first["stdout"] + first["stderr"]
        second = runtime.execute("40 + 2", session=session)
        assert (second["stdout"], second["stderr"]) == ("Out[2]: 42\n", "")


def test_startup_of_a_rich_cell_is_shown_in_it(runtime: Client, tmp_path: Path) -> None:
    lines = "c.InteractiveShellApp.exec_lines = ['1 / 0', '6 * 7']"
    with _session(runtime, tmp_path / "rich", ipython_config__py=lines, a__py="[][1]") as session:
        first = runtime.execute("'first'", session=session, rich=True)
        assert (first["success"], first["stdout"], first["data"]) == (True, "", {"text/plain": "'first'"})
        assert "IndexError" in first["stderr"]
        assert "ZeroDivisionError" in first["stderr"]
        assert [shown["data"] for shown in first["displayData"]] == [{"text/plain": "42"}]


def test_interrupt_ends_startup_file(runtime: Client, tmp_path: Path) -> None:
    with _session(runtime, tmp_path / "slow", a__py="print('starts')\nwhile True: pass") as session:
        with runtime.streaming("1", session=session) as events:
            for event in events:
                if event.name == "stdout":
                    assert runtime.post("/interrupt", {"session": session}) == {"interrupted": True}
                    break
            rest = list(events)
        assert [event.data["type"] for event in rest if event.name == "error"] == ["KeyboardInterrupt"]
        assert runtime.value("40 + 2", session=session) == "42"
