"""MRP, "Looking at the session": completion, inspection, variables, formatting."""

import pytest

from tests.client import Client, Json, Run
from tests.machine import wait_until

_KINDS = {"variable", "function", "method", "property", "class", "module", "keyword", "constant", "field", "value"}
_VARIABLE = {"name", "type", "value", "size", "expandable", "shape", "dtype", "length", "keys"}


@pytest.mark.row(
    "POST /complete: matches [{label, insertText, kind, ...}], cursorStart, cursorEnd, source runtime|static"
)
def test_completion_matches_have_every_field(server: Client, session: str, run: Run) -> None:
    run("class Thing:\n    def method(self): ...\n    field = 1\nthing = Thing(); table = {'some key': 1}; import os")
    for code, wanted, kinds in (
        ("thing.met", "method", {"method", "function"}),
        ("thing.fie", "field", {"field", "property", "variable", "value"}),
        ("Thi", "Thing", {"class"}),
        ("thin", "thing", {"variable"}),
        ("impor", "import", {"keyword"}),
        ("os.pat", "path", {"module", "variable", "field", "property"}),
        ("import jso", "json", {"module"}),
    ):
        found = server.post("/complete", {"code": code, "cursor": len(code), "session": session})
        assert found.keys() >= {"matches", "cursorStart", "cursorEnd", "source"}
        assert found["source"] in ("runtime", "static")
        match = next(match for match in found["matches"] if match["label"] == wanted)
        keys = {"label", "insertText", "kind", "detail", "documentation", "valuePreview", "type", "sortText"}
        assert match.keys() >= keys
        assert match["kind"] in kinds <= _KINDS
        assert match["insertText"] == wanted
        assert (found["cursorStart"], found["cursorEnd"]) == (code.rfind(".") + 1 or code.rfind(" ") + 1, len(code))
    assert server.post("/complete", {"code": "", "cursor": 0, "session": session})["cursorEnd"] == 0


@pytest.mark.row("While the session is busy, /complete answers from live objects")
def test_completion_uses_live_objects_while_a_cell_runs(server: Client, session: str, run: Run) -> None:
    run("table = {'some key': 1}")
    with server.streaming("started = 1\nwhile True: pass", session=session) as events:
        next(events)
        for code, wanted in (("started", "started"), ("table.ke", "keys"), ("table['so", "some key")):

            def is_completed(code: str = code, wanted: str = wanted) -> bool:
                found = server.post("/complete", {"code": code, "cursor": len(code), "session": session}, timeout=5)
                return (found["source"], wanted in [match["insertText"] for match in found["matches"]]) == (
                    "runtime",
                    True,
                )

            wait_until(is_completed, f"{code} is completed")
        server.post("/interrupt", {"session": session})
        list(events)


@pytest.mark.row("While the session is busy, /complete falls back to static analysis (source: static)")
def test_completion_is_static_while_a_cell_blocks(server: Client, session: str, run: Run) -> None:
    run("1")
    code = "import json\njson.dum"

    def is_completed() -> bool:
        """Each response arrives in time; one sent while the analysis is still starting may be empty."""
        found = server.post("/complete", {"code": code, "cursor": len(code), "session": session}, timeout=5)
        return found["source"] == "static" and "dumps" in [match["insertText"] for match in found["matches"]]

    with server.streaming("import ctypes; ctypes.PyDLL(None).sleep(600)", session=session) as events:
        next(events)
        wait_until(is_completed, "json.dum is completed by static analysis", 60)
        assert server.call("DELETE", f"/sessions/{session}").status == 200
        list(events)


@pytest.mark.row("POST /inspect: detail 0 signature, 1 + docs, 2 + source")
def test_inspect_detail_adds_docs_and_source(server: Client, session: str, run: Run) -> None:
    run("def area(width: int, height=2):\n    '''Multiply.'''\n    return width * height\n")
    found = [
        server.post("/inspect", {"code": "area(1)", "cursor": 2, "detail": detail, "session": session})
        for detail in range(3)
    ]
    for answer in found:
        assert (answer["found"], answer["name"], answer["kind"]) == (True, "area", "function")
        assert "width: int, height=2" in answer["signature"]
        assert answer["source"]
    assert not found[0].get("docstring")
    assert (found[1]["docstring"], bool(found[1].get("sourceCode"))) == ("Multiply.", False)
    assert "return width * height" in found[2]["sourceCode"]
    assert found[2]["line"] == 1
    assert server.post("/inspect", {"code": "nowhere", "cursor": 3, "session": session})["found"] is False


@pytest.mark.row(
    "POST /hover: found, name, type, value, signature, docstring, documentation (the same text under both names)"
)
def test_hover_has_every_field(server: Client, session: str, run: Run) -> None:
    run("number = 42\ndef f(a):\n    'Say a.'")
    found = server.post("/hover", {"code": "x = number", "cursor": 6, "session": session})
    assert (found["found"], found["name"], found["type"], found["value"]) == (True, "number", "int", "42")
    found = server.post("/hover", {"code": "f", "cursor": 1, "session": session})
    assert found["docstring"] == found["documentation"] == "Say a."
    assert "(a)" in found["signature"]
    assert server.post("/hover", {"code": "", "cursor": 0, "session": session})["found"] is False


@pytest.mark.row(
    "POST /variables: filter? {types[], namePattern, excludePrivate}: variables [Variable], count, truncated"
)
def test_variables_are_listed_and_filtered(server: Client, session: str, run: Run) -> None:
    run("number = 42; text = 'é'; _private = 1; table = {'a': 1, 'b': 2}; things = [1, 2, 3]; none = None")
    found = server.post("/variables", {"session": session})
    by_name = {variable["name"]: variable for variable in found["variables"]}
    assert {"number", "text", "table", "things", "none"} <= by_name.keys()
    assert found["count"] == len(found["variables"])
    assert found["truncated"] is False
    assert all(variable.keys() >= _VARIABLE for variable in by_name.values())
    assert (by_name["number"]["type"], by_name["number"]["value"], by_name["number"]["expandable"]) == (
        "int",
        "42",
        False,
    )
    assert (by_name["table"]["length"], by_name["table"]["expandable"]) == (2, True)
    assert set(by_name["table"]["keys"]) == {"a", "b"}
    assert all(variable["size"] is None or isinstance(variable["size"], str) for variable in by_name.values())

    def names(**wanted: object) -> set[str]:
        answer = server.post("/variables", {"session": session, "filter": wanted})
        return {variable["name"] for variable in answer["variables"]}

    assert names(types=["int"], excludePrivate=True) == {"number"}
    assert names(namePattern="text") == {"text"}
    assert "_private" not in names(excludePrivate=True)


@pytest.mark.row("shape (array or null, never a string); numpy, pandas are described from their metadata")
def test_arrays_are_described_by_metadata(server: Client, session: str, run: Run) -> None:
    run("import numpy as np, pandas as pd; a = np.zeros((3, 4), 'float32'); d = pd.DataFrame({'x': [1], 'y': [2]})")
    by_name = {variable["name"]: variable for variable in server.post("/variables", {"session": session})["variables"]}
    assert (by_name["a"]["shape"], by_name["a"]["dtype"]) == ([3, 4], "float32")
    assert by_name["d"]["shape"] == [1, 2]
    assert by_name["d"]["type"] == "DataFrame"


@pytest.mark.row(
    "POST /variables/{name}: path, maxChildren, maxValueLength, offset: Variable plus fullValue, children, ..."
)
def test_variables_can_be_expanded(server: Client, session: str, run: Run) -> None:
    run("class Point:\n    def __init__(self): self.x = 1\n    def go(self): ...")
    run("things = {'list': list(range(250)), 'point': Point()}")
    found = server.post("/variables/things", {"session": session})
    assert found.keys() >= _VARIABLE | {"fullValue", "children", "methods", "attributes", "truncated"}
    assert len(found["children"]) == 2
    listed = server.post("/variables/things", {"session": session, "path": ["list"]})
    assert [child["value"] for child in listed["children"]] == [str(n) for n in range(100)]
    assert listed["truncated"] is True
    last = server.post("/variables/things", {"session": session, "path": ["list"], "offset": 240, "maxChildren": 20})
    assert [child["value"] for child in last["children"]] == [str(n) for n in range(240, 250)]
    assert server.post("/variables/things", {"session": session, "path": ["list", 7]})["value"] == "7"
    point = server.post("/variables/things", {"session": session, "path": ["point"]})
    assert "x" in str(point["attributes"]) + str(point["children"])
    assert "go" in str(point["methods"])
    assert server.post("/variables/things", {"session": session, "path": ["point", "x"]})["value"] == "1"
    assert len(server.post("/variables/things", {"session": session, "maxValueLength": 10})["fullValue"]) < 50
    server.refused(404, "POST", "/variables/things", {"session": session, "path": ["none"]})


@pytest.mark.row("Neither a slow, printing, looping nor raising __repr__ delays or breaks an answer")
def test_hostile_repr_is_never_called(server: Client, session: str, run: Run) -> None:
    bodies = (
        "import time; time.sleep(60)",
        "print('printed'); return 'fine'",
        "while True: pass",
        "raise SystemExit",
        "return 1",
    )
    classes = "\n".join(
        f"class C{n}:\n    def __repr__(self):\n        {body}\nc{n} = C{n}()" for n, body in enumerate(bodies)
    )
    assert run(f"{classes}\nfine = 1")["success"]
    found = server.post("/variables", {"session": session}, timeout=5)
    assert {f"c{n}" for n in range(5)} | {"fine"} <= {variable["name"] for variable in found["variables"]}
    for number in range(5):
        assert server.post("/hover", {"code": f"c{number}", "cursor": 2, "session": session}, timeout=5)["found"]
        assert server.post(f"/variables/c{number}", {"session": session}, timeout=5)["name"] == f"c{number}"
    assert run("fine")["stdout"] == "Out[2]: 1\n", "a __repr__ printed something or was counted as an execution"


@pytest.mark.row("POST /is_complete: status complete|incomplete|invalid|unknown, indent (a string)")
def test_is_complete_reports_status_and_indent(server: Client, session: str) -> None:
    for code, status, indent in (
        ("x = 1", "complete", ""),
        ("def f():", "incomplete", "    "),
        ("f(", "incomplete", None),
        ("x = = 1", "invalid", ""),
        ("%time x = 1", "complete", ""),
        ("", "complete", ""),
    ):
        found = server.post("/is_complete", {"code": code, "session": session})
        assert found["status"] == status, code
        assert isinstance(found["indent"], str)
        assert indent in (None, found["indent"])


@pytest.mark.row("POST /format: formatted, changed, error when it cannot be parsed; %magic and !cmd are kept")
def test_format_keeps_magics_and_reports_syntax_errors(server: Client, session: str) -> None:
    def formatted(code: str) -> Json:
        return server.post("/format", {"code": code, "session": session})

    assert formatted("x=1")["formatted"].rstrip("\n") == "x = 1"
    assert formatted("x=1")["changed"] is True
    assert formatted("x = 1")["changed"] is False
    broken = formatted("x = = 1")
    assert (broken["formatted"], broken["changed"]) == ("x = = 1", False)
    assert broken["error"]
    kept = formatted("%time x=1\n!ls  -l\ny=2")["formatted"]
    assert "!ls  -l" in kept
    assert "%time" in kept
    assert "y = 2" in kept
    assert formatted("%%bash\nls   -l")["formatted"].rstrip("\n") == "%%bash\nls   -l"
