"""The runtime behind an application: a child of this program, or the service `default`."""

import json
import os
import secrets
import subprocess
import threading
from io import FileIO
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from mrmd_python.manager import manager
from mrmd_python.runtime import ServiceError, environment, token
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.marker import new_marker
from mrmd_python.runtime.processes import Process
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec

# The writing ends of the pipes that are the stdin of a child.
_lifelines: WeakSet[FileIO] = WeakSet()


def _close_lifelines() -> None:
    """Close a forked child's copies: it may outlive this program, and would keep the runtime alive."""
    for lifeline in list(_lifelines):
        lifeline.close()


os.register_at_fork(after_in_child=_close_lifelines)


class Address(NamedTuple):
    """Where a runtime answers, and the token that it wants."""

    port: int
    token: str | None


class ChildRuntime:
    """A managed runtime that is a child of this program, and ends with it, however it ends."""

    def __init__(self, spec: RuntimeSpec) -> None:
        self._spec = spec
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Address | None = None

    def find(self) -> Address | None:
        """Return the address of the runtime, or None if it does not run."""
        return self._address if self._process is not None and self._process.poll() is None else None

    def start(self) -> Address:
        """Return the address of the runtime, started unless it runs.

        Raises:
            ServiceError: it cannot be started.
            OSError: there are no more processes or descriptors.
        """
        with self._changing:
            found = self.find()
            if found is None:
                self._address = None
                self._address = found = self._start()
            return found

    def _start(self) -> Address:
        secret = secrets.token_urlsafe(32)
        environ = {name: value for name, value in os.environ.items() if name not in environment.SERVICE}
        environ |= {token.VARIABLE: secret, MARKER: new_marker(self._spec.id)}
        stdin, lifeline = os.pipe()
        self._lifeline = FileIO(lifeline, "w")
        _lifelines.add(self._lifeline)
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            with open(stdin, "rb"), open(writer, "wb"):
                self._process = subprocess.Popen(
                    [*self._spec.server_command(), f"--ready-fd={writer}"],
                    env=environ,
                    stdin=stdin,
                    pass_fds=[writer],
                    start_new_session=True,  # Ctrl-C is for this program, which then ends the runtime in order
                )
            answer = ready.read()
        report = json.loads(answer or '{"error": "its server exited without a message"}')
        if report["error"] is not None:
            raise ServiceError(f"the runtime cannot be started: {report['error']}")
        return Address(report["port"], secret)

    def close(self) -> None:
        """End the runtime and every process that it started."""
        with self._changing:
            if self._process is None:
                return
            self._lifeline.close()
            server = Process.of(self._process.pid)
            if server is not None:
                server.terminate()
            self._process.wait()


class DefaultRuntime:
    """The runtime service `default`, which outlives this program."""

    def __init__(self, home: Home, spec: RuntimeSpec) -> None:
        self._home = home
        self._spec = spec
        self._found: tuple[Record, Address] | None = None

    def find(self) -> Address | None:
        """Return the address of the runtime, or None if it is not known to run."""
        if self._found is None:
            return None
        record, address = self._found
        return address if record.process.is_alive() else None

    def start(self) -> Address:
        """Return the address of the runtime, started unless it runs.

        Raises:
            ServiceError: it cannot be started, or its token cannot be read.
            OSError: its files cannot be written.
        """
        record = manager.start(self._home, self._spec, os.environ).record
        assert record is not None, "it was waited for"
        address = Address(record.port, None if record.token_file is None else token.read(Path(record.token_file)))
        self._found = record, address
        return address

    def close(self) -> None:
        """Leave the runtime as it is."""
