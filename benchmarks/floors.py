"""The lower bounds of an execution: a bare aiohttp handler, and IPython at the other end of a socket."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_client import Connection

_PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Floors:
    """Connections to both."""

    http: Connection
    shell: socket.socket

    def answer(self) -> float:
        """Return how long the bare handler takes."""
        started = time.perf_counter()
        self.http.request("POST", "/mrp/v1/execute", {"code": "1+1", "session": "default"})
        return time.perf_counter() - started

    def run_cell(self) -> float:
        """Return how long `1+1` takes through the socket."""
        started = time.perf_counter()
        self.shell.sendall(b"1+1")
        self.shell.recv(16)
        return time.perf_counter() - started


@contextmanager
def floors(python: Path) -> Iterator[Floors]:
    """Run both while the block runs."""
    ours, theirs = socket.socketpair()
    with (
        subprocess.Popen([str(python), str(_PROGRAMS / "bare_aiohttp.py")], stdout=subprocess.PIPE) as server,
        subprocess.Popen([str(python), str(_PROGRAMS / "shell_over_socket.py")], stdin=theirs.fileno()) as shell,
    ):
        theirs.close()
        try:
            assert server.stdout is not None
            yield Floors(Connection(int(server.stdout.readline())), ours)
        finally:
            ours.close()
            for process in (server, shell):
                process.kill()
