"""input() and its kin, and debuggers, in each Python; the finer points are proved in tests/test_stdin.py."""

import pytest

from tests.client import Client, text_of


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
def test_each_way_to_ask(client: Client, code: str, answers: list[str], printed: str) -> None:
    events = client.converse(code, *answers)
    assert text_of(events, "stdout") == printed
    assert [event.name for event in events][-2:] == ["result", "done"]


def test_debuggers(client: Client) -> None:
    events = client.converse("def f(y):\n    breakpoint()\n    return y\nf(41)", "p y + 1", "c")
    assert "42\n" in text_of(events, "stdout")
    client.execute("def g(y): return 1 / y\ng(0)")
    assert "7\n" in text_of(client.converse("%debug", "p y + 7", "q"), "stdout")
    quit_ = client.converse("import pdb; pdb.set_trace(); x = 1", "q")
    assert quit_[-2].data["type"] == "BdbQuit"
    assert client.value("1 + 1") == "2"


@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()", "import sys; sys.stdin.readline()"])
def test_where_nobody_listens_it_raises_at_once(client: Client, code: str) -> None:
    for result in (client.execute(code)["error"], client.stream(code, allowStdin=False)[-2].data):
        assert result["type"] == "StdinNotImplementedError"
        assert "allowStdin" in result["message"]
