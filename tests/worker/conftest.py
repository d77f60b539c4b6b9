"""A runtime with its own venv for each installed Python, and a new namespace for each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.interpreters import make_venv, oldest_and_newest, supported
from tests.machine import Machine, fork_machine, processes_of, wait_until

_LIBRARIES = (
    *("anyio", "greenlet", "joblib", "matplotlib", "nest-asyncio", "numpy", "pandas", "pillow", "plotly", "rich"),
    *("tqdm", "trio", "uvloop"),
)
# Older versions than the newest one for that Python, to cover the range.
_IPYTHON = {"3.11": "ipython==8.12.3", "3.12": "ipython==9.0.2"}
# The test files that run on Python 3.12, too. The others run on the oldest and the newest. With
# MRMD_TEST_LONG=1, all run on every version.
_VERSION_SENSITIVE = ("asyncio", "errors", "interrupts", "main_module")
_LONG = bool(os.environ.get("MRMD_TEST_LONG"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize each test with the Python versions that its file runs on."""
    if "runtime" in metafunc.fixturenames:
        ends = oldest_and_newest()
        is_sensitive = metafunc.module.__name__.rpartition(".test_")[2] in _VERSION_SENSITIVE
        versions = [each for each in supported() if each in ends or (each == "3.12" and is_sensitive) or _LONG]
        metafunc.parametrize("runtime", versions, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of one Python version in one xdist worker, so that its venv is made only once."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "runtime" in callspec.params:
            item.add_marker(pytest.mark.xdist_group(callspec.params["runtime"]))


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """This machine, with a home directory that all tests of the xdist worker share."""
    fonts = tmp_path_factory.getbasetemp().parent / "matplotlib"
    return fork_machine(tmp_path_factory.mktemp("home"), MPLCONFIGDIR=str(fonts), NO_COLOR="1")


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Client]:
    """A runtime in a venv of that Python version, with the libraries that the tests use."""
    version = request.param
    venv = machine.home / f"venv-{version}"
    # pickleshare: %store needs it, but IPython 8 does not require it.
    make_venv(version, venv, _IPYTHON.get(version, "ipython"), "pickleshare", *_LIBRARIES)
    yield machine.start(version, "--venv", str(venv))
    assert machine.mrmd("--kill", version).returncode == 0
    wait_until(lambda: processes_of(machine.home) == [], "all processes of the runtime have ended")


@pytest.fixture
def client(runtime: Client) -> Client:
    """The runtime with a new namespace; other changes that earlier tests made to the process stay."""
    runtime.post("/reset")
    return runtime


@pytest.fixture
def home(machine: Machine) -> Path:
    """The home directory of the runtime, which is its working directory."""
    return machine.home
