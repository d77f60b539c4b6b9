"""POST /format and POST /is_complete, which never run the code."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.client import Client, Json
from tests.machine import Machine, wait_until


def _format(client: Client, code: str, **fields: object) -> Json:
    return client.post("/format", {"code": code, **fields})


def test_format_keeps_magics_and_trailing_semicolons(client: Client) -> None:
    for code, expected in [
        ("x=1", "x = 1"),
        ("x=1\n", "x = 1\n"),
        ("x = 1", "x = 1"),
        ("x=1;", "x = 1;"),
        ("x=1\r\ny=2\r\n", "x = 1\r\ny = 2\r\n"),
        ("%time f( x )\n!ls  -l\ny=2", "%time f( x )\n!ls  -l\ny = 2"),
        ("%%time\nx=1", "%%time\nx = 1"),
        ("%%bash\nls   -l", "%%bash\nls   -l"),
        ("await  f()", "await f()"),
        ("s='😀'", 's = "😀"'),
        ("", ""),
        ("  \n", "  \n"),
    ]:
        assert _format(client, code) == {"formatted": expected, "changed": code != expected}, code
    for code, word in [("x = (", "line 1"), ("a = 1\ndef f(:", "line 2"), ("x = '\0'", "null"), ("x = )", "line 1")]:
        answer = _format(client, code)
        assert (answer["formatted"], answer["changed"]) == (code, False)
        assert word in answer["error"], answer
    for body in [{}, {"code": 1}, {"code": None, "session": 2}]:
        assert client.request("POST", "/format", body)[0] == 400


def test_format_uses_the_projects_black_settings(here: Machine) -> None:
    client = here.start("a")
    code = "long = [11111111, 22222222, '33333333']"
    settings = here.home / "pyproject.toml"
    settings.write_text("[tool.black]\nline-length = 30\nskip-string-normalization = true\n")
    wait_until(lambda: "error" not in _format(client, code), "black is imported, which may take longer than an answer")
    assert _format(client, code)["formatted"] == "long = [\n    11111111,\n    22222222,\n    '33333333',\n]"
    for damaged in ["[tool.black", "[tool.black]\nline-length = 'long'\n", "[tool]\nblack = 1\n"]:
        settings.write_text(damaged)
        assert _format(client, code)["formatted"] == code.replace("'", '"'), damaged


def test_code_too_slow_to_format_is_returned_unchanged(client: Client) -> None:
    for code in ["x = [" + "[1, 2], " * 100_000 + "]", "x=1\n" * 1_000_000, "(" * 20_000 + ")" * 20_000]:
        started = time.monotonic()
        answer = _format(client, code)
        assert (answer["formatted"], answer["changed"]) == (code, False)
        assert answer["error"]
        assert time.monotonic() - started < 20
        assert client.get("/capabilities")["runtime"] == "mrmd-python"


@pytest.mark.parametrize("session", ["default", "unknown"])
def test_is_complete_reports_status_and_indent(client: Client, session: str) -> None:
    for code, status, indent in [
        ("x = 1", "complete", ""),
        ("", "complete", ""),
        ("for i in x:", "incomplete", "    "),
        ("def f():\n    if x:", "incomplete", "        "),
        ("x = (1,", "incomplete", None),
        ("x = )", "invalid", ""),
        ("@decorator", "incomplete", ""),
        ("x = 1 + \\", "incomplete", None),
        ("'''text", "incomplete", None),
        ("%time f(x)", "complete", ""),
        ("!ls", "complete", ""),
        ("%%bash\nls", "incomplete", ""),
        ("await f()", "complete", ""),
        ("obj?", "complete", ""),
    ]:
        answer = client.post("/is_complete", {"code": code, "session": session})
        assert answer["status"] == status, code
        assert answer["indent"].strip() == ""
        assert indent is None or answer["indent"] == indent, code
    assert client.request("POST", "/is_complete", {})[1]["code"] == "missing_code"
    assert client.request("POST", "/is_complete", {"code": []})[1]["code"] == "wrong_type"
    assert len(client.get("/sessions")["sessions"]) == 1


def test_is_complete_gives_up_on_slow_code_without_blocking_others(shared: Client) -> None:
    unknown = {"status": "unknown", "indent": ""}
    with ThreadPoolExecutor() as threads:
        checks = [threads.submit(shared.post, "/is_complete", {"code": "!a\n" * 600}) for _ in range(3)]
        started = time.monotonic()
        assert shared.value("1 + 1") == "2"
        assert time.monotonic() - started < 2, "an execution waited for the slow checks"
        assert [check.result() for check in checks] == [unknown] * 3
    assert shared.post("/is_complete", {"code": "(" * 1_000_001}) == unknown
    wait_until(lambda: shared.post("/is_complete", {"code": "1"})["status"] == "complete", "checks work again")
