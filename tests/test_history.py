"""POST /history: the cells that a session has run."""

from tests.client import Client, Json
from tests.machine import Machine


def _history(client: Client, **fields: object) -> tuple[list[tuple[int, str]], bool]:
    answer = client.post("/history", fields)
    return [(entry["historyIndex"], entry["code"]) for entry in answer["entries"]], answer["hasMore"]


def test_history_is_paged_and_filtered(client: Client) -> None:
    for code in ["a = 1", "b = 2", "1 / 0", "a + b", "  ", "syntax error"]:
        client.execute(code)
    client.execute("hidden = 1", storeHistory=False)
    client.execute("quiet = 1", silent=True)
    client.execute("elsewhere = 1", session="other")
    everything = [(1, "a = 1"), (2, "b = 2"), (3, "1 / 0"), (4, "a + b"), (5, "syntax error")]
    assert _history(client) == (everything, False)
    assert client.execute("len(In)")["executionCount"] == 6
    assert _history(client, n=2, before=6) == (everything[3:], True)
    assert _history(client, n=2, before=4) == (everything[1:3], True)
    assert _history(client, n=2, before=2) == (everything[:1], False)
    assert _history(client, n=5, before=6) == (everything, False)
    assert _history(client, n=0) == ([], True)
    assert _history(client, n=-1) == ([], True)
    assert _history(client, n=10**20, pattern="b") == ([everything[1], everything[3]], False)
    assert _history(client, pattern="a*") == ([everything[0], everything[3]], False)
    assert _history(client, pattern="*a*", n=1, before=4) == ([everything[0]], False)
    assert _history(client, pattern="[") == ([], False)
    assert _history(client, session="other") == ([(1, "elsewhere = 1")], False)
    assert _history(client, session="unknown") == ([], False)
    bodies: list[Json] = [{"n": "1"}, {"n": True}, {"before": 1.5}, {"pattern": 1}, {"session": []}]
    for body in bodies:
        assert client.request("POST", "/history", body)[1]["code"] == "wrong_type"


def test_history_survives_a_crash_but_not_a_reset(here: Machine) -> None:
    client = here.start("a")
    client.execute("a = 1")
    code = "print('runs')\nwhile True: pass"
    with client.streaming(code) as events:
        assert [next(events).name for _ in range(2)] == ["start", "stdout"]
        assert _history(client)[0][0] == (1, "a = 1"), "/history does not answer while the session is busy"
        here.kill("KILL", client.get("/sessions/default")["pid"])
        list(events)
    client.execute("b = 2")
    assert _history(client)[0] == [(1, "a = 1"), (2, code), (3, "b = 2")]
    client.post("/reset")
    assert _history(client) == ([], False)
    client.execute("c = 3")
    assert _history(client)[0] == [(1, "c = 3")]
