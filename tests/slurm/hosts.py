"""The cluster: its hosts, as machines, and clients of the runtimes on its nodes."""

import ctypes
import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.client import Answer, Client, Json
from tests.machine import Machine, box_machine, box_root

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_ADDRESSES = {"node1": "10.99.0.11", "node2": "10.99.0.12"}


@dataclass(frozen=True)
class NodeClient(Client):
    """A client, on a host of the cluster, of a runtime on a node."""

    # The pid, on this machine, of that host's PID 1.
    host: int = 0
    token: str = ""

    @property
    def node(self) -> str:
        """The node that the runtime is on."""
        return self.address[0]

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Return a new connection from that host."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        with _network_of(self.host):
            connection.sock = socket.create_connection((_ADDRESSES[self.node], self.port), timeout)
        return connection

    def _answer(self, method: str, target: str, body: Any, headers: Mapping[str, str], timeout: float) -> Answer:
        return super()._answer(method, target, body, self._authorized(headers), timeout)

    @contextmanager
    def _events(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Iterator[Any]:
        with super()._events(method, path, body, self._authorized(headers)) as events:
            yield events

    def _authorized(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **headers}


@dataclass
class Host(Machine):
    """A host of the cluster, entered as its ordinary user."""

    # The pid, on this machine, of its PID 1.
    leader: int = 0

    def client_of(self, record: Json) -> NodeClient:
        """Return a client, on this host, of the runtime that a registry record describes."""
        return NodeClient(record["url"], record["pid"], self.leader, self.read("cat", record["token_file"]))


class Cluster:
    """A booted cluster.

    Args:
        leaders: a stream with a line per boot: the pids, on this machine, of the hosts' PID 1.
    """

    def __init__(self, leaders: IO[str]) -> None:
        self._leaders = leaders
        self.booted = self.boot()

    def boot(self) -> bool:
        """Wait until the hosts have booted, at first or after one was rebooted; return whether they have."""
        found = [int(pid) for pid in self._leaders.readline().split()]
        if not found:
            return False
        self._pids = dict(zip(("login", "node1", "node2"), found, strict=True))
        self.login = self.host("login")
        return True

    def host(self, name: str) -> Host:
        """Return a host, entered as its ordinary user."""
        leader = self._pids[name]
        machine = box_machine(leader)
        return Host("slurm", machine.prefix, {**machine.environ, "MRMD_BACKEND": "slurm"}, machine.home, leader)

    def root(self, name: str) -> Machine:
        """Return a host, entered as root."""
        return box_root(self._pids[name])

    def client(self, runtime_id: str) -> NodeClient:
        """Return a client of a registered runtime."""
        return self.login.client_of(self.login.info(runtime_id))

    def start(
        self, runtime_id: str, *options: str, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> NodeClient:
        """Start a runtime from the login host."""
        client = self.login.start(runtime_id, *options, cwd=cwd, env=env)
        assert isinstance(client, NodeClient)
        return client

    def jobs(self) -> str:
        """Return the jobs that have not ended, as Slurm lists them."""
        return self.login.read("squeue", "--noheader", "--format=%i %j %T")


@contextmanager
def _network_of(pid: int) -> Iterator[None]:
    """Let this thread make its sockets in the network of a process (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/proc/{pid}/ns/net").open() as there:
        if libc.setns(there.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            libc.setns(before.fileno(), _CLONE_NEWNET)
