"""mrmd-python, this or an older version, over HTTP."""

import itertools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.http_client import Connection
from benchmarks.peers.peer import PRINTED_AT, UnansweredError
from benchmarks.processes import end_tree, tree

_URL = re.compile(r"URL:\s+http://[^:]+:(\d+)/")
_PID = re.compile(r"PID:\s+(\d+)")
_STREAM_SECONDS = 20.0
_IDLE_SECONDS = 2.0
_INTERRUPT_SECONDS = 5.0
_numbers = itertools.count()


@dataclass(frozen=True)
class MrpPeer:
    """One version of mrmd-python, and the machine that it runs on."""

    name: str
    command: str
    environ: Mapping[str, str]
    # The command that runs another one on that machine.
    prefix: Sequence[str] = ()
    # Whether the pids that it prints are valid on this machine.
    reports_pid: bool = True

    def run(self, *arguments: str) -> tuple[str, float]:
        """Run its command; return what it printed and how long it took.

        Raises:
            UnansweredError: it failed.
        """
        # Into a file: older versions leave the descriptors of their caller open in the runtime.
        with tempfile.TemporaryFile("w+") as out:
            variables = [f"{name}={value}" for name, value in self.environ.items()]
            started = time.perf_counter()
            status = subprocess.run(
                [*self.prefix, "env", "-i", *variables, self.command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                check=False,
            ).returncode
            seconds = time.perf_counter() - started
            out.seek(0)
            text = out.read()
        if status != 0:
            raise UnansweredError(f"{self.name} {' '.join(arguments)}: {text}")
        return text, seconds

    def start(self) -> tuple["MrpRuntime", float]:
        """Start a runtime with the command, and run `1+1`."""
        runtime_id = f"benchmark-{os.getpid()}-{next(_numbers)}"
        started = time.perf_counter()
        try:
            text, _ = self.run("--id", runtime_id)
        except UnansweredError:
            with suppress(UnansweredError):  # it may have started too late, or in part
                self.run("--kill", runtime_id)
            raise
        port, pid = _URL.search(text), _PID.search(text)
        assert port is not None, text
        assert pid is not None, text
        runtime = MrpRuntime(self, runtime_id, int(port[1]), int(pid[1]) if self.reports_pid else None)
        runtime.execute("1+1")
        return runtime, time.perf_counter() - started


class MrpRuntime:
    """One runtime."""

    def __init__(self, peer: MrpPeer, runtime_id: str, port: int, pid: int | None) -> None:
        self.peer = peer
        self.id = runtime_id
        self.port = port
        self._pid = pid
        self._connection: Connection | None = None
        self._used = 0.0

    @property
    def server(self) -> int:
        """The pid of its server."""
        assert self._pid is not None
        return self._pid

    @property
    def pids(self) -> Sequence[int]:
        """All its processes."""
        return tree(self.server)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> float:
        """Return how long an endpoint takes to answer.

        Raises:
            UnansweredError: it answers too late, or with an error.
        """
        return self.answer(method, path, body)[1]

    def answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, float]:
        """Return the answer of an endpoint, and how long it took.

        Raises:
            UnansweredError: it answers too late, or with an error.
        """
        connection = self._connected()
        started = time.perf_counter()
        try:
            found = connection.request(method, f"/mrp/v1{path}", body)
        except (OSError, ValueError) as error:
            self._disconnect()
            raise UnansweredError(f"{self.peer.name}: {path}: {error}") from None
        return found, time.perf_counter() - started

    def execute(self, code: str, session: str = "default") -> float:
        """Run code, which must succeed, and wait for its result."""
        found, seconds = self.answer("POST", "/execute", {"code": code, "session": session})
        assert found["success"], found
        return seconds

    def first_output(self) -> float:
        """Return how long a print() takes to reach the client."""
        seconds = [
            (time.monotonic_ns() - int(data["content"])) / 1e9
            for name, data in self._events(PRINTED_AT, accumulated=True)
            if name == "stdout" and data["content"].strip()
        ]
        return seconds[0]

    def stream(self, code: str, *, accumulated: bool = False) -> float:
        """Run code and parse all its output as it arrives."""
        started = time.perf_counter()
        received = 0
        for name, data in self._events(code, accumulated=accumulated):
            received += len(data["content"]) if name == "stdout" else 0
            if time.perf_counter() - started > _STREAM_SECONDS:
                self._disconnect()
                raise UnansweredError(f"{self.peer.name}: not complete within {_STREAM_SECONDS} s")
        return time.perf_counter() - started

    def complete(self, code: str) -> float:
        """Complete at the end of `code`."""
        return self.ask("POST", "/complete", {"code": code, "cursor": len(code)})

    def inspect(self, code: str) -> float:
        """Inspect the name at the end of `code`, with its documentation."""
        return self.ask("POST", "/inspect", {"code": code, "cursor": len(code), "detail": 1})

    def hover(self, code: str) -> float:
        """Hover over the end of `code`."""
        return self.ask("POST", "/hover", {"code": code, "cursor": len(code)})

    @contextmanager
    def busy(self, code: str) -> Iterator[threading.Event]:
        """Run code while the block runs, and yield an event that is set when the code ends before the block."""
        ended = threading.Event()
        connection = Connection(self.port, seconds=60)
        # The event `start` may arrive long before the code runs.
        begun = Path(tempfile.mkdtemp(prefix="mrmd-benchmark-"), "begun")
        marked = f"open({str(begun)!r}, 'w').close()\n{code}"

        def run() -> None:
            try:
                for _ in connection.events("/mrp/v1/execute/stream", {"code": marked}):
                    pass
            except OSError:
                pass
            ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            while not (begun.exists() or ended.is_set()):
                time.sleep(0.001)
            yield ended
        finally:
            Connection(self.port).request("POST", "/mrp/v1/interrupt", {})
            thread.join(_INTERRUPT_SECONDS)
            connection.close()
            shutil.rmtree(begun.parent)

    def close(self) -> None:
        """End the runtime, and processes that it leaves behind."""
        self._disconnect()
        started = list(self.pids) if self._pid is not None else []
        try:
            self.peer.run("--kill", self.id)
        finally:
            end_tree(started)

    def _events(self, code: str, *, accumulated: bool) -> Iterator[tuple[str, Any]]:
        connection = self._connected()
        try:
            yield from connection.events(
                "/mrp/v1/execute/stream", {"code": code, "accumulated": accumulated, "allowStdin": False}
            )
        except OSError as error:
            self._disconnect()
            raise UnansweredError(f"{self.peer.name}: {error}") from None

    def _connected(self) -> Connection:
        """Return the connection, or a new one if it has been idle: servers close idle connections."""
        if time.perf_counter() - self._used > _IDLE_SECONDS:
            self._disconnect()
        self._connection = self._connection or Connection(self.port)
        self._used = time.perf_counter()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def home_of(directory: Path, name: str) -> Path:
    """Return a new home for the runtimes of a peer."""
    home = directory / name
    home.mkdir()
    return home
