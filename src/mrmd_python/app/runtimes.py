"""The runtime behind `create_app`: a child of this program, the service `default`, or one that a user has started."""

import json
import os
import secrets
import subprocess
import threading
from io import FileIO
from weakref import WeakSet

from mrmd_python.manager import manager
from mrmd_python.runtime import ServiceError, environment, registry, token
from mrmd_python.runtime.address import Address, address_of, record_of
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


_RESTARTS = "the runtime has died, and its variables are lost; the next request starts it again"


class ChildRuntime:
    """A runtime that is a child of this program and ends with it, even if it crashes."""

    # What to report when it does not answer.
    gone = _RESTARTS

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

    gone = _RESTARTS

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
        self._found = record, address_of(self._home, record)
        return self._found[1]

    def close(self) -> None:
        """Do nothing: the service keeps running."""


class StartedRuntime:
    """A runtime that a user has started, on this machine or, as a Slurm job, on another one that shares the home."""

    def __init__(self, home: Home, runtime_id: str) -> None:
        self._home = home
        self._id = runtime_id
        self.gone = f"the runtime {runtime_id!r} does not answer; see `mrmd-python --info {runtime_id}`"

    def find(self) -> Address | None:
        """Return the address of the runtime, or None if it has no record: it may be restarted at any time."""
        record = registry.read(self._home, self._id)
        return None if record is None else address_of(self._home, record)

    def start(self) -> Address:
        """Return the address of the runtime.

        Raises:
            ServiceError: it does not run.
        """
        return address_of(self._home, record_of(self._home, self._id))

    def close(self) -> None:
        """Do nothing: the runtime keeps running."""
