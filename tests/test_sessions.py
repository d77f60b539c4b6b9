"""POST /sessions: sessions with their own Python, directory, environment and requirements."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.client import Client, Json
from tests.interpreters import make_venv
from tests.machine import BIN, Machine, wait_until

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def client(here: Machine) -> Client:
    return here.start("a")


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv without IPython, with the metadata of some distributions that cannot be imported."""
    venv = tmp_path_factory.mktemp("venvs") / "e nv"
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, venv], check=True)
    packages = next((venv / "lib").glob("python*/site-packages"))
    for name, version, more in (
        ("One_Thing", "1.5", "Provides-Extra: good\nRequires-Dist: absent; extra == 'good'\n"),
        ("two", "2.0rc1", ""),
        ("odd", "not a version", "Requires-Dist: ???\n"),
    ):
        info = packages / f"{name}-{version.replace(' ', '_')}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
    (packages / "broken-1.0.dist-info").mkdir()
    (packages / "chatty.pth").write_text("import sys; print('printed whenever Python starts')\n")
    (packages / "one_thing.py").write_text("raise SystemExit('imported')\n")
    return venv


def _create(client: Client, **fields: object) -> tuple[int, Json]:
    return client.request("POST", "/sessions", fields)


def test_new_session_has_a_running_worker(client: Client) -> None:
    session = client.post("/sessions", {"id": "é x/1", "language": "Python"})
    assert session["id"] == "é x/1"
    assert session["state"] == "idle"
    assert client.value("import os; os.getpid()", session="é x/1") == str(session["pid"])
    assert client.post("/sessions", {"id": "é x/1"})["pid"] == session["pid"], (
        "a second POST /sessions started another worker"
    )
    generated = {client.post("/sessions")["id"] for _ in range(3)}
    assert len(generated) == 3
    assert generated < {session["id"] for session in client.get("/sessions")["sessions"]}
    assert client.post("/sessions", {"id": "default"})["environment"] == client.get("/capabilities")["environment"]


def test_session_has_its_own_environment(client: Client, here: Machine, venv: Path) -> None:
    (here.home / "work").mkdir()
    environment = {"cwd": "~/work", "virtualenv": str(venv), "env": {"GIVEN": "é\n", "MPLCONFIGDIR": None}}
    session = client.post("/sessions", {"id": "own", "environment": environment})
    described = {"cwd": str(here.home / "work"), "virtualenv": str(venv), "executable": str(venv / "bin/python")}
    assert session["environment"] == described
    assert client.get("/sessions/own")["environment"] == described
    code = "import os, sys, json; print(json.dumps([os.getcwd(), sys.prefix, sys.executable, dict(os.environ)]))"
    cwd, prefix, executable, variables = json.loads(client.execute(code, session="own")["stdout"])
    assert (cwd, prefix, executable) == (described["cwd"], described["virtualenv"], described["executable"])
    assert variables["GIVEN"] == "é\n"
    assert "MPLCONFIGDIR" not in variables
    assert variables["VIRTUAL_ENV"] == str(venv)
    assert variables["PATH"].startswith(f"{venv}/bin:")
    default = json.loads(client.execute(code)["stdout"])
    assert default[1] != str(venv)
    assert "MPLCONFIGDIR" in default[3]
    assert "GIVEN" not in default[3]

    same = client.post("/sessions", {"id": "own", "environment": environment | {"cwd": described["cwd"]}})
    assert same["pid"] == session["pid"]
    assert client.post("/sessions", {"id": "own"})["pid"] == session["pid"], (
        "a request without an environment must match the existing session"
    )
    for other in ({"cwd": "~"}, environment | {"env": {}}, {"executable": str(venv / "bin/python")}):
        status, answer = _create(client, id="own", environment=other)
        assert (status, answer["code"]) == (409, "session_exists")
    assert client.get("/sessions/own")["pid"] == session["pid"]

    assert client.request("DELETE", "/sessions/own") == (200, {"success": True})
    assert json.loads(client.execute(code, session="own")["stdout"])[1] == default[1], (
        "the new session has the environment of the deleted one"
    )


def test_relative_paths_are_resolved_in_the_session_directory(client: Client, here: Machine, venv: Path) -> None:
    (here.home / "project").mkdir()
    (here.home / "project" / ".venv").symlink_to(venv)
    session = client.post("/sessions", {"environment": {"cwd": "project", "virtualenv": ".venv"}})
    assert session["environment"]["executable"] == str(here.home / "project/.venv/bin/python")
    session = client.post("/sessions", {"environment": {"cwd": "project", "executable": ".venv/bin/python"}})
    assert session["environment"]["virtualenv"] == str(here.home / "project/.venv")
    default = client.get("/capabilities")["environment"]
    assert client.post("/sessions", {"id": "default", "environment": default})["environment"] == default


def test_session_with_missing_environment_is_rejected(client: Client, here: Machine, venv: Path) -> None:
    (here.home / "file").touch()
    (here.home / "bare").mkdir()
    (here.home / "loop").symlink_to("loop")
    (here.home / "bare" / "bin").mkdir()
    before = client.get("/sessions")
    for environment, code, message in (
        ({"cwd": "/nowhere"}, "no_such_directory", "'/nowhere' does not exist"),
        ({"cwd": "~/file"}, "no_such_directory", "file' does not exist"),
        ({"cwd": "~no-such-user/x"}, "no_such_directory", "no-such-user/x' does not exist"),
        ({"cwd": "x" * 5000}, "no_such_directory", "does not exist"),
        ({"virtualenv": "x" * 5000}, "no_such_virtualenv", "does not exist"),
        ({"executable": "~/loop/python", "virtualenv": "~/loop"}, "no_such_executable", "does not exist"),
        ({"virtualenv": "/nowhere"}, "no_such_virtualenv", "'/nowhere' does not exist"),
        ({"virtualenv": "~/bare"}, "no_such_virtualenv", "has no bin/python"),
        ({"executable": "/nowhere/python"}, "no_such_executable", "'/nowhere/python' does not exist"),
        ({"executable": "~/file"}, "no_such_executable", "is not an executable file"),
        ({"executable": sys.executable, "virtualenv": str(venv)}, "other_virtualenv", "give only one of them"),
    ):
        status, answer = _create(client, id="x", environment=environment)
        assert (status, answer["code"]) == (422, code)
        assert message in answer["error"]
    assert client.get("/sessions") == before


def test_session_with_broken_python_is_rejected_and_not_kept(client: Client, here: Machine) -> None:
    python = here.script("bin/python", "echo 'python is broken' >&2; exit 3")
    status, answer = _create(client, id="x", environment={"executable": python})
    assert (status, answer["code"]) == (422, "session_start_failed")
    status, answer = _create(client, id="x", environment={"executable": python}, dependencies=["numpy"])
    assert (status, answer["code"]) == (422, "python_failed")
    assert "python is broken" in answer["error"]
    assert client.request("GET", "/sessions/x")[0] == 404


def test_malformed_request_is_rejected_with_a_message(client: Client) -> None:
    before = client.get("/sessions")
    malformed: list[Json] = [
        {"id": 1},
        {"id": ""},
        {"id": "a\nb"},
        {"id": "x" * 257},
        {"language": ["python"]},
        {"environment": "/tmp"},
        {"environment": {"cwd": 1}},
        {"environment": {"cwd": "a\0b"}},
        {"environment": {"virtualenv": "\ud800"}},
        {"environment": {"env": ["A=1"]}},
        {"environment": {"env": {"A": 1}}},
        {"environment": {"env": {"A=B": "1"}}},
        {"environment": {"env": {"": "1"}}},
        {"environment": {"env": {"A": "a\0b"}}},
        {"environment": {"env": {"A": "\ud800"}}},
        {"environment": {"env": {"MRMD_RUNTIME": None}}},
        {"dependencies": "numpy"},
        {"dependencies": {"numpy": "1"}},
        {"dependencies": [1]},
        {"dependencies": ["numpy =="]},
        {"dependencies": [""]},
        {"dependencies": ["numpy; nonsense == 1"]},
        {"pythonVersion": 3.11},
        {"pythonVersion": "three"},
    ]
    for fields in malformed:
        status, answer = _create(client, **fields)
        assert (status, answer["error"] != "") == (400, True), fields
    assert client.get("/sessions") == before


def test_session_in_other_language_is_rejected(client: Client) -> None:
    status, answer = _create(client, id="x", language="julia")
    assert (status, answer["code"]) == (422, "unknown_language")


def test_requirements_are_checked_in_the_sessions_python(client: Client, venv: Path) -> None:
    def unmet(*dependencies: str, python: str | None = None) -> list[tuple[str, str | None]]:
        status, answer = _create(
            client, id="x", environment={"virtualenv": str(venv)}, dependencies=dependencies, pythonVersion=python
        )
        if status == 200:
            assert answer["environment"]["virtualenv"] == str(venv)
            assert client.request("DELETE", "/sessions/x")[0] == 200
            return []
        assert (status, answer["code"]) == (422, "unmet_requirements")
        assert client.request("GET", "/sessions/x")[0] == 404
        for item in answer["unmet"]:
            assert item["requirement"] in answer["error"]
        return [(item["requirement"], item["installed"]) for item in answer["unmet"]]

    assert unmet("one-thing", "ONE.THING>=1.2,<2", "two>=2.0rc1", "one_thing==1.*", "odd", python=_PYTHON) == []
    assert unmet("absent; python_version < '3'", "one-thing @ https://example.org/x.whl", python=">=3.9") == []
    assert unmet("one-thing>=2", "absent", "odd>1") == [
        ("one-thing>=2", "1.5"),
        ("absent", None),
        ("odd>1", "not a version"),
    ]
    assert unmet("ipython") == [("ipython", None)], "requirements were checked in another Python than that of the venv"
    assert unmet("one-thing[good]>=1", "one-thing[good]>=2") == [("one-thing[good]>=2", "1.5")], (
        "the requirements of an extra must not be checked"
    )
    assert unmet(python="2.7") == [("Python ==2.7.*", ".".join(map(str, sys.version_info[:3])))]
    assert unmet(python="<3") == [("Python <3", ".".join(map(str, sys.version_info[:3])))]


def test_requirements_of_a_running_session_are_checked(client: Client, venv: Path) -> None:
    client.post("/sessions", {"id": "x", "environment": {"virtualenv": str(venv)}})
    assert _create(client, id="x", dependencies=["one-thing"])[0] == 200
    assert _create(client, id="x", dependencies=["absent"])[0] == 422
    assert client.get("/sessions/x")["state"] == "idle"


def test_server_answers_while_an_interpreter_starts_slowly(client: Client, here: Machine) -> None:
    waiting = f'while [ ! -e {here.home}/gate ]; do sleep 0.02; done; exec {sys.executable} "$@"'
    python = here.script("bin/python", waiting)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(_create, client, environment={"executable": python}, dependencies=["ipython"])
        assert client.value("6 * 7") == "42"
        assert not slow.done()
        (here.home / "gate").touch()
        assert slow.result()[0] == 200


def test_simultaneous_creations_share_one_session(client: Client, here: Machine) -> None:
    barrier = threading.Barrier(8)

    def create(cwd: str) -> tuple[int, Json]:
        barrier.wait()
        return _create(client, id="x", environment={"cwd": cwd})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, [str(here.home), "/"] * 4))
    assert len({answer["environment"]["cwd"] for status, answer in answers if status == 200}) == 1
    assert len({answer["pid"] for status, answer in answers if status == 200} - {None}) == 1, (
        "the requests started more than one worker (None: still starting)"
    )
    assert sorted(status for status, _ in answers) == [200] * 4 + [409] * 4


def _spare(client: Client) -> list[int]:
    """Return the pid of the worker that no session has, if there is one."""
    reapers = psutil.Process(client.pid).children()
    sessions = {session["pid"] for session in client.get("/sessions")["sessions"]}
    return [worker.pid for reaper in reapers for worker in reaper.children() if worker.pid not in sessions]


def _wait_for_spare(client: Client) -> str:
    wait_until(lambda: _spare(client) != [], "a worker is ready for the next session")
    (pid,) = _spare(client)
    return str(pid)


_PID = "import os; os.getpid()"


def test_worker_is_ready_before_the_third_session_asks_for_it(client: Client) -> None:
    assert client.value("1") == "1"
    assert _spare(client) == [], "a runtime with one session must not take memory for others"
    client.execute("1", session="second")
    spare = _wait_for_spare(client)
    assert client.value(_PID, session="third") == spare
    assert client.value("__import__('os').getcwd()", session="third") == client.value("__import__('os').getcwd()")


def test_worker_is_ready_after_a_crash(client: Client) -> None:
    assert client.execute("import os; os.kill(os.getpid(), 9)")["error"]["type"] == "SessionDied"
    spare = _wait_for_spare(client)
    assert client.value(_PID) == spare


def test_worker_that_is_ready_is_not_used_once_packages_have_changed(here: Machine) -> None:
    venv = here.home / "venv"
    make_venv(_PYTHON, venv, "ipython")
    client = here.start("a", "--venv", str(venv))
    client.execute("1", session="second")
    spare = _wait_for_spare(client)
    (here.home / "editable").mkdir()
    (here.home / "editable" / "late.py").write_text("x = 1\n")
    (packages,) = (venv / "lib").glob("python*/site-packages")
    (packages / "late.pth").write_text(f"{here.home}/editable\n")
    assert client.value("import late; late.x", session="third") == "1"
    assert client.value(_PID, session="third") != spare
    wait_until(lambda: here.alive([int(spare)]) == [], "the worker that was not used has ended")
