"""A Jupyter server, and front ends of the notebooks that it opens."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.client import Json
from tests.jupyter.front_end import FrontEnd
from tests.machine import BIN, Machine, wait_until


@dataclass(frozen=True)
class JupyterServer:
    """A server on a machine whose root directory is at `root` on this one, and that has the user's home as its own."""

    machine: Machine
    port: int
    root: Path = Path("/")

    @property
    def command(self) -> list[str]:
        """The command that serves, on that machine."""
        options = {
            "ServerApp.port": self.port,
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.root_dir": self.machine.home,
            "ServerApp.open_browser": False,
            "ServerApp.disable_check_xsrf": True,
            "IdentityProvider.token": "",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        return [str(BIN / "jupyter-lab"), "--allow-root", *(f"--{name}={value}" for name, value in options.items())]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it answers."""
        wait_until(self._answers, "the Jupyter server answers", 60)

    def open(self, notebook: str, kernel: str) -> tuple[FrontEnd, str]:
        """Open a notebook as JupyterLab does; return a front end of its kernel, and the id of the kernel."""
        body = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": kernel}}
        kernel_id = self._call("POST", "/api/sessions", body)["kernel"]["id"]
        runtime_directory = self.machine.home / ".local/share/jupyter/runtime"
        path = self.root / runtime_directory.relative_to("/") / f"kernel-{kernel_id}.json"
        channels = BlockingKernelClient()
        channels.load_connection_file(str(path))
        return FrontEnd(channels), kernel_id

    def pids(self, kernel_id: str) -> list[int]:
        """Return the pids of the server and of a kernel, on that machine."""
        own = self.machine.read("pgrep", "-f", f"ServerApp.port={self.port} ")
        return [int(own), int(self.machine.read("pgrep", "-f", f"kernel-{kernel_id}"))]

    def _call(self, method: str, path: str, body: Any = None) -> Json:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 300, content
            found: Json = json.loads(content)
            return found
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return bool(self._call("GET", "/api"))
        except OSError:
            return False
