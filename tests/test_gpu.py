"""GPU memory in --list, --info and --kill, on a machine with a stand-in for NVIDIA's driver."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, Json
from tests.machine import Machine

_LIBRARY = Path(__file__).parent / "nvidia" / "nvml.c"
_GB = 2**30
# A /dev with the files of NVIDIA's driver, for the processes in this mount namespace.
_MOUNT_DEV = """
mkdir "$1" && mount --rbind /dev "$1" && mount -t tmpfs -o mode=755 tmpfs /dev || exit
for node in null zero full random urandom tty; do touch /dev/$node && mount --bind "$1/$node" /dev/$node || exit; done
mkdir -m 1777 /dev/shm && ln -s /proc/self/fd /dev/fd && touch /dev/nvidiactl /dev/nvidia0 && echo mounted && cat
"""
_START_ENGINE = """
import subprocess, sys
held = open("/dev/nvidia0")
engine = subprocess.Popen(["sleep", "1000"], start_new_session=True, pass_fds=[held.fileno()])
held.close()
engine.pid
"""


@pytest.fixture
def gpu_machine(here: Machine, tmp_path: Path) -> Iterator[Machine]:
    """This machine with NVIDIA's driver; `_install` says which GPUs it has, and what is allocated on them."""
    if os.geteuid() != 0:
        pytest.skip("the tests of GPU memory need root, to mount a /dev with the files of a driver")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT_DEV, "sh", str(tmp_path / "dev")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as namespace:
        assert namespace.stdout is not None
        assert namespace.stdin is not None
        assert namespace.stdout.readline() == b"mounted\n"
        environ = {"LD_LIBRARY_PATH": str(tmp_path / "lib"), "STANDIN_GPUS": str(tmp_path / "gpus")}
        yield dataclasses.replace(
            here, prefix=["nsenter", f"--mount=/proc/{namespace.pid}/ns/mnt"], environ={**here.environ, **environ}
        )
        here.mrmd("--kill-all")
        namespace.stdin.close()


def _install(machine: Machine, *lines: str, flags: tuple[str, ...] = ()) -> None:
    """Install NVIDIA's library, which answers from these lines (tests/nvidia/nvml.c)."""
    if shutil.which("cc") is None:
        pytest.skip("the tests of GPU memory need a C compiler: apt-get install gcc libc6-dev")
    directory = Path(machine.environ["LD_LIBRARY_PATH"])
    directory.mkdir(exist_ok=True)
    library = directory / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", *flags, "-o", library, _LIBRARY], check=True)
    Path(machine.environ["STANDIN_GPUS"]).write_text("\n".join(lines))


def _start_engine(client: Client) -> int:
    """Start a process in a session of its own that has a GPU open; return its pid."""
    return int(client.value(_START_ENGINE))


def _held(machine: Machine, runtime_id: str) -> tuple[int | None, list[Json]]:
    (found,) = (found for found in json.loads(machine.mrmd("--list", "--json").stdout) if found["id"] == runtime_id)
    info = machine.info(runtime_id)
    assert (info["gpuMemory"], info["gpuProcesses"]) == (found["gpuMemory"], found["gpuProcesses"])
    return found["gpuMemory"], found["gpuProcesses"]


def test_gpu_memory_is_shown_by_list_and_info_and_freed_by_kill(gpu_machine: Machine) -> None:
    client, other = gpu_machine.start("a"), gpu_machine.start("b")
    engine, others = _start_engine(client), _start_engine(other)
    _install(
        gpu_machine,
        "gpu 0 NVIDIA H100 80GB HBM3",
        "gpu 1 NVIDIA L4",
        f"compute 0 -1 {engine} {2 * _GB}",
        f"compute 0 -1 {others} {5 * _GB}",
        f"compute 1 -1 {engine} {3 * _GB}",
        f"compute 0 -1 {os.getpid()} {7 * _GB}",
    )
    assert _held(gpu_machine, "a") == (
        5 * _GB,
        [
            {"gpu": 0, "name": "NVIDIA H100 80GB HBM3", "pid": engine, "memory": 2 * _GB},
            {"gpu": 1, "name": "NVIDIA L4", "pid": engine, "memory": 3 * _GB},
        ],
    )
    heading, first, second = gpu_machine.mrmd("--list").stdout.splitlines()
    assert heading.split() == ["ID", "STATUS", "PID", "PORT", "UPTIME", "MEMORY", "GPU", "VENV"]
    assert re.search(r" MB +5\.0 GB +/", first), first
    assert re.search(r" MB +5\.0 GB +/", second), second
    details = gpu_machine.mrmd("--info", "a").stdout.splitlines()
    assert f"gpu 0:   2.0 GB on NVIDIA H100 80GB HBM3 (PID {engine}: 2.0 GB)" in details
    assert f"gpu 1:   3.0 GB on NVIDIA L4 (PID {engine}: 3.0 GB)" in details
    assert json.loads(gpu_machine.mrmd("--kill", "b", "--json").stdout)[0]["gpuMemory"] == 5 * _GB
    killed = gpu_machine.mrmd("--kill", "a").stdout
    assert ", 5.0 GB of GPU memory freed." in killed
    assert gpu_machine.alive([engine]) == []


def test_process_that_computes_and_draws_counts_once(gpu_machine: Machine) -> None:
    engine = _start_engine(gpu_machine.start("a"))
    _install(gpu_machine, "gpu 0 L4", f"compute 0 -1 {engine} {_GB}", f"graphics 0 -1 {engine} {_GB}")
    assert _held(gpu_machine, "a") == (_GB, [{"gpu": 0, "name": "L4", "pid": engine, "memory": _GB}])


def test_mig_devices_of_a_gpu_count_together(gpu_machine: Machine) -> None:
    client = gpu_machine.start("a")
    one, two = sorted((_start_engine(client), _start_engine(client)))
    _install(
        gpu_machine,
        "gpu 0 L4",
        "gpu 1 A100",
        "mig 1 0",
        "mig 1 3",
        f"compute 1 0 {one} {_GB}",
        f"compute 1 3 {one} {_GB}",
        f"compute 1 3 {two} -1",
    )
    assert _held(gpu_machine, "a") == (
        2 * _GB,
        [
            {"gpu": 1, "name": "A100", "pid": one, "memory": 2 * _GB},
            {"gpu": 1, "name": "A100", "pid": two, "memory": None},
        ],
    )


def test_gpu_memory_that_the_driver_does_not_know(gpu_machine: Machine) -> None:
    engine = _start_engine(gpu_machine.start("a"))
    _install(gpu_machine, "gpu 0 A10", f"compute 0 -1 {engine} -1")
    assert _held(gpu_machine, "a") == (None, [{"gpu": 0, "name": "A10", "pid": engine, "memory": None}])
    assert re.search(r" MB +- +/", gpu_machine.mrmd("--list").stdout)
    assert f"gpu 0:   - on A10 (PID {engine}: -)\n" in gpu_machine.mrmd("--info", "a").stdout
    assert "GPU" not in gpu_machine.mrmd("--kill", "a").stdout


def test_pid_of_a_process_that_does_not_use_a_gpu_is_another_process_of_the_host(gpu_machine: Machine) -> None:
    client = gpu_machine.start("a")
    engine = _start_engine(client)
    _install(gpu_machine, "gpu 0 A10", f"compute 0 -1 {client.pid} {_GB}", f"compute 0 -1 {2**22 + engine} {_GB}")
    assert _held(gpu_machine, "a") == (None, [])


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        (["init 9"], ()),  # NVML_ERROR_DRIVER_NOT_LOADED
        (["init 18"], ()),  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
        (["gpu 0 A10", "lost 0"], ()),
        (["gpu 0 A10", f"compute 0 -1 {os.getpid()} 5"], ("-DOLD_DRIVER",)),
        (None, ()),
    ],
)
def test_driver_that_cannot_answer_changes_nothing(
    gpu_machine: Machine, lines: list[str] | None, flags: tuple[str, ...]
) -> None:
    client = gpu_machine.start("a")
    engine = _start_engine(client)
    if lines is not None:
        _install(gpu_machine, *lines, flags=flags)
    for command in (["--list"], ["--info", "a"], ["--kill", "a"]):
        done = gpu_machine.mrmd(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert not re.search(r"GPU|gpu \d", done.stdout)
    assert gpu_machine.alive([engine]) == []


def test_kill_does_not_wait_for_driver_that_does_not_answer(gpu_machine: Machine) -> None:
    engine = _start_engine(gpu_machine.start("a"))
    _install(gpu_machine, "init -1")
    before = time.monotonic()
    done = gpu_machine.mrmd("--kill", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - before < 15
    assert gpu_machine.alive([engine]) == []


def test_driver_is_not_asked_if_no_process_uses_a_gpu(gpu_machine: Machine) -> None:
    gpu_machine.start("a")
    _install(gpu_machine, "init -1")
    before = time.monotonic()
    assert _held(gpu_machine, "a") == (None, [])
    assert "GPU" not in gpu_machine.mrmd("--kill", "a").stdout
    assert time.monotonic() - before < 4, "it would wait five seconds for the driver, three times"
