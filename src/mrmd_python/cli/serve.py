"""Serves a runtime in this process, which was started with the command of `RuntimeSpec.server_command`.

It parses that command line without click, whose import would delay each start.
"""

import os
import sys
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

from mrmd_python.manager import FOREGROUND, backends
from mrmd_python.manager.serving import report, reporting_failure, serving
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import marker_of
from mrmd_python.runtime.printable import printable
from mrmd_python.runtime.spec import RuntimeSpec

_REQUIRED = {"id", "venv", "python", "venv_source", "cwd"}


class ServerOptions(NamedTuple):
    """The options of a server."""

    # The values of fields of its spec.
    values: dict[str, Any]
    # Where to report that it is ready, or why it is not.
    ready_fd: int | None
    # The claim of its id.
    claim_fd: int | None


def parse(arguments: list[str]) -> ServerOptions | None:
    """Return the options in the arguments of a server, or None if it was not started with `server_command`.

    A user may have edited a unit, for example. Then click parses its options and checks them.
    """
    if not sys.flags.ignore_environment:
        return None
    descriptors: dict[str, int] = {}
    options: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in ("--ready-fd", "--claim-fd"):
            descriptors[name] = int(value)
        else:
            options.append(argument)
    try:
        values = RuntimeSpec.parse_options(options)
    except ValueError:
        return None
    if not values.keys() >= _REQUIRED or marker_of(values["id"], os.environ) is None:
        return None
    return ServerOptions(values, descriptors.get("--ready-fd"), descriptors.get("--claim-fd"))


def serve(options: ServerOptions) -> None:
    """Serve a runtime until it ends."""
    values, ready_fd, claim_fd = options
    home, runtime_id = Home.of(os.environ), values["id"]
    backend = backends.load(values.get("backend", FOREGROUND))
    service = backend.service(home, runtime_id)
    by_backend = "backend" in values
    reports = by_backend or ready_fd is not None
    with reporting_failure(home, runtime_id, service, ready_fd) if reports else nullcontext():
        spec = backend.prepare(RuntimeSpec.from_options(values, os.environ))
        from mrmd_python.server import main as server

        server.exit_on_signals()
        if not (by_backend or spec.managed):
            _print_start(home, spec)
        with serving(home, spec, claim_fd):
            server.serve(home, spec, service, partial(report, ready_fd, None))


def _print_start(home: Home, spec: RuntimeSpec) -> None:
    print(f"Runtime {spec.id!r} in the foreground; Ctrl-C ends it and every process it started.", file=sys.stderr)
    if spec.token:
        print(f"Its token will be in {printable(str(home.token(spec.id)))}.", file=sys.stderr)
