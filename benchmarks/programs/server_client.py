"""Runs in the venv of jupyter_server: starts it and a kernel, and sends requests over HTTP and a WebSocket."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import websocket

_SECONDS = 20.0
_PRINTED_AT = "import time; print(time.monotonic_ns(), flush=True); time.sleep(0.02)"


class Client:
    """One server with one kernel."""

    def start(self, kernel: str) -> dict[str, Any]:
        """Start both, and run `1+1`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        options = [
            f"--ServerApp.port={self._port}",
            "--ServerApp.ip=127.0.0.1",
            "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",
            "--ServerApp.open_browser=False",
            "--ServerApp.root_dir=/tmp",
            "--allow-root",
        ]
        command = [str(Path(sys.executable).with_name("jupyter-server")), *options]
        started = time.perf_counter()
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        identity = self._make_kernel(kernel, started + _SECONDS)
        url = f"ws://127.0.0.1:{self._port}/api/kernels/{identity}/channels"
        self._socket = websocket.create_connection(url, timeout=_SECONDS)
        self._run("execute_request", _execution("1+1"))
        return {"seconds": time.perf_counter() - started}

    def _make_kernel(self, kernel: str, deadline: float) -> str:
        url = f"http://127.0.0.1:{self._port}/api/kernels"
        request = urllib.request.Request(url, json.dumps({"name": kernel}).encode())
        while True:
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - http
                    return str(json.load(answer)["id"])
            except urllib.error.URLError:
                if time.perf_counter() > deadline:
                    raise
                time.sleep(0.005)

    def execute(self, code: str) -> dict[str, Any]:
        """Run code until the kernel is idle again and has replied."""
        started = time.perf_counter()
        self._run("execute_request", _execution(code))
        return {"seconds": time.perf_counter() - started}

    def first_output(self) -> dict[str, Any]:
        """Run a cell that prints the time."""
        return {"seconds": self._run("execute_request", _execution(_PRINTED_AT))}

    def complete(self, code: str) -> dict[str, Any]:
        """Complete at the end of `code`."""
        started = time.perf_counter()
        self._run("complete_request", {"code": code, "cursor_pos": len(code)})
        return {"seconds": time.perf_counter() - started}

    def inspect(self, code: str) -> dict[str, Any]:
        """Inspect at the end of `code`."""
        started = time.perf_counter()
        self._run("inspect_request", {"code": code, "cursor_pos": len(code), "detail_level": 0})
        return {"seconds": time.perf_counter() - started}

    def close(self) -> dict[str, Any]:
        """End the server; its kernel ends with it."""
        self._socket.close()
        self._server.terminate()
        self._server.wait(_SECONDS)
        return {}

    def _run(self, kind: str, content: dict[str, Any]) -> float:
        """Send a request and wait for the reply and, for an execution, for idle; return the age of the first output."""
        identity = uuid.uuid4().hex
        header = {"msg_id": identity, "msg_type": kind, "session": "b", "username": "b", "version": "5.3", "date": ""}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps({**message, "buffers": []}))
        age, awaited = 0.0, {"idle", "reply"} if kind == "execute_request" else {"reply"}
        while awaited:
            answer = json.loads(self._socket.recv())
            if answer["parent_header"].get("msg_id") != identity:
                continue
            if answer["channel"] == "shell":
                awaited.discard("reply")
            elif answer["msg_type"] == "stream" and not age and answer["content"]["text"].strip().isdigit():
                age = (time.monotonic_ns() - int(answer["content"]["text"])) / 1e9
            elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                awaited.discard("idle")
        return age


def _execution(code: str) -> dict[str, Any]:
    return {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}


def main() -> None:
    """Run the operation in each line of stdin, and print a line with the answer."""
    client = Client()
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(client, request.pop("op"))
        try:
            answer = operation(**request)
        except (OSError, websocket.WebSocketException) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
