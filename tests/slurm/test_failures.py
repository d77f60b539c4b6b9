"""What commands do when Slurm, a job or a node fails."""

import subprocess
import time

import pytest

from tests.machine import MRMD, assert_error, wait_until
from tests.slurm.hosts import Cluster

pytestmark = pytest.mark.slurm


def test_commands_end_soon_without_a_controller(cluster: Cluster) -> None:
    client = cluster.start("a")
    client.execute("x = 41")
    cluster.root("login").read("systemctl", "stop", "slurmctld")
    try:
        started = time.monotonic()
        assert "unknown (Slurm does not answer" in cluster.login.mrmd("--list").stdout
        for arguments in (["--kill", "a"], ["--restart", "a"], ["--id", "a"], ["--id", "b"]):
            assert_error(cluster.login.mrmd(*arguments), 1, "Slurm does not answer", "DOWN")
        assert cluster.login.mrmd("--kill-all").returncode == 1
        assert time.monotonic() - started < 30
        assert client.value("x + 1") == "42"
    finally:
        cluster.root("login").read("systemctl", "start", "slurmctld")
    wait_until(lambda: cluster.login.states() == {"a": "running"}, "Slurm answers again", 30)
    assert client.value("x + 1") == "42"


def test_start_survives_a_restart_of_the_controller(cluster: Cluster) -> None:
    command = cluster.login.command(MRMD, "--id", "a", "--property", "hold=")
    start = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: cluster.login.states() == {"a": "pending"}, "it is pending")
    job = cluster.jobs().split()[0]
    cluster.root("login").read("systemctl", "restart", "slurmctld")
    wait_until(lambda: cluster.login.run("scontrol", "release", job).returncode == 0, "the job is released", 30)
    out, errors = start.communicate(timeout=60)
    assert start.returncode == 0, errors
    assert "Runtime 'a' started" in out


def test_job_that_slurm_has_forgotten_is_listed_as_stopped(cluster: Cluster) -> None:
    client = cluster.start("a")
    job = cluster.login.info("a")["unit"]
    cluster.host(client.node).kill("KILL", client.pid)
    wait_until(lambda: cluster.login.states() == {"a": "failed"}, "it has ended")
    wait_until(
        lambda: f"stopped (Slurm no longer knows job {job})" in cluster.login.mrmd("--list").stdout,
        "Slurm has forgotten it", 100,
    )  # fmt: skip
    assert cluster.start("a").value("1 + 1") == "2"


def test_kill_ends_a_start_that_waits_for_resources(cluster: Cluster) -> None:
    command = cluster.login.command(MRMD, "--id", "a", "--property", "hold=")
    start = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: cluster.login.states() == {"a": "pending"}, "it is pending")
    killed = cluster.login.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert "Ended 'a'" in killed.stdout
    _, errors = start.communicate(timeout=60)
    assert start.returncode == 1
    assert errors.splitlines()[-1] == "mrmd-python: 'a' was killed while it was starting"


@pytest.mark.parametrize("backend", ["fork", "systemd"])
def test_runtime_of_another_backend_on_another_host_is_left_alone(cluster: Cluster, backend: str) -> None:
    """A runtime on the login host, seen from a node: neither dead nor running there."""
    started = cluster.login.mrmd("--id", "local", "--backend", backend)
    assert started.returncode == 0, started.stderr
    node = cluster.host("node1")
    assert node.states() == {"local": "elsewhere"}
    assert "on login" in node.mrmd("--list").stdout
    assert_error(node.mrmd("--kill", "local"), 1, "runs on login")
    assert_error(node.mrmd("--id", "local"), 1, "runs on login")
    assert cluster.login.states() == {"local": "running"}


@pytest.mark.timeout(240)
def test_lost_node(own_cluster: Cluster) -> None:
    client = own_cluster.start("a")
    # A process of the node's own: nsenter(1) would end with it.
    own_cluster.root(client.node).run("systemctl", "poweroff", "--force", "--force")
    wait_until(lambda: own_cluster.login.states() == {"a": "failed"}, "Slurm has noticed", 120)
    assert "failed (node failure)" in own_cluster.login.mrmd("--list").stdout
    killed = own_cluster.login.mrmd("--kill", "a")
    assert killed.returncode == 0, killed.stderr
    assert own_cluster.boot(), "the node is back"
    wait_until(lambda: "idle" in own_cluster.login.read("sinfo", "-h", "-n", client.node, "-o", "%t"), "it is idle", 60)
    again = own_cluster.start("a", "--property", f"nodelist={client.node}")
    assert again.value("1 + 1") == "2"
    assert own_cluster.login.mrmd("--kill", "a").returncode == 0
