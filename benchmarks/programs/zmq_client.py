"""Runs in the venv of a Jupyter kernel: starts the kernel, and sends it the request in each line of stdin."""

import json
import queue
import subprocess
import sys
import time
from typing import Any

from jupyter_client.manager import KernelManager

_SECONDS = 20.0
_PRINTED_AT = "import time; print(time.monotonic_ns(), flush=True); time.sleep(0.02)"


class Client:
    """One kernel."""

    def start(self, kernel: str) -> dict[str, Any]:
        """Start it, and run `1+1`."""
        started = time.perf_counter()
        self._manager = KernelManager(kernel_name=kernel)
        self._manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._channels = self._manager.blocking_client()
        self._channels.start_channels()
        # Wait only for the reply: what the kernel publishes before the subscription reaches it is lost.
        self._reply(self._channels.execute("1+1"))
        seconds = time.perf_counter() - started
        self._channels.wait_for_ready(timeout=_SECONDS)
        return {"seconds": seconds}

    def execute(self, code: str) -> dict[str, Any]:
        """Run code until the kernel is idle again and has replied."""
        started = time.perf_counter()
        self._published(self._channels.execute(code))
        return {"seconds": time.perf_counter() - started}

    def first_output(self) -> dict[str, Any]:
        """Run a cell that prints the time."""
        return {"seconds": self._published(self._channels.execute(_PRINTED_AT))}

    def complete(self, code: str) -> dict[str, Any]:
        """Complete at the end of `code`."""
        started = time.perf_counter()
        self._reply(self._channels.complete(code))
        return {"seconds": time.perf_counter() - started}

    def inspect(self, code: str) -> dict[str, Any]:
        """Inspect at the end of `code`."""
        started = time.perf_counter()
        self._reply(self._channels.inspect(code))
        return {"seconds": time.perf_counter() - started}

    def close(self) -> dict[str, Any]:
        """End the kernel."""
        self._channels.stop_channels()
        self._manager.shutdown_kernel(now=True)
        return {}

    def _published(self, identity: str) -> float:
        """Read what the kernel publishes until it is idle, and its reply; return the age of its first output."""
        age = 0.0
        while True:
            message = self._channels.get_iopub_msg(timeout=_SECONDS)
            if message["parent_header"].get("msg_id") != identity:
                continue
            if message["msg_type"] == "stream" and not age and message["content"]["text"].strip().isdigit():
                age = (time.monotonic_ns() - int(message["content"]["text"])) / 1e9
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                self._reply(identity)
                return age

    def _reply(self, identity: str) -> None:
        while self._channels.get_shell_msg(timeout=_SECONDS)["parent_header"].get("msg_id") != identity:
            pass


def main() -> None:
    """Run the operation in each line of stdin, and print a line with the answer."""
    client = Client()
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(client, request.pop("op"))
        try:
            answer = operation(**request)
        except (queue.Empty, TimeoutError, RuntimeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
