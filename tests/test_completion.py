"""Completion: from live objects, or by static analysis where the session cannot answer."""

import dataclasses
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import Client, Json
from tests.interpreters import make_venv, supported
from tests.machine import Machine, processes_of, wait_until

_HOSTILE = """
ran = []
class Hostile:
    in_class = 1
    def __init__(self):
        self.in_instance = {"inner": 2}
    @property
    def raising(self):
        ran.append("raising"); print("raising"); raise ValueError
    @property
    def endless(self):
        ran.append("endless")
        while True: pass
    def __getattr__(self, name):
        ran.append(name)
        while True: pass
    def __dir__(self): ran.append("dir"); raise ValueError
    def __repr__(self): ran.append("repr"); raise ValueError
    def __eq__(self, other): ran.append("eq"); raise ValueError
    def __hash__(self): return 1
    @property
    def __class__(self): ran.append("class"); raise ValueError
hostile = Hostile()
kept = [hostile, {hostile: hostile}]
hostile_dict = {"good": hostile, hostile: 1}
"""


def _complete(client: Client, code: str, cursor: int | None = None, **fields: object) -> Json:
    """Complete `code` at `cursor`, by default at its end."""
    return client.post("/complete", {"code": code, "cursor": cursor, **fields})


def _labels(answer: Json) -> list[str]:
    return [match["label"] for match in answer["matches"]]


def _statically(client: Client, code: str, expected: str, session: str = "default") -> Json:
    """Complete by static analysis, and repeat: it may time out until its process has warmed up."""
    answers: list[Json] = []

    def is_completed() -> bool:
        answers.append(_complete(client, code, session=session))
        return answers[-1]["source"] == "static" and expected in _labels(answers[-1])

    wait_until(is_completed, f"{code} is completed by {expected}", 40)
    return answers[-1]


def _analysis_processes(home: Path) -> list[int]:
    found = []
    for pid in processes_of(home):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[1] == b"-E" and arguments[2].endswith(b"/mrmd_python/analysis"):
            found.append(pid)
    return found


@contextmanager
def _busy(client: Client, code: str) -> Iterator[None]:
    with client.streaming(code) as events:
        next(events)
        wait_until(client.is_busy, "the cell runs")
        yield
        client.post("/interrupt")
        list(events)


def test_idle_session_completes_from_live_objects(here: Machine) -> None:
    client = here.start("a")
    (here.home / "data.csv").touch()
    (here.home / "datadir").mkdir()
    client.execute(
        "import os, enum\n"
        "class Thing:\n    size = 3\n    def grow(self, by, *, twice=False):\n        '''Grow it.'''\n"
        "thing = Thing(); thing.colour = 'red'\n"
        "def build(alpha, beta=2, *, gamma=None): '''Build it.'''\n"
        "table = {'first': {'inner': 1}, 'it\\'s': 2, 3: 4}\n"
        "class Colour(enum.Enum): RED = 1\n"
        "alphabet = 'abc'"
    )
    cases: list[tuple[str, int, set[str]]] = [
        ("alphab", 0, {"alphabet"}),
        ("x = thing.gr", 10, {"grow"}),
        ("thing.colour.upp", 13, {"upper"}),
        ("os.path.jo", 8, {"join"}),
        ("(os\n  .path.jo", 12, {"join"}),
        ("'text'.upp", 7, {"upper"}),
        ("Colour.", 7, {"RED"}),
        ("table['fi", 7, {"first"}),
        ('table["', 7, {"first", "it's"}),
        ("table[", 6, {"'first'", "3"}),
        ("table['first'].key", 15, {"keys"}),
        ("table['first']['", 16, {"inner"}),
        ("build(1, ga", 9, {"gamma="}),
        ("def new(one, two=2): pass\nnew(1, tw", 33, {"two="}),
        ("thing.grow(", 11, {"by=", "twice="}),
        ("Thing().si", 8, {"size"}),
        ("import js", 7, {"json"}),
        ("from os import pa", 15, {"path"}),
        ("from os.path import jo", 20, {"join"}),
        ("import xml.et", 11, {"etree"}),
        ("%ti", 0, {"%time", "%timeit"}),
        ("%%ba", 0, {"%%bash"}),
        ("%timeit alphab", 8, {"alphabet"}),
        ("%%time\nalphab", 7, {"alphabet"}),
        ("open('da", 6, {"data.csv", "datadir/"}),
        ("!cat da", 5, {"data.csv"}),
        ("f'{alphab", 3, {"alphabet"}),
        ("for local in x:\n  loc", 18, {"local"}),
        ("fresh = 'abc'\nfresh.upp", 20, {"upper"}),
        ("alphabet = [1]\nalphabet.app", 24, {"append"}),
        ("whi", 0, {"while"}),
        ("pri", 0, {"print"}),
    ]
    for code, start, expected in cases:
        answer = _complete(client, code)
        assert expected <= set(_labels(answer)), (code, _labels(answer)[:20])
        assert (answer["source"], answer["cursorStart"], answer["cursorEnd"]) == ("runtime", start, len(code)), code
    for code in ["# alphab", "'alphab", "%%bash\nalphab"]:
        assert _complete(client, code)["matches"] == [], code
    assert "beta=" not in _labels(_complete(client, "build(beta=1, "))
    # Editors sort by sortText: private names come last.
    labels = [match["label"] for match in sorted(_complete(client, "thing.")["matches"], key=lambda m: m["sortText"])]
    assert labels[:3] == ["colour", "grow", "size"]
    assert all(label.startswith("_") for label in labels[3:])
    (grow,) = _complete(client, "thing.gr")["matches"]
    assert grow == {
        "label": "grow",
        "insertText": "grow",
        "kind": "method",
        "detail": "grow(by, *, twice)",
        "documentation": "Grow it.",
        "valuePreview": None,
        "type": "method",
        "sortText": grow["sortText"],
    }
    kinds = {m["label"]: m["kind"] for m in _complete(client, "")["matches"]}
    assert {name: kinds[name] for name in ("os", "Thing", "build", "alphabet", "while", "None", "len")} == {
        "os": "module",
        "Thing": "class",
        "build": "function",
        "alphabet": "variable",
        "while": "keyword",
        "None": "constant",
        "len": "function",
    }
    assert _complete(client, "thing.colour")["matches"][0]["valuePreview"] == "'red'"


def test_positions_use_the_requested_encoding(client: Client) -> None:
    client.execute("alphabet = 1")
    code = "'😀'; alphab + 1"
    found = _complete(client, code, 12)
    assert (found["cursorStart"], found["cursorEnd"], _labels(found)) == (6, 12, ["alphabet"])
    found = _complete(client, code, 11, positionEncoding="utf-32")
    assert (found["cursorStart"], found["cursorEnd"], _labels(found)) == (5, 11, ["alphabet"])
    found = _complete(client, "'😀'; alphab", 999)
    assert (found["cursorStart"], found["cursorEnd"], _labels(found)) == (6, 12, ["alphabet"])
    found = client.post("/complete", {"code": "alphab"})
    assert (found["cursorStart"], found["cursorEnd"], _labels(found)) == (0, 6, ["alphabet"])
    assert _complete(client, "alphab", -5)["cursorEnd"] == 0
    assert _complete(client, "'\ud83d'; alphab", 10)["cursorEnd"] == 10, "code with a lone surrogate"
    for body, code_ in [
        ({}, "missing_code"),
        ({"code": 1}, "wrong_type"),
        ({"code": "", "cursor": "1"}, "wrong_type"),
        ({"code": "", "cursor": True}, "wrong_type"),
        ({"code": "", "session": 1}, "wrong_type"),
    ]:
        status, answer = client.request("POST", "/complete", body)
        assert (status, answer["code"]) == (400, code_), body


def test_completion_runs_no_code_of_objects_except_dir(client: Client) -> None:
    assert client.execute(_HOSTILE)["success"]
    assert {"in_class", "in_instance", "raising", "endless"} <= set(_labels(_complete(client, "hostile.")))
    for code, expected in [
        ("hostile.in_instance.ke", "keys"),
        ("hostile.in_instance['", "inner"),
        ("kept[0].in_", "in_class"),
        ("hostile_dict['", "good"),
        ("hostile_dict['good'].in_", "in_instance"),
        ("hostil", "hostile"),
    ]:
        answer = _complete(client, code)
        assert expected in _labels(answer), code
        assert answer["source"] == "runtime", code
    for code in [
        "hostile.raising.",
        "hostile.endless.x",
        "kept[0].endless.",
        "hostile_dict[",
        "hostile(",
        "hostile.missing.",
    ]:
        _complete(client, code)
    assert client.value("set(ran)") == "{'dir'}", "completion called more than __dir__, or did not call it"


_DIR_METHODS = """
import sys, types, weakref
class Config:
    static = 1
    def __dir__(self): return ["alpha", "beta_2", "no identifier", "1st"]
    def __getattr__(self, name): requested.append(name); raise AttributeError(name)
    def _ipython_key_completions_(self): return ["key one", "key two"]
class Meta(type):
    def __dir__(cls): return ["from_metaclass"]
class Made(metaclass=Meta): pass
class Proxy:
    def __init__(self, target): self.__dict__["target"] = target
    __dir__ = property(lambda self: lambda: dir(self.target))
class Text(str):
    def lower(self): raise ValueError
class Texts:
    def __dir__(self): return [Text("of_text")]
class LazyModule(types.ModuleType):
    def __dir__(self): return ["in_class"]
requested = []
config, texts = Config(), Texts()
class Space: held = 1
space = Space()
proxy, weak = Proxy(space), weakref.proxy(space)
lazy, lazy_class = types.ModuleType("lazy"), LazyModule("lazy_class")
lazy.__dir__ = lambda: ["in_module"]
sys.modules["lazy"] = lazy
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("config.", {"alpha", "beta_2", "static"}),
        ("config.AL", {"alpha"}),
        ("config['", {"key one", "key two"}),
        ("config[", {"'key one'"}),
        ("Made.", {"from_metaclass"}),
        ("proxy.", {"held", "target"}),
        ("weak.", {"held"}),
        ("texts.", {"of_text"}),
        ("lazy.", {"in_module"}),
        ("lazy_class.", {"in_class"}),
        ("from lazy import in_", {"in_module"}),
    ],
)
def test_idle_session_completes_from_dir_method(shared: Client, code: str, expected: set[str]) -> None:
    assert shared.execute(_DIR_METHODS)["success"]
    answer = _complete(shared, code)
    labels = set(_labels(answer))
    assert answer["source"] == "runtime"
    assert expected <= labels
    assert not labels & {"no identifier", "1st"}
    assert shared.value("requested") == "[]", "completion read an attribute through __getattr__"


def test_attributes_that_libraries_list_in_dir_are_completed(here: Machine) -> None:
    venv = here.home / "venv"
    make_venv(supported()[-1], venv, "ipython", "omegaconf", "pint", "python-box", "traitlets")
    client = here.start("a", "--venv", str(venv))
    code = """
import box, omegaconf, pint, traitlets
config = omegaconf.OmegaConf.create({"model": {"layers": 3}})
boxed = box.Box(alpha={"beta": 1})
units = pint.UnitRegistry()
class Model(traitlets.HasTraits):
    size = traitlets.Int()
model = Model()
"""
    assert client.execute(code)["success"]
    for typed, expected in [
        ("config.mo", "model"),
        ("boxed.al", "alpha"),
        ("units.me", "meter"),
        ("model.si", "size"),
    ]:
        assert expected in _labels(_complete(client, typed)), typed


def test_busy_session_does_not_call_dir_method(client: Client) -> None:
    client.execute(
        "ran = []\nclass Config:\n    static = 1\n    def __dir__(self): ran.append(1); return ['dynamic']\n"
        "    def _ipython_key_completions_(self): ran.append(2); return ['dynamic']\nconfig = Config()"
    )
    for number, code in enumerate(["while True: pass", "import asyncio; await asyncio.sleep(100)"]):
        with _busy(client, f"cell = {number}\n{code}"):
            wait_until(lambda n=number: client.post("/hover", {"code": "cell"})["value"] == str(n), "the cell runs")  # type: ignore[misc]
            assert _labels(_complete(client, "config.sta")) == ["static"]
            assert _labels(_complete(client, "config.dyn")) == []
            assert _labels(_complete(client, "config['dyn")) == []
    assert client.value("ran") == "[]"
    assert _labels(_complete(client, "config.dyn")) == ["dynamic"]


_LOOPING_DIR = """
import asyncio, pathlib
class Bad:
    def __dir__(self):
        pathlib.Path("begun").touch()
        while True: print("printed")
bad = Bad()
async def count():
    while True: await asyncio.sleep(0)
task = asyncio.get_event_loop().create_task(count())
"""


def test_execution_interrupts_looping_dir_method(here: Machine) -> None:
    client = here.start("a")
    assert client.execute(_LOOPING_DIR)["success"]
    for _ in range(5):
        completing = threading.Thread(target=_complete, args=(client, "bad."))
        completing.start()
        wait_until((here.home / "begun").exists, "__dir__ is running")
        started = time.monotonic()
        result = client.execute("print(sum(range(100_000)))")
        assert time.monotonic() - started < 3
        assert (result["success"], result["stdout"], result["stderr"]) == (True, "4999950000\n", "")
        completing.join()
        (here.home / "begun").unlink()
    assert client.value("task.done()") == "False", "the interrupt hit another task of the event loop"


_PRINTING_THREAD = """
import sys, threading, time
class Slow:
    def __dir__(self):
        print("from dir")
        time.sleep(0.2)
        return []
slow = Slow()
def work():
    for number in range(300):
        sys.stdout.write(f"line {number}\\n")  # in one write, so that the log keeps it in one line
        time.sleep(0.001)
thread = threading.Thread(target=work)
"""


def test_thread_output_while_dir_runs_is_kept(here: Machine) -> None:
    client = here.start("a")
    assert client.execute(_PRINTING_THREAD)["success"]
    printed = client.execute("thread.start()")["stdout"]
    for _ in range(5):
        _complete(client, "slow.")
    printed += client.execute("thread.join()")["stdout"]
    printed += (here.home / ".mrmd" / "logs" / "a.log").read_text()
    assert "Traceback" not in printed, printed
    assert sorted(map(int, re.findall(r"line (\d+)", printed))) == list(range(300)), printed
    assert "from dir" not in printed


def test_data_frames_and_arrays_are_completed(client: Client) -> None:
    client.execute(
        "import numpy as np, pandas as pd\ndf = pd.DataFrame({'alpha': [1], 'be ta': [2]}); array = np.zeros((2, 3))"
    )
    for code, expected in [
        ("df.al", "alpha"),
        ("df.", "groupby"),
        ("df['", "be ta"),
        ("df[['alpha', '", "be ta"),
        ("df.loc[:, '", "be ta"),
        ("df.alpha.me", "mean"),
        ("df.head(len('(')).dropna().gro", "groupby"),
        ("df.groupby('alpha').ag", "agg"),
        ("pd.read_csv('x.csv').gro", "groupby"),
        ("df['alpha'].str.", "upper"),
        ("np.linalg.in", "inv"),
        ("array.T.sh", "shape"),
        ("pd.read_csv('x', se", "sep="),
    ]:
        answer = _complete(client, code)
        assert expected in _labels(answer), code
        assert answer["source"] == "runtime", code
    preview = {match["label"]: match["valuePreview"] for match in _complete(client, "")["matches"]}
    assert preview["df"] == "<DataFrame 1 row × 2 columns: alpha, be ta>"
    assert preview["array"] == "ndarray (2, 3) float64 [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]"


def test_completions_and_previews_are_bounded(client: Client) -> None:
    client.execute(
        "import types\nmany = types.SimpleNamespace(**{f'n{i}': 'x' * 10**4 for i in range(3000)})\nbig = 10**100000"
    )
    answer = _complete(client, "many.")
    assert len(answer["matches"]) == 1000
    assert len(json.dumps(answer)) < 1_000_000
    assert _complete(client, "big")["matches"][0]["valuePreview"] == "<int of 332193 bits>"
    assert _complete(client, "x = " + "(" * 1_000)["cursorEnd"] == 1_004


_BUSY_CASES = [
    ("'😀'; bui", 6, "build"),
    ("runn", 0, "running"),
    ("json.du", 5, "dumps"),
    ("build(1).upp", 9, "upper"),
    ("import xml.et", 11, "etree"),
]


def test_busy_session_completes_from_live_objects(client: Client) -> None:
    client.execute("import json\ndef build(alpha) -> str: return 'abc'\nglobals()['in_memory'] = {'key': 1}")
    with _busy(client, "running = 1\nwhile True: pass"):
        wait_until(lambda: _labels(_complete(client, "runn")) == ["running"], "the cell has set its variable")
        for typed, start, expected in [*_BUSY_CASES, ("in_mem", 0, "in_memory"), ("in_memory['", 11, "key")]:
            answer = _complete(client, typed)
            assert expected in _labels(answer), typed
            assert (answer["source"], answer["cursorStart"]) == ("runtime", start)


def test_blocked_session_completes_by_static_analysis_of_its_cells(client: Client) -> None:
    client.execute("import json\ndef build(alpha): return 'abc'")
    with _busy(client, "running = 1\npow(7, 2*10**7) and None"):
        for typed, start, expected in _BUSY_CASES:
            assert _statically(client, typed, expected)["cursorStart"] == start
            assert client.get("/capabilities")["features"]["complete"] is True


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os; os.getc", "getcwd"),
        ("import os\nos.getc", "getcwd"),
        ("import os.path as p, sys\np.jo", "join"),
        ("import os, sys as s\ns.argv", "argv"),
        ("from os import path\npath.jo", "join"),
        ("from os import (getcwd,\n  path as p)\np.jo", "join"),
        ("import os\nwhere = os.getcwd\nwhere.__na", "__name__"),
        ("import pathlib\nhome = pathlib.Path('.')\nhome.is_d", "is_dir"),
        ("def f(): pass\nimport os; from os import get", "getcwd"),
    ],
)
def test_imports_in_the_cell_are_completed_from_loaded_modules(shared: Client, code: str, expected: str) -> None:
    answer = _complete(shared, code)
    assert (expected in _labels(answer), answer["source"]) == (True, "runtime")


@pytest.mark.parametrize(
    ("code", "source", "expected"),
    [
        ("import os; os.getc", "runtime", ["getcwd", "getcwdb"]),
        ("import unloaded as u; u.read_", "static", ["read_csv", "read_json"]),
        ("from unloaded import read_", "static", ["read_csv", "read_json"]),
    ],
)
def test_first_completion_does_not_wait_for_static_analysis(
    here: Machine, code: str, source: str, expected: list[str]
) -> None:
    _write_unloaded_package(here.home)
    client = here.start("a", env={"XDG_CACHE_HOME": str(here.home / "cache")})
    started = time.monotonic()
    answer = _complete(client, code)
    seconds = time.monotonic() - started
    assert (answer["source"], _labels(answer)) == (source, expected)
    assert seconds < 0.5
    assert client.get("/sessions/default")["executionCount"] == 0


def _write_unloaded_package(directory: Path) -> None:
    package = directory / "unloaded"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from ._io import (\n    read_csv,  # a comment\n    read_json,\n)\nfrom .more import *\n"
        "class Table: pass\ndef concat(): local = 1\nraise RuntimeError('it was imported')\n"
    )
    (package / "_io.py").write_text("def read_csv(): pass\ndef read_json(): pass\n")
    (package / "more.py").write_text("if True:\n    total = 1\n")
    (package / "broken.py").write_text("value = 1\ndef f(:\n")


def test_modules_not_yet_imported_are_completed_from_source(here: Machine) -> None:
    _write_unloaded_package(here.home)
    client = here.start("a")
    answer = _complete(client, "import unloaded; unloaded.")
    kinds = {match["label"]: match["kind"] for match in answer["matches"]}
    assert {kinds.pop(name) for name in ("read_csv", "read_json", "total")} == {"variable"}
    assert {kinds.pop(name) for name in ("_io", "broken", "more")} == {"module"}
    assert kinds == {"Table": "class", "concat": "function"}
    assert _labels(_complete(client, "import unloaded.more as m\nm.to")) == ["total"]
    assert _labels(_complete(client, "from unloaded import more\nmore.to")) == ["total"]
    assert _statically(client, "import unloaded.broken as b; b.va", "value")
    assert client.value("'unloaded' in __import__('sys').modules") == "False"


def test_completion_creates_no_session(client: Client) -> None:
    assert _labels(_statically(client, "import os\nos.path.jo", "join", session="unknown")) == ["join"]
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"]


def test_analysis_process_is_replaced_and_never_left_behind(here: Machine) -> None:
    client = here.start("a")
    for _ in range(2):
        _statically(client, "def build(): pass\nbuil", "build", session="unknown")
        (pid,) = _analysis_processes(here.home)
        os.kill(pid, 9)
        wait_until(lambda pid=pid: here.alive([pid]) == [], "the analysis process is gone")  # type: ignore[misc]
    _statically(client, "def build(): pass\nbuil", "build", session="unknown")
    (pid,) = _analysis_processes(here.home)
    # When a reaper is killed, the server kills the processes it inherits from it, but not the analysis process.
    here.kill("KILL", int(client.value("import os; os.getppid()")))
    wait_until(lambda: client.get("/sessions/default")["state"] == "dead", "the session has ended")
    assert _analysis_processes(here.home) == [pid]
    _statically(client, "def build(): pass\nbuil", "build", session="unknown")
    here.kill("KILL", client.pid)
    wait_until(lambda: processes_of(here.home) == [], "all processes of the runtime have ended")


def test_analysis_imports_no_module_from_the_working_directory(here: Machine) -> None:
    for name in ("json", "jedi", "parso", "black", "IPython", "asyncio", "re", "mrmd_python"):
        (here.home / f"{name}.py").write_text(f"open('{here.home}/imported-{name}', 'w').close()\n")
    client = here.start("a")
    _statically(client, "import colorsys\ncolorsys.rgb", "rgb_to_hls", session="unknown")
    assert client.post("/format", {"code": "x=1"})["formatted"] == "x = 1"
    assert client.post("/is_complete", {"code": "x=1"})["status"] == "complete"
    assert list(here.home.glob("imported-*")) == []


def test_only_the_user_can_write_to_the_cache_of_completion(here: Machine) -> None:
    """It has pickles, which can run code."""
    cache = here.home / "cache"
    lax = dataclasses.replace(here, prefix=["sh", "-c", 'umask 0; exec "$@"', "sh"])
    client = lax.start("a", env={"XDG_CACHE_HOME": str(cache)})
    client.execute("1")
    client.post("/complete", {"code": "import abc\ndef f(x): return abc\nf(1).", "cursor": 40})
    wait_until(lambda: any(cache.rglob("*.pkl")), "jedi has written its cache")
    assert [path for path in (cache, *cache.rglob("*")) if path.stat().st_mode & 0o022] == []
