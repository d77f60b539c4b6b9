"""Fixtures: kernels on the machine that tests share."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.jupyter.front_end import FrontEnd, Kernels
from tests.machine import Machine


@pytest.fixture(scope="session")
def kernels(shared_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels of the shared machine."""
    prefix = tmp_path_factory.mktemp("prefix")
    caches = tmp_path_factory.getbasetemp().parent  # building matplotlib's font cache takes seconds
    environ = {
        **shared_machine.environ,
        "JUPYTER_PATH": str(prefix / "share/jupyter"),
        "MPLCONFIGDIR": str(caches / "matplotlib"),
    }
    return Kernels(dataclasses.replace(shared_machine, environ=environ), prefix)


@pytest.fixture(scope="session")
def shared_front_end(kernels: Kernels) -> Iterator[FrontEnd]:
    with kernels.started(kernels.install("cells")) as front_end:
        yield front_end


@pytest.fixture
def front_end(shared_front_end: FrontEnd) -> FrontEnd:
    """A front end on a kernel that tests share, for tests that leave nothing behind in it."""
    return shared_front_end
