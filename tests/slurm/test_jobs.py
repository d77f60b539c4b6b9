"""Runtimes as Slurm jobs: they are started and managed from the login host."""

import json
import subprocess
import sys

import pytest

from tests.agent import connected
from tests.client import Client
from tests.machine import MRMD, assert_error, wait_until
from tests.slurm.hosts import Cluster, NodeClient

pytestmark = pytest.mark.slurm

_ALL_CPUS = ("--cpu-quota", "200%")


def test_runtime_runs_on_a_node_and_is_managed_from_login(cluster: Cluster) -> None:
    client = cluster.start("vllm", "--property", "gres=gpu:1", "--property", "time=8:00:00")
    client.execute("import os; x = 41")
    assert client.value("x + 1, os.uname().nodename") == f"(42, '{client.node}')"
    listed = cluster.login.mrmd("--list").stdout
    assert f"running on {client.node}" in listed
    assert "gpu:1" in listed
    info = cluster.login.info("vllm")
    assert (info["host"], info["url"], info["unit"]) == (client.node, client.url, info["facts"]["job"])
    assert info["facts"]["left"].startswith("7:59:")
    assert client.value("os.environ['SLURM_JOB_ID'], os.environ['CUDA_VISIBLE_DEVICES']") == f"('{info['unit']}', '0')"
    for follow in ([], ["--follow"]):
        log = cluster.login.run("timeout", "3", MRMD, "--logs", "vllm", *follow).stdout
        assert f"answers at {client.url}" in log
    assert_error(cluster.login.mrmd("--enable", "vllm"), 1, "Slurm job", "cannot start at login")

    assert cluster.login.mrmd("--restart", "vllm").returncode == 0
    again = cluster.client("vllm")
    assert again.execute("x")["error"]["type"] == "NameError"
    assert cluster.login.info("vllm")["unit"] != info["unit"]

    killed = cluster.login.mrmd("--kill", "vllm")
    assert killed.returncode == 0, killed.stderr
    assert cluster.host(again.node).alive([again.pid]) == []
    assert cluster.login.mrmd("--list").stdout.startswith("No runtimes")


def test_other_hosts_with_the_home_manage_it_too(cluster: Cluster) -> None:
    client = cluster.start("a")
    other = cluster.host("node2" if client.node == "node1" else "node1")
    assert other.states() == {"a": "running"}
    assert json.loads(other.mrmd("--id", "a", "--json").stdout)["alreadyRunning"]
    assert other.mrmd("--kill", "a").returncode == 0
    assert cluster.host(client.node).alive([client.pid]) == []


def test_agent_on_login_uses_a_runtime_on_a_node(cluster: Cluster) -> None:
    client = cluster.start("a")
    with connected(cluster.login, "a") as agent:
        found = agent.call("run_code", code="import os; os.uname().nodename")
        assert found["result"] == repr(client.node)
        endless = agent.call("run_code", code="while True: pass", wait_seconds=0)["execution_id"]
        agent.call("interrupt", execution_id=endless)
        assert "KeyboardInterrupt" in agent.error("read_output", execution_id=endless, wait_seconds=30)
        assert cluster.login.mrmd("--kill", "a").returncode == 0
        assert "no runtime named 'a' is running" in agent.error("run_code", code="1")
        assert not agent.call("start_runtime")["already_running"]
        assert agent.call("run_code", code="1 + 1")["result"] == "2"


def test_two_nodes_at_once(cluster: Cluster) -> None:
    nodes = ("node1", "node2")
    clients = [cluster.start(node, "--property", f"nodelist={node}") for node in nodes]
    assert [client.node for client in clients] == ["node1", "node2"]
    killed = cluster.login.mrmd("--kill-all")
    assert killed.returncode == 0, killed.stderr
    assert [cluster.host(client.node).alive([client.pid]) for client in clients] == [[], []]


def test_clients_without_the_token_are_refused(cluster: Cluster) -> None:
    client = cluster.start("a")
    without = NodeClient(client.url, client.pid, client.host, token="")
    assert without.refused(401, "POST", "/execute", {"code": "1"})["code"] == "token_required"
    other = cluster.root("login").run(
        "setpriv", "--reuid=4243", "--clear-groups", "--", "cat", "/home/dev/.mrmd/tokens/a"
    )
    assert other.returncode != 0, "another user can read the token"


def test_20_simultaneous_starts_give_one_job(cluster: Cluster) -> None:
    command = cluster.login.command(MRMD, "--id", "race", "--json")
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(20)]
    printed = [start.communicate(timeout=90) for start in starts]
    assert [start.returncode for start in starts] == [0] * 20, printed
    assert sorted(json.loads(out)["alreadyRunning"] for out, _ in printed) == [False] + [True] * 19
    assert len(cluster.jobs().splitlines()) == 1


def test_start_waits_while_the_job_is_pending(cluster: Cluster) -> None:
    for node in ("node1", "node2"):
        cluster.start(node, *_ALL_CPUS, "--property", f"nodelist={node}")
    start = subprocess.Popen(
        cluster.login.command(MRMD, "--id", "late", *_ALL_CPUS),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert start.stderr is not None
    assert next(line for line in start.stderr if "is pending: Resources" in line)
    assert "pending (Resources)" in cluster.login.mrmd("--list").stdout
    assert cluster.login.mrmd("--kill", "node2").returncode == 0
    out, errors = start.communicate(timeout=60)
    assert start.returncode == 0, errors
    assert "http://node2:" in out


@pytest.mark.parametrize("when", ["pending", "starting"])
def test_ctrl_c_cancels_the_job_and_leaves_nothing(cluster: Cluster, when: str) -> None:
    cluster.login.script("hangs/bin/python", "exec sleep 1000")
    options = ("--property", "hold=") if when == "pending" else ("--venv", "hangs")
    command = cluster.login.command(MRMD, "--id", "a", *options)
    start = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: cluster.login.states().get("a") == when, f"it is {when}")
    # nsenter(1) does not pass the signal on.
    cluster.login.kill("INT", int(cluster.login.read("pgrep", "-f", "bin/mrmd-python --id a")))
    _, errors = start.communicate(timeout=60)
    assert (start.returncode, errors.splitlines()[-1]) == (130, "mrmd-python: interrupted")
    wait_until(lambda: cluster.jobs() == "", "the job is cancelled")
    assert cluster.login.leftovers() == ""


def test_interrupt_as_soon_as_the_job_is_submitted_cancels_it(cluster: Cluster) -> None:
    """When sbatch has submitted the job, but the command does not know its number yet."""
    directory = f"{cluster.login.home}/bin"
    cluster.login.script("bin/sbatch", '/usr/bin/sbatch "$@"; kill -INT $PPID; sleep 1000')
    env = {"PATH": f"{directory}:{cluster.login.environ['PATH']}"}
    start = cluster.login.mrmd("--id", "a", "--property", "hold=", env=env)
    assert start.returncode == 130, start
    wait_until(lambda: cluster.jobs() == "", "the job is cancelled")
    assert cluster.login.leftovers() == ""
    cluster.login.read("rm", "-r", directory)


def test_no_wait_prints_the_job(cluster: Cluster) -> None:
    started = cluster.login.mrmd("--id", "a", "--no-wait", "--property", "hold=")
    job = cluster.jobs().split()[0]
    assert f"Slurm job {job}" in started.stdout + started.stderr
    assert cluster.login.info("a")["facts"]["job"] == job
    assert cluster.login.mrmd("--kill", "a").returncode == 0
    wait_until(lambda: cluster.jobs() == "", "the job is cancelled")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--property", "partition=nope"), ["partition", "nope"]),
        (("--memory-max", "800G"), ["Memory specification can not be satisfied"]),
        (("--property", "gres=gpu:5"), ["Requested node configuration is not available"]),
        (("--property", "time=x"), ["Invalid --time specification"]),
        (("--property", "colour=red"), ["--colour=red"]),
        (("--property", "output=/tmp/x"), ["--property output=/tmp/x"]),
        (("--property", "mem=5G"), ["--memory-max"]),
        (("--memory-max", "50%"), ["--memory-max 50%"]),
        (("--tasks-max", "5"), ["--tasks-max"]),
        (("--gpus", "0,1"), ["--property gres=gpu:2"]),
    ],
)
def test_refused_request_is_one_line_and_leaves_nothing(
    cluster: Cluster, options: tuple[str, ...], words: list[str]
) -> None:
    refused = cluster.login.mrmd("--id", "a", *options)
    assert_error(refused, 1, *words)
    assert len(refused.stderr.splitlines()) == 1
    assert cluster.login.leftovers() == ""


def test_limits_become_options_of_the_job(cluster: Cluster) -> None:
    cluster.start("a", "--memory-max", "1.5G", *_ALL_CPUS, "--nice", "5", "--property", "partition=main")
    job = cluster.login.read("scontrol", "-o", "show", "job", cluster.login.info("a")["unit"])
    for word in ("mem=1.50G", "cpu=2,", "Nice=5", "Partition=main", "Requeue=0"):
        assert word in job


def test_job_that_ends_before_it_answers_is_reported_with_its_log(cluster: Cluster) -> None:
    failed = cluster.login.mrmd("--id", "a", "--port", "80")
    assert failed.returncode == 1
    assert "FAILED (NonZeroExitCode)" in failed.stderr
    assert "port 80 needs root" in failed.stderr
    assert cluster.login.leftovers() == ""


def test_start_in_a_job_does_not_choose_systemd(cluster: Cluster) -> None:
    """Where nodes have a user manager, it may end with a login session that Slurm has opened."""
    home = f"{cluster.login.home}/in-job"
    script = f"env -u MRMD_BACKEND MRMD_HOME={home} SLURMD_NODENAME=login {MRMD} --id a --json"
    started = cluster.login.run("sh", "-c", script)
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["backend"] == "fork"
    Client.of_record(json.loads(started.stdout))
    assert cluster.login.mrmd("--kill-all", env={"MRMD_HOME": home}).returncode == 0


_USE_THROUGH_PROXY = """
import json, threading, urllib.request, uvicorn
from mrmd_python import create_app
config = uvicorn.Config(create_app(runtime="vllm"), host="127.0.0.1", port=8000, log_level="warning")
server = uvicorn.Server(config)
thread = threading.Thread(target=server.run)
thread.start()
while not server.started: pass
body = json.dumps({"code": "import os; os.uname().nodename"}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/mrp/v1/execute", body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request))["result"])
server.should_exit = True
thread.join()
"""


def test_application_on_login_forwards_to_the_node(cluster: Cluster) -> None:
    """Its clients need no token."""
    client = cluster.start("vllm")
    assert cluster.login.read(sys.executable, "-c", _USE_THROUGH_PROXY) == f"'{client.node}'"


def test_variables_of_the_login_host_are_dropped(cluster: Cluster) -> None:
    """What they refer to is not on the node."""
    given = {"XDG_RUNTIME_DIR": "/run/user/4242", "SLURM_JOB_ID": "x", "HOSTNAME": "login", "DISPLAY": ":0"}
    client = cluster.start("a", env={**given, "DBUS_SESSION_BUS_ADDRESS": "x", "KEPT": "yes"})
    found = json.loads(client.execute("import json, os; print(json.dumps(dict(os.environ)))")["stdout"])
    assert not {name for name, value in given.items() if found.get(name) == value}
    assert "DBUS_SESSION_BUS_ADDRESS" not in found
    assert (found["KEPT"], found["HOME"]) == ("yes", str(cluster.login.home))


def test_values_of_login_override_no_option_of_the_job(cluster: Cluster) -> None:
    env = {"SBATCH_JOB_NAME": "other", "SBATCH_REQUEUE": "1", "SBATCH_TIMELIMIT": "5", "SBATCH_EXPORT": "NONE"}
    cluster.start("a", "--property", "time=8:00:00", env=env)
    job = cluster.login.read("scontrol", "-o", "show", "job", cluster.login.info("a")["unit"])
    for word in ("JobName=mrmd-python@a", "Requeue=0", "TimeLimit=08:00:00"):
        assert word in job
