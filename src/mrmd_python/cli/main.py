"""The command line: options to one action of the service room, and its faults to one line and an exit status."""

import os
import sys
from typing import NoReturn

import click

from mrmd_python import __version__
from mrmd_python.service.errors import ServiceError
from mrmd_python.service.runtime_id import parse_id

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _runtime_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else parse_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _loopback(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value not in _LOOPBACK:
        raise click.BadParameter(
            f"{value!r} is not loopback, and whoever reaches the port runs code: use one of {', '.join(_LOOPBACK)}",
            ctx,
            param,
        )
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--id",
    "runtime_id",
    callback=_runtime_id,
    metavar="ID",
    default="default",
    show_default=True,
    help="The runtime to start.",
)
@click.option("--venv", metavar="PATH", help="The venv whose Python runs the code; found by itself if not named.")
@click.option("--cwd", metavar="DIR", help="The folder that code starts in.  [default: this one]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port to listen on.  [default: a free one]")
@click.option("--host", default="localhost", show_default=True, callback=_loopback, help="The address to listen on.")
@click.option("--assets-dir", metavar="DIR", help="Where pictures are kept.  [default: .mrmd-assets in the cwd]")
@click.option(
    "--backend",
    type=click.Choice(["systemd", "launchd", "fork"]),
    help="What keeps the runtime.  [default: the best there is]",
)
@click.option("--foreground", is_flag=True, help="Serve in this terminal, until Ctrl-C.")
@click.option(
    "--managed", is_flag=True, help="With --foreground: keep out of the registry, for a program that owns the process."
)
@click.option("--list", "action_list", is_flag=True, help="List runtimes.")
@click.option("--info", callback=_runtime_id, metavar="ID", help="Tell all about a runtime.")
@click.option("--kill", callback=_runtime_id, metavar="ID", help="End a runtime and every process it started.")
@click.option("--kill-all", is_flag=True, help="End all runtimes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(__version__, prog_name="mrmd-python")
def command(
    runtime_id: str,
    venv: str | None,
    cwd: str | None,
    port: int,
    host: str,
    assets_dir: str | None,
    backend: str | None,
    foreground: bool,
    managed: bool,
    action_list: bool,
    info: str | None,
    kill: str | None,
    kill_all: bool,
    as_json: bool,
) -> None:
    """Start a live Python runtime for notebook editors, or look after those that run.

    A runtime is a user service that outlives this command. Code runs in it over HTTP; --kill ends it and every process
    that code started.
    """
    if sum((action_list, info is not None, kill is not None, kill_all)) > 1:
        raise click.UsageError("--list, --info, --kill and --kill-all exclude each other")
    if managed and not foreground:
        raise click.UsageError("--managed needs --foreground")
    if sys.platform == "win32":
        raise ServiceError("Windows is not supported; use it under WSL")
    # Each action imports what it needs: --help, --version and --list should not wait for the rest.
    if action_list or info is not None:
        from mrmd_python.cli import show

        if info is not None:
            show.info(info, as_json=as_json)
        else:
            show.list_all(as_json=as_json)
    elif kill is not None or kill_all:
        from mrmd_python.cli import kill as killing

        killing.kill_all(as_json=as_json) if kill is None else killing.kill(kill, as_json=as_json)
    else:
        from mrmd_python.cli import start as starting

        spec = starting.spec(
            runtime_id, venv=venv, cwd=cwd, host=host, port=port, assets_dir=assets_dir, managed=managed
        )
        if foreground:
            starting.in_foreground(spec)
        starting.as_service(spec, backend, as_json=as_json)


def _open_standard_streams() -> None:
    """Put /dev/null where the caller has closed 0, 1 or 2, or the next files opened would take their place."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - for the life of the process


def main() -> NoReturn:
    """Run the command; a fault that was foreseen is a line on stderr and exit status 1."""
    _open_standard_streams()
    try:
        command.main(prog_name="mrmd-python", standalone_mode=True)
    except ServiceError as error:
        click.echo(f"mrmd-python: {error}", err=True)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"mrmd-python: {where}{error.strerror or error}", err=True)
    sys.exit(1)
