"""The runtime behind `create_app`: a child of this program, or the service `default`."""

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
from mrmd_python.runtime.spec import RuntimeSpec, stop_seconds

# The write ends of the stdin of each child runtime. The runtime ends when its stdin is closed.
_stdin_pipes: WeakSet[FileIO] = WeakSet()


def _close_stdin_pipes() -> None:
    """Close the copies in a forked child, which may outlive this program and would keep the runtime alive."""
    for pipe in list(_stdin_pipes):
        pipe.close()


os.register_at_fork(after_in_child=_close_stdin_pipes)


class Address(NamedTuple):
    """The port of a runtime, and its token, if any."""

    port: int
    token: str | None


class ChildRuntime:
    """A runtime that is a child of this program and ends with it, even if it crashes."""

    def __init__(self, spec: RuntimeSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Address | None = None

    def find(self) -> Address | None:
        """Return the address of the runtime, or None if it is not running."""
        return self._address if self._process is not None and self._process.poll() is None else None

    def start(self) -> Address:
        """Return the address of the runtime, after starting it if necessary.

        Raises:
            ServiceError: it cannot be started.
            OSError: the limit of processes or descriptors is reached.
        """
        with self._lock:
            found = self.find()
            if found is None:
                self._address = None
                self._address = found = self._start()
            return found

    def _start(self) -> Address:
        secret = secrets.token_urlsafe(32)
        environ = {name: value for name, value in os.environ.items() if name not in environment.SERVICE}
        environ |= {token.VARIABLE: secret, MARKER: new_marker(self._spec.id)}
        stdin, stdin_writer = os.pipe()
        self._stdin_pipe = FileIO(stdin_writer, "w")
        _stdin_pipes.add(self._stdin_pipe)
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            with open(stdin, "rb"), open(writer, "wb"):
                self._process = subprocess.Popen(
                    [*self._spec.server_command(), f"--ready-fd={writer}"],
                    env=environ,
                    stdin=stdin,
                    pass_fds=[writer],
                    start_new_session=True,  # Ctrl-C goes to this program only, which then closes the runtime
                )
            report_line = ready.read()
        report = json.loads(report_line or '{"error": "its server exited without a message"}')
        if report["error"] is not None:
            raise ServiceError(f"the runtime cannot be started: {report['error']}")
        return Address(report["port"], secret)

    def close(self) -> None:
        """Stop the runtime and every process that it started."""
        with self._lock:
            if self._process is None:
                return
            self._stdin_pipe.close()
            server = Process.of(self._process.pid)
            if server is not None:
                server.terminate(stop_seconds(self._spec.stop_timeout))
            self._process.wait()


class DefaultRuntime:
    """The runtime service `default`, which outlives this program."""

    def __init__(self, home: Home, spec: RuntimeSpec) -> None:
        self._home = home
        self._spec = spec
        self._found: tuple[Record, Address] | None = None

    def find(self) -> Address | None:
        """Return the address of the runtime, or None if it is not known to be running."""
        if self._found is None:
            return None
        record, address = self._found
        return address if record.process.is_alive() else None

    def start(self) -> Address:
        """Return the address of the runtime, after starting it if necessary.

        Raises:
            ServiceError: it cannot be started, or its token cannot be read.
            OSError: its files cannot be written.
        """
        record = manager.start(self._home, self._spec, os.environ).record
        assert record is not None  # start() has waited for it
        address = Address(record.port, None if record.token_file is None else token.read(Path(record.token_file)))
        self._found = record, address
        return address

    def close(self) -> None:
        """Do nothing: the service keeps running."""
