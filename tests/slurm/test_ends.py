"""No process of a runtime is left on its node, however it ends, and however Slurm finds the processes of a job."""

import json
import time

import pytest

from tests.machine import Machine, wait_until
from tests.slurm.hosts import Cluster, NodeClient
from tests.test_reaping import SAVING, START_FOUR_CHILDREN

pytestmark = pytest.mark.slurm

# One of the children ignores SIGTERM.
_BRIEFLY = ("--stop-timeout", "1s")


def _start_children(node: Machine, client: NodeClient) -> list[int]:
    pids: list[int] = json.loads(client.value(START_FOUR_CHILDREN))
    assert node.alive(pids) == sorted(pids), "the worker or one of its four children is not running"
    return pids


@pytest.mark.parametrize("end", ["kill", "scancel", "kill the server"])
def test_no_process_is_left(either_cluster: Cluster, end: str) -> None:
    client = either_cluster.start("vllm", *_BRIEFLY)
    node = either_cluster.host(client.node)
    pids = _start_children(node, client)
    if end == "kill":
        killed = either_cluster.login.mrmd("--kill", "vllm")
        assert killed.returncode == 0, killed.stderr
        assert node.alive([client.pid, *pids]) == [], "processes are left after --kill has returned"
        return
    if end == "scancel":
        either_cluster.login.read("scancel", "--name=mrmd-python@vllm")
    else:
        node.kill("KILL", client.pid)
    wait_until(lambda: node.alive([client.pid, *pids]) == [], "all processes have ended", 30)
    state, detail = ("stopped", "cancelled") if end == "scancel" else ("failed", "failed")
    wait_until(lambda: either_cluster.login.states() == {"vllm": state}, "the end is listed", 30)
    assert f"{state} ({detail})" in either_cluster.login.mrmd("--list").stdout


@pytest.mark.parametrize("end", ["kill", "scancel"])
def test_process_can_save_something_after_sigterm(either_cluster: Cluster, end: str) -> None:
    saved = f"{either_cluster.login.home}/saved"
    either_cluster.start("vllm").execute(SAVING % saved)
    if end == "kill":
        assert either_cluster.login.mrmd("--kill", "vllm").returncode == 0
    else:
        either_cluster.login.read("scancel", "--name=mrmd-python@vllm")
        wait_until(lambda: either_cluster.login.states() == {"vllm": "stopped"}, "it has ended")
    assert either_cluster.login.read("cat", saved) == "saved"
    either_cluster.login.read("rm", saved)


@pytest.mark.parametrize("stopped", [False, True])
def test_kill_takes_no_longer_than_the_server(cluster: Cluster, stopped: bool) -> None:
    """A server that does not react is ended by Slurm, KillWait seconds later."""
    client = cluster.start("a", *_BRIEFLY)
    node = cluster.host(client.node)
    pids = _start_children(node, client)
    if stopped:
        node.kill("STOP", client.pid)
    started = time.monotonic()
    assert cluster.login.mrmd("--kill", "a").returncode == 0
    if not stopped:
        assert time.monotonic() - started < 5
    assert node.alive([client.pid, *pids]) == []


@pytest.mark.timeout(240)
def test_time_limit_leaves_no_process_and_is_listed(either_cluster: Cluster) -> None:
    client = either_cluster.start("vllm", *_BRIEFLY, "--property", "time=1")
    node = either_cluster.host(client.node)
    pids = _start_children(node, client)
    # Slurm looks for jobs at their limit every 30 seconds.
    wait_until(lambda: node.alive([client.pid, *pids]) == [], "all processes have ended", 150)
    wait_until(lambda: either_cluster.login.states() == {"vllm": "failed"}, "the end is listed")
    assert "failed (time limit)" in either_cluster.login.mrmd("--list").stdout
    job = either_cluster.login.info("vllm")["facts"]["job"]
    wait_until(
        lambda: either_cluster.login.run("scontrol", "show", "job", job).returncode == 1, "Slurm forgets it", 100
    )
    assert "failed (time limit)" in either_cluster.login.mrmd("--list").stdout


@pytest.mark.timeout(240)
def test_time_limit_is_announced_a_minute_before(cluster: Cluster) -> None:
    client = cluster.start("vllm", "--property", "time=2")
    warning = f"Slurm ends job {cluster.login.info('vllm')['unit']}, and this runtime with it, in about a minute"
    with client.streaming("import time; time.sleep(1000)") as events:
        assert warning in next(event.data["content"] for event in events if event.name == "stderr")
    assert f"WARNING: {warning}" in cluster.login.mrmd("--logs", "vllm").stdout
    assert client.value("1 + 1", session="other") == "2", "the runtime ended with the warning"
