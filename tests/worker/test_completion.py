"""Completion calls an object's `__dir__`, which runs user code on the main thread between cells."""

from tests.client import Client

_BROKEN_DIRS = {
    "Loops": "while True: pass",
    "Sleeps": "time.sleep(1000)",
    "Raises": "raise ValueError",
    "Exits": "sys.exit(3)",
    "Interrupts": "raise KeyboardInterrupt",
    "Recurses": "return dir(self)",
    "Endless": "return itertools.count()",
    "Number": "return 5",
    "Nothing": "return None",
    "ReadsInput": "return input()",
    "Many": "return [f'z{number}' for number in range(10**6)]",
    "RunsLoop": "import asyncio; return asyncio.run(asyncio.sleep(1000))",
}
_UNUSUAL_DIRS = {
    "Swallows": """
        for _ in range(5):
            try: time.sleep(1000)
            except BaseException: pass
        return ["dynamic"]""",
    "Prints": "print('printed'); print('error', file=sys.stderr); return ['dynamic']",
    "Mixed": "return [1, None, object(), b'x', 'dynamic']",
}
_CLASSES = "\n".join(
    f"class {name}:\n    static = 1\n    def __dir__(self):\n        {body}"
    for name, body in {**_BROKEN_DIRS, **_UNUSUAL_DIRS}.items()
)


def test_completion_and_session_survive_broken_dir_method(client: Client) -> None:
    code = f"import itertools, sys, time\n{_CLASSES}\nclass NoDir:\n    static, __dir__ = 1, None"
    assert client.execute(code)["success"]
    for name in [*_BROKEN_DIRS, *_UNUSUAL_DIRS, "NoDir"]:
        client.execute(f"broken = {name}()")
        answer = client.post("/complete", {"code": "broken."})
        assert answer["source"] == "runtime", f"{name}: __dir__ was not stopped in time"
        labels = [match["label"] for match in answer["matches"]]
        assert ("static" in labels, "dynamic" in labels) == (True, name in _UNUSUAL_DIRS), name
        result = client.execute("print('next')")
        assert (result["success"], result["stdout"], result["stderr"]) == (True, "next\n", ""), name
