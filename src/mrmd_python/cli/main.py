"""The command line: declares the options, runs one action, and turns errors into one line and an exit status."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from mrmd_python import __version__
from mrmd_python.cli import options as option
from mrmd_python.manager import BACKENDS
from mrmd_python.runtime import ServiceError

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_ACTIONS = ("list", "info", "logs", "restart", "enable", "disable", "kill", "kill_all", "render", "completion")


def _about_one(name: str, *, help: str) -> Callable[[Any], Any]:  # noqa: A002 - as click calls it
    """Return the option that names the runtime which an action is about."""
    return click.option(name, metavar="ID", callback=option.runtime_id, shell_complete=option.known_ids, help=help)


@click.command(
    cls=option.Command,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": False if "NO_COLOR" in os.environ else None,
    },
)
@option.group(
    "Start a runtime",
    click.option(
        "--id",
        metavar="ID",
        callback=option.runtime_id,
        default="default",
        show_default=True,
        shell_complete=option.known_ids,
        help="The runtime to start.",
    ),
    click.option("--venv", metavar="PATH", help="The venv whose Python runs the code; found by itself if not named."),
    click.option("--cwd", metavar="DIR", help="The folder that code starts in.  [default: this one]"),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port to listen on.  [default: any]"
    ),
    click.option(
        "--host",
        default="localhost",
        show_default=True,
        metavar="ADDRESS",
        callback=option.address,
        help="The address to listen on; with another than loopback, clients must show a token.",
    ),
    click.option("--assets-dir", metavar="DIR", help="Where pictures are kept.  [default: .mrmd-assets in the cwd]"),
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        help="What keeps the runtime.  [default: the best there is]",
    ),
    click.option(
        "--env",
        metavar="NAME[=VALUE]",
        callback=option.variable,
        multiple=True,
        help="A variable of its environment. May be repeated.",
    ),
    click.option(
        "--env-file",
        "env_files",
        metavar="FILE",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Variables, one a line.",
    ),
    click.option(
        "--gpus", metavar="LIST", callback=option.gpus, help="The GPUs that code sees: 0,1 or UUIDs, or none."
    ),
    click.option(
        "--idle-timeout",
        metavar="SPAN",
        callback=option.span,
        default="0",
        help="End it after so long without execution and client: 2h.",
    ),
    click.option(
        "--wait/--no-wait", default=True, help="Return when it answers, or at once.  [default: when it answers]"
    ),
    click.option(
        "--timeout",
        metavar="SPAN",
        callback=option.span,
        default="90s",
        help="How long it may take until it answers.  [default: 90s]",
    ),
    click.option("--foreground", is_flag=True, help="Serve in this terminal, until Ctrl-C."),
    click.option(
        "--managed",
        is_flag=True,
        help="With --foreground: keep out of the registry, for a program that owns the process.",
    ),
    click.option(
        "--render",
        is_flag=False,
        flag_value="auto",
        type=click.Choice(["auto", *BACKENDS]),
        metavar="[BACKEND]",
        help="Print the unit, agent or command that would be started, and do nothing else.",
    ),
)
@option.group(
    "Guard it",
    click.option("--token", is_flag=True, help="Have clients show a token: the one in MRMD_TOKEN, or else a new one."),
    click.option(
        "--allow-host",
        "allow_hosts",
        metavar="NAME",
        callback=option.host,
        multiple=True,
        help="A further name that it is reached under. May be repeated.",
    ),
    click.option(
        "--allow-origin",
        "allow_origins",
        metavar="ORIGIN",
        callback=option.origin,
        multiple=True,
        help="A further origin whose pages may use it: https://editor.example.",
    ),
    click.option(
        "--allow-user",
        "allow_users",
        metavar="NAME|UID",
        callback=option.user,
        multiple=True,
        help="A further local user whose programs may use it.",
    ),
)
@option.group(
    "Limit it (systemd)",
    click.option(
        "--memory-max",
        metavar="SIZE",
        callback=option.memory,
        help="Memory, beyond which the kernel ends processes.",
    ),
    click.option(
        "--memory-high", metavar="SIZE", callback=option.memory, help="Memory, beyond which it is slowed down."
    ),
    click.option(
        "--cpu-quota",
        metavar="PERCENT",
        callback=option.cpu_quota,
        help="Processor time: 200% is two processors.",
    ),
    click.option("--tasks-max", metavar="N", callback=option.tasks, help="Processes and threads."),
    click.option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Scheduling priority, with any backend."),
    click.option(
        "--property",
        "properties",
        metavar="KEY=VALUE",
        callback=option.unit_property,
        multiple=True,
        help="Any other property of its unit. May be repeated.",
    ),
)
@option.group(
    "Look after runtimes",
    click.option("--list", is_flag=True, help="List them."),
    _about_one("--info", help="Tell all about one."),
    _about_one("--logs", help="Show the log of one."),
    click.option("-f", "--follow", is_flag=True, help="With --logs: go on with what is logged from now on."),
    click.option(
        "-n",
        "--lines",
        type=click.IntRange(0),
        default=100,
        metavar="N",
        help="With --logs: how many lines.  [default: 100]",
    ),
    _about_one("--restart", help="Restart one as it was started."),
    _about_one("--enable", help="Start one at login, and at boot for a user who lingers."),
    _about_one("--disable", help="Undo --enable."),
    _about_one("--kill", help="End one and every process it started."),
    click.option("--kill-all", is_flag=True, help="End all runtimes."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
@option.group(
    "Others",
    click.option(
        "--completion",
        type=click.Choice(["bash", "zsh", "fish"]),
        help="Print what a shell needs to complete these options.",
    ),
    click.version_option(__version__, prog_name="mrmd-python"),
)
@option.group(
    "What only backends use, to run a server",
    click.option("--python", hidden=True),
    click.option("--venv-source", hidden=True),
    click.option("--ready-fd", type=int, hidden=True),
    click.option("--claim-fd", type=int, hidden=True),
)
def command(**options: Any) -> None:
    """Start a live Python runtime for notebook editors, or look after those that run.

    A runtime is a user service that outlives this command. Code runs in it over HTTP, or on the page that a browser
    shows at its port; --kill ends it and every process that code started.
    """
    if sys.platform == "win32":
        raise ServiceError("Windows is not supported; use it under WSL")
    actions = [name for name in _ACTIONS if options[name] not in (None, False)]
    if len(actions) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in actions)
        raise click.UsageError(f"{names} exclude each other")
    if options["managed"] and not options["foreground"]:
        raise click.UsageError("--managed needs --foreground")
    # Each action imports what it needs: --help, --version and --list should not wait for the rest.
    match actions:
        case []:
            from mrmd_python.cli import start

            start.in_foreground(options) if options["foreground"] else start.as_service(options)
        case ["render"]:
            from mrmd_python.cli import start

            start.render(options)
        case ["completion"]:
            _print_completion(options["completion"])
        case [action]:
            from mrmd_python.cli import manage

            manage.run(action, options)


def _print_completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None, "click supports all three shells"
    click.echo(completion(command, {}, "mrmd-python", "_MRMD_PYTHON_COMPLETE").source())


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
    """Run the command and exit: 0 if all is well, 2 for a usage error, 1 for any other, which is a line on stderr."""
    _open_standard_streams()
    _let_ctrl_c(signal.default_int_handler)
    status = 1
    try:
        status = command.main(prog_name="mrmd-python", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        click.echo("mrmd-python: interrupted", err=True)
        status = _INTERRUPTED
    except ServiceError as error:
        click.echo(f"mrmd-python: {error}", err=True)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"mrmd-python: {where}{error.strerror or error}", err=True)
    _let_ctrl_c(signal.SIG_DFL)  # nothing is left to interrupt
    sys.exit(status)


def _let_ctrl_c(do: Any) -> None:
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as shells do for background jobs
        signal.signal(signal.SIGINT, do)
