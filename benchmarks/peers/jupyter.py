"""Jupyter kernels, over ZMQ or through jupyter_server. The client runs in the peer's venv."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import UnansweredError
from benchmarks.processes import end_tree, tree

# The runtime of `RuntimeKernelPeer`.
_RUNTIME = "benchmark"
_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


@dataclass(frozen=True)
class JupyterPeer:
    """A kind of kernel, and the client that connects to it."""

    name: str
    python: Path
    # The program of the client: zmq_client.py or server_client.py.
    client: str
    kernel: str

    def start(self) -> tuple["JupyterRuntime", float]:
        """Start the client, then the kernel, whose start is timed."""
        runtime = JupyterRuntime(self)
        return runtime, runtime.ask("start", kernel=self.kernel)["seconds"]


@dataclass(frozen=True)
class RuntimeKernelPeer:
    """The kernel that runs cells in a runtime, installed in a venv."""

    name: str
    python: Path
    client: str = "zmq_client.py"

    def start(self) -> tuple["JupyterRuntime", float]:
        """Start the client, then the kernel and its runtime, whose start is timed."""
        self.command("--install-kernel", _RUNTIME, "--prefix", str(self.python.parents[1]))
        runtime = RuntimeKernel(self)
        return runtime, runtime.ask("start", kernel=f"mrmd-python-{_RUNTIME}")["seconds"]

    def command(self, *arguments: str) -> str:
        """Run mrmd-python of the venv, and return what it prints."""
        command = [str(self.python.with_name("mrmd-python")), *arguments]
        return subprocess.run(
            command, env=environment(self.python), stdout=subprocess.PIPE, text=True, check=True
        ).stdout


class JupyterRuntime:
    """One kernel and its client."""

    def __init__(self, peer: "JupyterPeer | RuntimeKernelPeer") -> None:
        self._peer = peer
        self._client = subprocess.Popen(
            [str(peer.python), str(_PROGRAMS / peer.client)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(peer.python),
            encoding="utf-8",
        )

    @property
    def pids(self) -> Sequence[int]:
        """All its processes, without the client."""
        return tree(self._client.pid)[1:]

    def ask(self, op: str, **fields: Any) -> Any:
        """Return the client's answer.

        Raises:
            UnansweredError: the kernel does not answer in time.
        """
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        answer = json.loads(line) if line else {"error": "its client ended"}
        if "error" in answer:
            raise UnansweredError(f"{self._peer.name}: {op}: {answer['error']}")
        return answer

    def execute(self, code: str) -> float:
        """Run code and wait for its result."""
        return float(self.ask("execute", code=code)["seconds"])

    def first_output(self) -> float:
        """Return how long a print() takes to reach the client."""
        return float(self.ask("first_output")["seconds"])

    def stream(self, code: str) -> float:
        """Run code and parse all its output as it arrives."""
        return float(self.ask("execute", code=code)["seconds"])

    def complete(self, code: str) -> float:
        """Complete at the end of `code`."""
        return float(self.ask("complete", code=code)["seconds"])

    def inspect(self, code: str) -> float:
        """Inspect the name at the end of `code`, with its documentation."""
        return float(self.ask("inspect", code=code)["seconds"])

    def close(self) -> None:
        """End the kernel, the server if there is one, and the client."""
        pids = list(self.pids)
        try:
            self.ask("close")
        except UnansweredError as error:
            print(error, file=sys.stderr)
        end_tree([*pids, self._client.pid])
        self._client.communicate()


class RuntimeKernel(JupyterRuntime):
    """A kernel that runs cells in a runtime, which does not end with it."""

    def __init__(self, peer: RuntimeKernelPeer) -> None:
        super().__init__(peer)
        self._command = peer.command

    @property
    def pids(self) -> Sequence[int]:
        """Its processes and the runtime's."""
        return [*super().pids, *tree(json.loads(self._command("--info", _RUNTIME, "--json"))["pid"])]

    def close(self) -> None:
        """End the kernel, the client and the runtime."""
        super().close()
        self._command("--kill", _RUNTIME)


def environment(python: Path) -> dict[str, str]:
    """Return the environment of the programs in a venv."""
    path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    return {"HOME": str(python.parents[1]), "PATH": path, "LANG": "C.UTF-8", "MRMD_BACKEND": "fork"}
