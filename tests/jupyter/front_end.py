"""A front end: starts kernels, runs cells in them, and answers their questions."""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.client import Json
from tests.machine import MRMD, Machine, wait_until

_SECONDS = 60.0


@dataclass
class Cell:
    """A cell that was sent to a kernel, and what came back so far."""

    msg_id: str
    # The kind and content of each message, without `status` and `execute_input`.
    outputs: list[tuple[str, Json]] = field(default_factory=list)
    reply: Json = field(default_factory=dict)
    # The number in its `execute_input`.
    count: int = 0
    is_idle: bool = False

    @property
    def kinds(self) -> list[str]:
        """The kinds of its outputs."""
        return [kind for kind, _ in self.outputs]

    def text(self, name: str = "stdout") -> str:
        """What it has written to a stream."""
        return "".join(
            content["text"] for kind, content in self.outputs if kind == "stream" and content["name"] == name
        )

    def of_kind(self, kind: str) -> list[Json]:
        """The contents of its outputs of one kind."""
        return [content for found, content in self.outputs if found == kind]


class FrontEnd:
    """A front end that is connected to one kernel.

    Args:
        channels: the connection.
        manager: the manager that has started the kernel, if not a server has.
    """

    def __init__(self, channels: BlockingKernelClient, manager: KernelManager | None = None) -> None:
        self.channels = channels
        self._manager = manager
        channels.start_channels(hb=False)
        self.wait()

    def wait(self) -> None:
        """Wait until the kernel answers, and what it publishes arrives here."""

        def answers() -> bool:
            self.channels.kernel_info()
            try:
                self.channels.get_shell_msg(timeout=1)
                return bool(self.channels.get_iopub_msg(timeout=0.5))
            except queue.Empty:
                return False

        wait_until(answers, "the kernel answers", _SECONDS)

    @property
    def manager(self) -> KernelManager:
        """The manager that has started the kernel."""
        assert self._manager is not None
        return self._manager

    @property
    def pid(self) -> int:
        """The pid of the kernel's process."""
        provisioner: Any = self.manager.provisioner
        return int(provisioner.pid)

    def run(self, code: str, *answers: str, **fields: Any) -> Cell:
        """Run a cell, answering its questions in turn, until the kernel has replied and is idle."""
        return self.finish(self.send(code, **fields), *answers)

    def send(self, code: str, *, metadata: Mapping[str, Any] | None = None, **fields: Any) -> Cell:
        """Send a cell; fields are those of an execute_request."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
        message = self.channels.session.msg("execute_request", {**content, **fields}, metadata=metadata)
        self.channels.shell_channel.send(message)
        return Cell(message["header"]["msg_id"])

    def finish(self, cell: Cell, *answers: str) -> Cell:
        """Take the messages of a cell until it has ended."""
        pending = list(answers)

        def has_ended() -> bool:
            if self.channels.stdin_channel.msg_ready() and pending:
                self.question()
                self.channels.input(pending.pop(0))
            return cell.is_idle and cell.reply != {}

        return self.until(cell, has_ended, "the cell ends")

    def until(self, cell: Cell, condition: Callable[[], bool], what: str) -> Cell:
        """Take the messages of a cell until a condition holds."""
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"timed out waiting until {what}: {cell}"
            self._take(cell)
        return cell

    def question(self) -> Json:
        """Return the next question of the kernel."""
        content: Json = self.channels.get_stdin_msg(timeout=_SECONDS)["content"]
        return content

    def ask(self, request: str, *args: Any, **fields: Any) -> Json:
        """Send a query, such as `complete`, and return the content of the reply."""
        identity = getattr(self.channels, request)(*args, **fields)
        while True:
            reply = self.channels.get_shell_msg(timeout=_SECONDS)
            if reply["parent_header"].get("msg_id") == identity:
                content: Json = reply["content"]
                return content

    def _take(self, cell: Cell) -> None:
        try:
            message = self.channels.get_iopub_msg(timeout=0.05)
        except queue.Empty:
            message = None
        if message is not None and message["parent_header"].get("msg_id") == cell.msg_id:
            kind, content = message["msg_type"], message["content"]
            if kind == "status":
                cell.is_idle = content["execution_state"] == "idle"
            elif kind == "execute_input":
                cell.count = content["execution_count"]
            else:
                cell.outputs.append((kind, content))
        while self.channels.shell_channel.msg_ready():
            reply = self.channels.get_shell_msg(timeout=_SECONDS)
            if reply["parent_header"].get("msg_id") == cell.msg_id:
                cell.reply = reply["content"]


@dataclass(frozen=True)
class Kernels:
    """The kernels that are installed on a machine, in the environment `prefix`."""

    machine: Machine
    prefix: Path

    def install(self, runtime_id: str | None = None) -> str:
        """Install a kernel with mrmd-python, and return its name."""
        options = [] if runtime_id is None else [runtime_id]
        printed = self.machine.read(MRMD, "--install-kernel", *options, "--prefix", str(self.prefix))
        return printed.split("'")[1]

    def manager(self, name: str) -> KernelManager:
        """Return a manager that can start a kernel."""
        specs = KernelSpecManager(kernel_dirs=[str(self.prefix / "share/jupyter/kernels")], ensure_native_kernel=False)
        return KernelManager(kernel_name=name, kernel_spec_manager=specs)

    @contextmanager
    def started(self, name: str, *, cwd: Path | None = None, **env: str) -> Iterator[FrontEnd]:
        """Start a kernel, yield a front end that is connected to it, and shut it down."""
        manager = self.manager(name)
        manager.start_kernel(env={**self.machine.environ, **env}, cwd=str(cwd or self.machine.home))
        channels = manager.blocking_client()
        try:
            yield FrontEnd(channels, manager)
        finally:
            manager.shutdown_kernel()
            channels.stop_channels()
