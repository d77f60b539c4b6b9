"""Programs that serve the application of `create_app`."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.client import Client
from tests.machine import Machine

_PROGRAM = """
import socket, uvicorn
from mrmd_python import create_app
app = create_app({arguments})
{more}
listener = socket.create_server({address})
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, {options})
uvicorn.Server(config).run(sockets=[listener])
"""
# The two kinds of runtime: a child process of the program, or the service named `default`.
CHILD, SERVICE = "daemon_mode=True", "daemon_mode=False"


@contextmanager
def served(
    here: Machine,
    arguments: str,
    *,
    more: str = "",
    options: str = "",
    address: str = "('127.0.0.1', 0)",
    env: Mapping[str, str] | None = None,
) -> Iterator[Client]:
    """Run a program that serves the application; yields a client whose pid is the program's."""
    program = _PROGRAM.format(arguments=arguments, more=more, options=options, address=address)
    with subprocess.Popen(here.command(sys.executable, "-c", program, env=env), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Client.at(int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)
