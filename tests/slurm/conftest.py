"""Fixtures: a real Slurm cluster."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.machine import wait_until
from tests.slurm.hosts import Cluster

_CLUSTER = Path(__file__).parent / "cluster"
# Nodes and ended jobs are forgotten sooner than by default, and jobs are started at once.
_OPTIONS = "KillWait=8\nSlurmdTimeout=10\nMinJobAge=15\nSchedulerParameters=batch_sched_delay=0,sched_interval=5"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share a cluster in the same xdist worker."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slurm")
            item.add_marker(pytest.mark.xdist_group(f"cluster {item.path.name}"))


@contextmanager
def _booted(tracking: str) -> Iterator[Cluster]:
    with tempfile.TemporaryFile("w+") as stderr:
        environ = {**os.environ, "CLUSTER_TRACKING": tracking, "CLUSTER_OPTIONS": _OPTIONS}
        process = subprocess.Popen(
            [_CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ
        )
        assert process.stdin is not None
        assert process.stdout is not None
        cluster = Cluster(process.stdout)
        try:
            if cluster.booted:
                yield cluster
        finally:
            process.stdin.close()
            process.wait(timeout=60)
            process.stdout.close()
        if not cluster.booted:
            stderr.seek(0)
            skip_or_fail(f"cannot boot a Slurm cluster here: {stderr.read().strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def linuxproc_cluster() -> Iterator[Cluster]:
    """A cluster that finds the processes of a job by their parents."""
    with _booted("linuxproc") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cgroup_cluster() -> Iterator[Cluster]:
    """A cluster that finds the processes of a job by their cgroup."""
    if not Path("/sys/fs/cgroup/freezer").is_dir():
        pytest.skip("Slurm of Debian finds processes by the freezer of cgroup v1, which this machine does not mount")
    with _booted("cgroup") as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster for this test alone, which it may break."""
    with _booted("linuxproc") as cluster:
        yield cluster


@pytest.fixture
def cluster(linuxproc_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster without any runtime."""
    yield from _without_runtimes(linuxproc_cluster)


@pytest.fixture(params=["linuxproc", "cgroup"])
def either_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster without any runtime, with each of the two ways to find the processes of a job."""
    yield from _without_runtimes(request.getfixturevalue(f"{request.param}_cluster"))


def _without_runtimes(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    ended = cluster.login.mrmd("--kill-all")
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: cluster.jobs() == "", "no job of the test is left")
    assert cluster.login.leftovers() == ""
