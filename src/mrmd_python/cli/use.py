"""The options that use a runtime: --exec, --attach, --console and --mcp."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from mrmd_python.clients.client import Client, connect
from mrmd_python.clients.terminal import run as terminal
from mrmd_python.clients.terminal.ask import Input
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home

if TYPE_CHECKING:
    from mrmd_python.server.execution import ExecutionJson

# The options of --exec that do not say how to start a runtime.
_OWN_OPTIONS = {"exec", "operand", "code", "detach", "session", "as_json"}


def run(action: str, options: Mapping[str, Any]) -> NoReturn:
    """Run an action, and exit."""
    Home.of(os.environ).check_owner()
    match action:
        case "exec":
            execute(options)
        case "attach":
            attach(options)
        case "console":
            console(options)
        case "mcp":
            serve_agent(options)
    raise AssertionError(action)


def execute(options: Mapping[str, Any]) -> NoReturn:
    """Run code in a runtime, which is started if it does not run."""
    code, stdin = _code(options)
    _ensure_running(options)
    session, as_json = options["session"], options["as_json"]
    if options["detach"]:
        _use(options["exec"], lambda client: terminal.submit(client, code, session, as_json=as_json))
    _use(options["exec"], lambda client: terminal.execute(client, code, session, stdin=stdin, as_json=as_json))


def attach(options: Mapping[str, Any]) -> NoReturn:
    """Show an execution from its beginning until it ends."""
    exec_id, session, as_json = options["operand"], options["session"], options["as_json"]
    _use(options["attach"], lambda client: terminal.attach(client, exec_id, session, as_json=as_json))


def console(options: Mapping[str, Any]) -> NoReturn:
    """Open a console in a runtime, until the user leaves it."""
    runtime_id = options["console"]
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"--console needs a terminal; to run code: mrmd-python --exec {runtime_id} -")
    from mrmd_python.clients.terminal.console import open_console  # it takes time to import

    asyncio.run(open_console(runtime_id, options["session"]))
    sys.exit(0)


def serve_agent(options: Mapping[str, Any]) -> NoReturn:
    """Serve an agent on standard input and output until it closes them."""
    try:
        from mrmd_python.clients.mcp.server import serve
    except ImportError as error:
        if (error.name or "").startswith("mrmd_python"):
            raise
        raise ServiceError("--mcp needs more packages; install them with: pip install 'mrmd-python[mcp]'") from None
    source = click.get_current_context().get_parameter_source("session")
    session = options["session"] if source is ParameterSource.COMMANDLINE else None
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing else ends the thread that reads standard input
    serve(options["mcp"] or None, session, read_only=options["read_only"])
    sys.exit()


def executions(runtime_id: str) -> "list[ExecutionJson]":
    """Return the executions of a runtime, oldest first, for shell completion; none if it does not answer."""

    async def listed() -> "list[ExecutionJson]":
        async with connect(runtime_id) as client:
            return await client.executions()

    try:
        return asyncio.run(listed())
    except ServiceError:
        return []


def _use(runtime_id: str, action: Callable[[Client], Awaitable[int]]) -> NoReturn:
    async def run_action() -> int:
        async with connect(runtime_id, name="exec") as client:
            return await action(client)

    status = asyncio.run(run_action())
    sys.stdout.flush()
    os._exit(status)  # everything has ended, and finalizing the interpreter would take time


def _code(options: Mapping[str, Any]) -> tuple[str, Input | None]:
    """Return the code, and where its input comes from: not from standard input if that has the code."""
    file, code = options["operand"], options["code"]
    if code is not None and file is not None:
        raise click.UsageError("-c and FILE cannot be used together")
    if code is not None:
        return _text("-c", os.fsencode(code)), Input()
    if file is None and sys.stdin.isatty():
        raise click.UsageError("--exec needs FILE, -c CODE, or - for standard input")
    if file in (None, "-"):
        return _text("standard input", sys.stdin.buffer.read()), None
    return _text(file, Path(file).read_bytes()), Input()


def _text(source: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ServiceError(f"{source}: line {line} is not UTF-8 text") from None


def _ensure_running(options: Mapping[str, Any]) -> None:
    """Start the runtime of --exec if it does not run, and say so. A note names start options that it runs without."""
    context = click.get_current_context()
    runtime_id = options["exec"]
    given = {name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if "id" in given and options["id"] != runtime_id:
        raise click.UsageError(f"--exec {runtime_id} and --id {options['id']} name different runtimes")
    home = Home.of(os.environ)
    record = registry.read(home, runtime_id)
    if record is None or not registry.may_be_running(home, record) or given - _OWN_OPTIONS:
        from mrmd_python.cli import start  # it takes time to import

        start.before_use({**options, "id": runtime_id, "wait": True})
