"""The server under test: the one at ``--base-url``, or our own, started for the run."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.client import Client, Json, Run
from tests.machine import Machine, fork_machine, processes_of, wait_until
from tests.programs import CHILD, served

# Our own server runs on aiohttp; the application of create_app is served here by uvicorn.
_OURS = ("aiohttp", "uvicorn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", metavar="URL", help="the server to test, e.g. http://localhost:8765/mrp/v1")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test against the server at ``--base-url`` or, without it, against each of ours."""
    if "server" in metafunc.fixturenames:
        named = metafunc.config.getoption("base_url") is not None
        servers = [pytest.param(each, marks=pytest.mark.xdist_group(each)) for each in (("url",) if named else _OURS)]
        metafunc.parametrize("server", servers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server under test."""
    if request.param == "url":
        yield Client(request.config.getoption("base_url"))
        return
    machine = fork_machine(tmp_path_factory.mktemp("conformance"))
    ours = _by_cli(machine) if request.param == "aiohttp" else served(machine, CHILD)
    with ours as client:
        yield client
    wait_until(lambda: processes_of(machine.home) == [], "no process of the server is left")


@contextmanager
def _by_cli(machine: Machine) -> Iterator[Client]:
    yield machine.start("conformance")
    assert machine.mrmd("--kill-all").returncode == 0


@pytest.fixture
def session(server: Client) -> Iterator[str]:
    """The name of a session that does not exist yet; it is deleted after the test."""
    name = f"conformance-{secrets.token_hex(8)}"
    yield name
    server.call("DELETE", f"/sessions/{name}")


@pytest.fixture
def run(server: Client, session: str) -> Run:
    """A function that sends POST /execute to the test's session."""

    def execute(code: str, **fields: object) -> Json:
        return server.post("/execute", {"code": code, "session": session, **fields})

    return execute
