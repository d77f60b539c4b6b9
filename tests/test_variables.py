"""POST /variables and POST /variables/{name}."""

from pathlib import Path
from typing import Any

from tests.client import Client, Json

_PYTHON = """
import collections, dataclasses, datetime, enum, fractions, pathlib
number = 42
huge = 10 ** 200_000
text = "h" * 1_000_000
data = b"abc"
nothing = None
items = [1, "a", [2, 3]]
items.append(items)
pair = (1,)
table = {"a": 1, 2: "two", "2": "text two", (1, 2): "tuple", None: {"deep": [7]}}
empty = {}
counter = collections.Counter("aab")
Point = collections.namedtuple("Point", "x y")
point = Point(1, 2)
class Color(enum.Enum):
    RED = 1
red = Color.RED
@dataclasses.dataclass
class Fields:
    a: int
    b: str = "q"
fields = Fields(1)
def function(a, /, b: int = 2, *rest, c=None): pass
generator = (number for number in [1])
moment = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
path = pathlib.Path("/tmp")
class Slots:
    __slots__ = ("here", "missing")
slots = Slots()
slots.here = 5
_private = 1
"""
_HOSTILE = """
import sys
def fail(self, *rest):
    print("code of the object was run")
    while True: pass
class Hostile:
    __repr__ = __str__ = __len__ = __iter__ = __getattr__ = __hash__ = __eq__ = __dir__ = fail
    prop = property(fail)
    __class__ = property(fail)
    def __init__(self): self.stored = 1
hostile = Hostile()
class OwnList(list):
    __repr__ = __len__ = __iter__ = __getitem__ = fail
own_list = OwnList([1, 2])
class OwnDict(dict):
    __repr__ = __len__ = __iter__ = items = keys = __getitem__ = fail
own_dict = OwnDict(a=1)
class OwnStr(str):
    __repr__ = __len__ = __getitem__ = __str__ = fail
own_str = OwnStr("abc")
class Key:
    def __hash__(self): return hash("a")
    __eq__ = __repr__ = fail
by_key = dict.fromkeys([Key()], 1)
class Meta(type):
    __repr__ = __hash__ = __eq__ = fail
    __module__ = __name__ = __mro__ = property(fail)
class Made(metaclass=Meta): pass
made = Made()
class Unreadable:
    def __getattribute__(self, name): fail(self)
    __dict__ = property(fail)
unreadable = Unreadable()
def default(a=hostile, b: Made = made): pass
module = type(sys)("module")
module.__getattr__ = fail
class Error(Exception):
    __str__ = __repr__ = fail
error = Error("x")
"""
_NO_DETAILS: Json = {"size": None, "expandable": False, "shape": None, "dtype": None, "length": None, "keys": None}


def _variables(client: Client, **filter_: Any) -> dict[str, Json]:
    return {variable["name"]: variable for variable in client.post("/variables", {"filter": filter_})["variables"]}


def _children(client: Client, name: str, **fields: Any) -> dict[str, str]:
    return {child["name"]: child["value"] for child in client.post(f"/variables/{name}", fields)["children"]}


def test_builtin_types_are_described(client: Client) -> None:
    assert client.execute(_PYTHON)["success"]
    found = _variables(client)
    assert len(found) == client.get("/sessions/default")["variableCount"]
    assert found["number"] == {"name": "number", "type": "int", "value": "42", **_NO_DETAILS}
    values = {name: variable["value"] for name, variable in found.items()}
    assert values["huge"] == "<int of 664386 bits>"
    assert values["text"] == "'" + "h" * 118 + "…"
    assert values["items"] == "[1, 'a', [2, 3], ...]"
    assert values["pair"] == "(1,)"
    assert values["counter"] == "Counter({'a': 2, 'b': 1})"
    assert values["point"] == "Point(x=1, y=2)"
    assert values["red"] == "<Color.RED: 1>"
    assert values["fields"] == "Fields(a=1, b='q')"
    assert values["function"] == "<function function(a, /, b: int = 2, *rest, c=None)>"
    assert values["generator"] == "<generator <genexpr>>"
    assert values["moment"] == "datetime.datetime(2020, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)"
    assert values["path"] == "PosixPath('/tmp')"
    assert values["slots"] == "<Slots object: here=5>"
    assert found["text"]["size"] == "1,000,000 characters"
    assert found["data"]["size"] == "3 B"
    assert (found["items"]["size"], found["items"]["length"], found["items"]["expandable"]) == ("4 items", 4, True)
    assert found["table"]["keys"] == ["a", "2", "2", "(1, 2)", "None"]
    assert not found["empty"]["expandable"]
    assert client.value("next(generator)") == "1", "describing the generator advanced it"


def test_variables_can_be_filtered(client: Client) -> None:
    client.execute("first = 1; second = 'x'; third = 2.0; _private = 3\nclass Own: pass\nown = Own()")
    assert list(_variables(client)) == ["first", "second", "third", "Own", "own"]
    assert list(_variables(client, types=["int", "Own"])) == ["first", "own"]
    assert list(_variables(client, namePattern="F*T")) == ["first"]
    assert list(_variables(client, namePattern="IR")) == ["first", "third"]
    assert list(_variables(client, namePattern="(")) == [], "the pattern must not be a regular expression"
    assert "_private" in _variables(client, excludePrivate=False)
    assert not {"_", "_i", "_1", "_ih", "In", "__name__"} & _variables(client, excludePrivate=False).keys()
    wrong: list[Json] = [{"filter": []}, {"filter": {"types": "int"}}, {"filter": {"types": [1]}}, {"session": 1}]
    for fields in wrong:
        status, answer = client.request("POST", "/variables", fields)
        assert (status, answer["code"]) == (400, "wrong_type")
    assert client.post("/variables", {"session": "none"}) == {"variables": [], "count": 0, "truncated": False}
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"]


def test_variables_can_be_expanded_by_path(client: Client) -> None:
    client.execute(_PYTHON)
    table = client.post("/variables/table")
    assert [child["path"] for child in table["children"]] == ["a", 2, "2", {"position": 3}, {"position": 4}]
    for child in table["children"]:
        assert client.post("/variables/table", {"path": [child["path"]]})["value"] == child["value"]
    assert client.post("/variables/table", {"path": ["(1, 2)"]})["value"] == "'tuple'", (
        "a path may have the key as it is displayed"
    )
    assert client.post("/variables/table", {"path": ["None", "deep", "0"]})["value"] == "7"
    assert client.post("/variables/items", {"path": [3, "[3]", 2, -1]})["value"] == "3"
    assert _children(client, "items") == {"[0]": "1", "[1]": "'a'", "[2]": "[2, 3]", "[3]": "[1, 'a', [2, 3], ...]"}
    assert _children(client, "fields") == {"a": "1", "b": "'q'"}
    assert _children(client, "slots") == {"here": "5"}
    slots = client.post("/variables/slots")
    assert (slots["attributes"], slots["methods"]) == (["here", "missing"], [])
    assert "append" in client.post("/variables/items")["methods"]
    assert client.post("/variables/_private")["value"] == "1"


def test_children_and_values_are_paged_and_bounded(client: Client) -> None:
    client.execute(
        "many = list(range(1000)); million = dict.fromkeys(map(str, range(1_000_000)), 0); text = 'x' * 5000"
    )
    many = client.post("/variables/many")
    assert (len(many["children"]), many["truncated"]) == (100, True)
    page = client.post("/variables/many", {"offset": 995, "maxChildren": 10})
    assert [child["value"] for child in page["children"]] == ["995", "996", "997", "998", "999"]
    assert client.post("/variables/many", {"offset": 10**30})["children"] == []
    assert list(_children(client, "million", offset=999_998)) == ["999998", "999999"]
    assert client.post("/variables/million", {"path": ["999999"]})["value"] == "0"
    assert client.post("/variables/text")["fullValue"] == "'" + "x" * 998 + "…"
    assert client.post("/variables/text", {"maxValueLength": 6000})["fullValue"] == repr("x" * 5000)


_INVALID: list[tuple[str, Json, tuple[int, str]]] = [
    ("missing", {}, (404, "unknown_variable")),
    ("items", {"path": [99]}, (404, "unknown_variable")),
    ("items", {"path": ["append"]}, (404, "unknown_variable")),
    ("items", {"path": ["9" * 10_000]}, (404, "unknown_variable")),
    ("items", {"path": [0, 0]}, (404, "unknown_variable")),
    ("items", {"session": "none"}, (404, "unknown_variable")),
    ("items", {"path": "0"}, (400, "wrong_type")),
    ("items", {"path": [1.5]}, (400, "wrong_type")),
    ("items", {"path": [True]}, (400, "wrong_type")),
    ("items", {"path": [{"position": -1}]}, (400, "wrong_type")),
    ("items", {"path": [0] * 1000}, (400, "path_too_long")),
    ("items", {"maxChildren": "1"}, (400, "wrong_type")),
    ("items", {"offset": True}, (400, "wrong_type")),
    ("items", {"maxValueLength": 1.5}, (400, "wrong_type")),
]


def test_invalid_variable_requests_are_rejected(client: Client) -> None:
    client.execute("items = [1]")
    for name, fields, expected in _INVALID:
        status, answer = client.request("POST", f"/variables/{name}", fields)
        assert (status, answer["code"]) == expected, (name, fields)


def test_variables_run_no_code_of_objects(client: Client) -> None:
    assert client.execute(_HOSTILE)["success"]
    found = _variables(client)
    assert found["hostile"]["value"] == "<Hostile object: stored=1>"
    assert (found["own_list"]["value"], found["own_list"]["size"]) == ("OwnList([1, 2])", "2 items")
    assert found["own_dict"]["value"] == "OwnDict({'a': 1})"
    assert found["own_str"]["value"] == "'abc'"
    assert found["by_key"]["value"] == "{<Key object>: 1}"
    assert found["unreadable"]["value"] == "<Unreadable object>"
    assert found["default"]["value"] == "<function default(a=<Hostile object: stored=1>, b: Made = <Made object>)>"
    assert found["error"]["value"] == "Error('x')"
    for name in found:
        assert client.post(f"/variables/{name}")["name"] == name
    assert client.post("/variables/own_list", {"path": [1]})["value"] == "2"
    assert client.post("/variables/own_dict", {"path": ["a"]})["value"] == "1"
    assert client.request("POST", "/variables/by_key", {"path": ["a"]})[0] == 404
    for missing in ("prop", "absent"):
        assert client.request("POST", "/variables/hostile", {"path": [missing]})[0] == 404
    assert client.execute("1")["stdout"] == "Out[2]: 1\n", "describing the objects ran their code"


def test_numpy_and_pandas_objects_are_described(client: Client) -> None:
    code = """
import numpy as np, pandas as pd
line = np.arange(1000.0)
square = np.arange(6, dtype="i4").reshape(2, 3)
large = np.zeros(10**8, "i1")
objects = np.array(["x", None], object)
class OwnArray(np.ndarray):
    def __array_finalize__(self, other): print("finalized")
    def __repr__(self): return 1 / 0
own = np.zeros(3).view(OwnArray)
frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], 7: [0.5, 1.5, 2.5]})
series = frame["a"]
moment = pd.Timestamp("2020-01-02")
class OwnFrame(pd.DataFrame):
    @property
    def shape(self): print("shape")
own_frame = OwnFrame({"a": [1]})
"""
    printed = client.execute(code)["stdout"]
    found = _variables(client)
    described = {name: (v["value"], v["size"], v["shape"], v["dtype"], v["length"]) for name, v in found.items()}
    assert described["line"][0].startswith("ndarray (1000,) float64 [0.0, 1.0, 2.0, ")
    assert described["line"][1:] == ("7.8 KB", [1000], "float64", 1000)
    assert described["square"] == ("ndarray (2, 3) int32 [[0, 1, 2], [3, 4, 5]]", "24 B", [2, 3], "int32", 2)
    assert described["large"][1:] == ("95.4 MB", [100_000_000], "int8", 100_000_000)
    assert described["objects"][0] == "ndarray (2,) object ['x', None]"
    assert described["own"][0] == "OwnArray (3,) float64 [0.0, 0.0, 0.0]"
    assert described["frame"][0] == "<DataFrame 3 rows × 3 columns: a, b>"
    assert described["frame"][2:] == ([3, 3], None, 3)
    assert found["frame"]["keys"] == ["a", "b", "7"]
    assert described["series"] == ("Series (3,) int64 [1, 2, 3]", "24 B", [3], "int64", 3)
    assert described["moment"][0] == "2020-01-02 00:00:00"
    assert described["own_frame"][2] == [1, 1]
    assert client.post("/variables/square", {"path": [1, 2]})["value"] == "5"
    assert _children(client, "large", offset=10**8 - 2) == {"[99999998]": "0", "[99999999]": "0"}
    assert _children(client, "frame", path=["b"]) == {"[0]": "'x'", "[1]": "'y'", "[2]": "'z'"}
    assert client.post("/variables/frame", {"path": [7, 2]})["value"] == "2.5"
    assert client.execute("frame.loc[0, 'a'] = 5")["stdout"] == "", "describing the objects ran their code"
    assert "finalized" in printed, "the class must print when it is used, or this test proves nothing"


def test_objects_of_other_libraries_are_described(client: Client) -> None:
    code = """
import polars as pl, pydantic
from PIL import Image
frame = pl.DataFrame({"a": [1, 2]})
series = frame["a"]
lazy = frame.lazy()
class Model(pydantic.BaseModel):
    x: int = 1
    y: str = "q"
model = Model()
image = Image.new("RGB", (640, 480))
"""
    assert client.execute(code)["success"]
    found = _variables(client)
    assert found["frame"]["value"] == "<DataFrame 2 rows × 1 column: a>"
    assert (found["frame"]["shape"], found["frame"]["keys"]) == ([2, 1], ["a"])
    assert (found["series"]["value"], found["series"]["dtype"]) == ("Series (2,) Int64 [1, 2]", "Int64")
    assert found["lazy"]["value"] == "<LazyFrame not collected>"
    assert found["model"]["value"] == "Model(x=1, y='q')"
    assert found["image"]["value"] == "<Image 640×480 RGB>"
    assert client.post("/variables/frame", {"path": ["a", 1]})["value"] == "2"


def test_tensor_is_described_without_reading_it(client: Client, tmp_path: Path) -> None:
    """Torch is too large to install for a test: a module of that name, whose elements cannot be read, replaces it."""
    (tmp_path / "torch.py").write_text("""
class Tensor:
    shape, dtype, device = (1000, 1000), "torch.float32", "cuda:0"
    def element_size(self): return 4
    def item(self, *rest): raise RuntimeError("reading would synchronize the GPU")
    __repr__ = __getitem__ = __len__ = __iter__ = __float__ = item
""")
    client.execute(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torch; tensor = torch.Tensor()")
    tensor = _variables(client)["tensor"]
    assert tensor["value"] == "<Tensor (1000, 1000) float32 on cuda:0>"
    assert (tensor["size"], tensor["shape"], tensor["dtype"]) == ("3.8 MB", [1000, 1000], "float32")
    assert client.post("/variables/tensor")["children"] == []


def test_variables_are_truncated_at_10000(client: Client) -> None:
    client.execute("for n in range(12_000): globals()[f'v{n}'] = [n]")
    answer = client.post("/variables")
    assert (answer["count"], len(answer["variables"]), answer["truncated"]) == (10_000, 10_000, True)


def test_containers_that_change_constantly_can_be_read(client: Client) -> None:
    code = """
import threading
box, numbers, stop = {}, [], False
def change():
    n = 0
    while not stop:
        n += 1; box[n % 5000] = n; numbers.append(n)
        if n % 3000 == 0: box.clear(); numbers.clear()
threading.Thread(target=change).start()
"""
    client.execute(code)
    try:
        for _ in range(30):
            assert {"box", "numbers"} <= _variables(client).keys()
            assert client.post("/variables/box")["type"] == "dict"
            assert client.post("/variables/numbers")["type"] == "list"
    finally:
        client.execute("stop = True")
