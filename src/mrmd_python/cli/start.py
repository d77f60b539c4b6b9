"""Starts a runtime: as a service, or in this process; or prints what would be started."""

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from mrmd_python.cli import output
from mrmd_python.manager import BACKENDS, FOREGROUND, backends, manager
from mrmd_python.manager.manager import Started
from mrmd_python.manager.serving import marker_for_server, reporting_failure
from mrmd_python.runtime import ServiceError, environment
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.marker import VARIABLE as MARKER
from mrmd_python.runtime.printable import printable
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec
from mrmd_python.runtime.validate import is_loopback
from mrmd_python.runtime.venv import Venv, notes_on_unused

_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def as_service(options: Mapping[str, Any]) -> None:
    """Start a runtime that outlives this command, and print its URL."""
    spec = _spec(options)
    started = _start(options, spec)
    record = started.record
    if options["as_json"]:
        output.print_json(output.record_as_json(spec.id, record) | {"alreadyRunning": started.already_running})
        return
    if record is None:
        click.echo(f"Runtime {spec.id!r} is starting; `mrmd-python --id {spec.id}` waits for it and prints its URL.")
        return
    click.echo(f"Runtime {record.id!r} {'is already running' if started.already_running else 'started'}:")
    for name, value in (
        ("URL", record.url),
        ("PID", record.pid),
        ("venv", record.venv),
        ("cwd", record.cwd),
        ("log", record.log),
    ):
        click.echo(f"  {name + ':':<6}{printable(str(value))}")
    if record.token_file is not None:
        click.echo(f"  token: {printable(record.token_file)}")
        click.echo(
            f'Clients must send it: curl -H "Authorization: Bearer $(cat {printable(quote(record.token_file))})" ...'
        )
    click.echo(f"End it with: mrmd-python --kill {record.id}")


def before_use(options: Mapping[str, Any]) -> None:
    """Start a runtime that is about to be used, and print a line on that, unless it is already running."""
    spec = _spec(options)
    if not _start(options, spec).already_running:
        click.echo(f"mrmd-python: started {spec.id!r}; end it with: mrmd-python --kill {spec.id}", err=True)


def _start(options: Mapping[str, Any], spec: RuntimeSpec) -> Started:
    home, variables = Home.of(os.environ), _variables(options)
    with output.spinner(f"Starting {spec.id!r}") as show:
        started = manager.start(home, spec, os.environ, variables, wait=options["wait"], on_progress=show)
    if started.note is not None:
        output.note(started.note)
    if started.already_running and started.record is not None:
        _note_unused_options(home, spec, variables, started.record)
    return started


def _note_unused_options(home: Home, spec: RuntimeSpec, variables: Mapping[str, str], running: Record) -> None:
    """Print a note on the options of this command that a running runtime was not started with."""
    context = click.get_current_context()
    given = {
        each.name: each.opts[-1]
        for each in context.command.params
        if each.name and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    }
    wanted, found = spec.as_json(), running.spec | ({"port": running.port} if spec.port else {})
    unused = [given[name] for name in wanted.keys() & given.keys() - {"timeout"} if wanted[name] != found.get(name)]
    if variables.items() - environment.read(home.environment(spec.id)).items():
        unused += [given[name] for name in ("env", "env_files", "gpus") if name in given]
    if unused:
        output.note(
            f"{spec.id!r} is already running without {', '.join(sorted(unused))} as given here; "
            f"to change that, end it first: mrmd-python --kill {spec.id}"
        )


def in_foreground(options: Mapping[str, Any]) -> NoReturn:
    """Run the server in this process, as the user, another program or an edited unit asks for."""
    home = Home.of(os.environ)
    backend = backends.load(options["backend"] or FOREGROUND)
    service = backend.service(home, options["id"])
    by_backend = options["backend"] is not None
    with reporting_failure(home, options["id"], service, None) if by_backend else nullcontext():
        spec = backend.prepare(_spec(options))
        _run_server(home, spec, _variables(options))


def render(options: Mapping[str, Any]) -> None:
    """Print the file or command from which a runtime would be started; ``auto`` is this platform's service manager."""
    name = options["render"]
    if name == "auto":
        native = (backend for backend in backends.all_backends() if backend.platform == sys.platform)
        name = next(native, backends.load(BACKENDS[0])).name
    backend = backends.load(name)
    spec = backend.prepare(_spec(options))
    given = _variables(options)
    backend.check_variables(given)
    variables = {**environment.capture(os.environ), **given}
    click.echo(backend.render(Home.of(os.environ), spec, variables), nl=False)


def _run_server(home: Home, spec: RuntimeSpec, variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by the server, as `start` runs it, with the marker in its environment."""
    environ = {**os.environ, **variables, MARKER: marker_for_server(home, spec)}
    # Until the server sets its handlers and unblocks these signals, Python would print a traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    command = spec.server_command()
    if os.getpid() == 1:
        from mrmd_python.server import init

        # Not init itself, the parent of all, has the marker: what has it is ended with the runtime.
        command = [command[0], "-I", "-S", init.__file__, f"{MARKER}={environ.pop(MARKER)}", *command]
    os.execve(command[0], command, environ)


def _spec(options: Mapping[str, Any]) -> RuntimeSpec:
    """Return the spec for the options, and print a note on each environment that the user may have meant."""
    needs_token = options["token"] or not is_loopback(options["host"])
    spec = RuntimeSpec.from_options({**options, "token": needs_token}, os.environ)
    if options["python"] is None:
        chosen = Venv(spec.venv, spec.python, spec.venv_source)
        for note in notes_on_unused(Path(spec.cwd), chosen, os.environ):
            output.note(note)
    return spec


def _variables(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables set by --env-file, --env and --gpus; later ones in this order take precedence."""
    files: Iterable[Path] = options["env_files"]
    found: dict[str, str] = {}
    for file in files:
        found |= _read(file)
    for setting in options["env"]:
        name, given, value = setting.partition("=")
        if not given and name not in os.environ:
            raise ServiceError(f"--env {name}: it is not set here; use --env {name}=VALUE")
        found[name] = value if given else os.environ[name]
    if options["gpus"] is not None:
        found |= dict.fromkeys(_GPU_VARIABLES, "" if options["gpus"] == "none" else options["gpus"])
    environment.validate(found)
    return found


def _read(file: Path) -> dict[str, str]:
    from dotenv.parser import parse_stream

    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise ServiceError(f"--env-file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ServiceError(f"--env-file {file}: it is not UTF-8 text") from None
    found = {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            line = binding.original.line
            raise ServiceError(f"--env-file {file}: line {line} is not NAME=VALUE: {binding.original.string.strip()}")
        if binding.key is not None:
            found[binding.key] = binding.value or ""
    return found
