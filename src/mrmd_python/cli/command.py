"""The command line: declares the options, and runs the action."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from mrmd_python import __version__
from mrmd_python.cli import options as option
from mrmd_python.manager import BACKENDS
from mrmd_python.runtime import ServiceError

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_USE = ("exec", "attach", "console", "mcp")
_MANAGE = ("list", "info", "logs", "restart", "enable", "disable", "kill", "kill_all")
_KERNELS = ("install_kernel", "remove_kernel")
_ACTIONS = (*_USE, *_MANAGE, *_KERNELS, "render", "completion")


def _action(name: str, *, help: str) -> Callable[[Any], Any]:  # noqa: A002 - the name in click
    """Return the option of an action on one runtime."""
    return click.option(name, metavar="ID", callback=option.runtime_id, shell_complete=option.known_ids, help=help)


def _optional_action(name: str, *, help: str) -> Callable[[Any], Any]:  # noqa: A002 - the name in click
    """Return the option of an action on one runtime, or on all or none; its value is empty if no ID is given."""
    return click.option(
        name,
        is_flag=False,
        flag_value="",
        metavar="[ID]",
        callback=option.optional_runtime_id,
        shell_complete=option.known_ids,
        help=help,
    )


@click.command(
    cls=option.Command,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": False if "NO_COLOR" in os.environ else None,
    },
)
@option.group(
    "Start",
    click.option(
        "--id",
        metavar="ID",
        callback=option.runtime_id,
        default="default",
        show_default=True,
        shell_complete=option.known_ids,
        help="Name of the runtime.",
    ),
    click.option(
        "--venv",
        metavar="PATH",
        help="Virtual environment to run code in.  [default: the one mrmd-python is in, or the active one]",
    ),
    click.option("--cwd", metavar="DIR", help="Working directory of the code.  [default: the current one]"),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        metavar="PORT",
        help="Port to listen on.  [default: a free one]",
    ),
    click.option(
        "--host",
        default="localhost",
        show_default=True,
        metavar="ADDRESS",
        callback=option.address,
        help="Address to listen on. Anything but loopback requires a token.",
    ),
    click.option(
        "--assets-dir",
        metavar="DIR",
        help="Directory for images and other output files.  [default: .mrmd-assets in --cwd]",
    ),
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        help="Service manager to run it under.  [default: the first of these that works, but never slurm]",
    ),
    click.option(
        "--env",
        metavar="NAME[=VALUE]",
        callback=option.variable,
        multiple=True,
        help="Set an environment variable, or pass on the value it has here. Repeatable.",
    ),
    click.option(
        "--env-file",
        "env_files",
        metavar="FILE",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Read environment variables from a file of NAME=VALUE lines. Repeatable.",
    ),
    click.option(
        "--gpus", metavar="LIST", callback=option.gpus, help="GPUs that code can see: indexes (0,1), UUIDs, or none."
    ),
    click.option(
        "--idle-timeout",
        metavar="SPAN",
        callback=option.span,
        default="0",
        help="Stop after this long with nothing running and no client connected (e.g. 2h).",
    ),
    click.option(
        "--wait/--no-wait",
        default=True,
        help="Wait until the runtime is ready, or return at once.  [default: wait]",
    ),
    click.option(
        "--timeout",
        metavar="SPAN",
        callback=option.span,
        default="90s",
        help="Give up if it is not ready after this long.  [default: 90s]",
    ),
    click.option(
        "--stop-timeout",
        metavar="SPAN",
        callback=option.span,
        default="5s",
        help="Kill processes that have not ended this long after SIGTERM.  [default: 5s]",
    ),
    click.option("--foreground", is_flag=True, help="Run in this terminal until Ctrl-C."),
    click.option(
        "--managed",
        is_flag=True,
        help="With --foreground: do not register it. For programs that run their own runtime.",
    ),
    click.option(
        "--render",
        is_flag=False,
        flag_value="auto",
        type=click.Choice(["auto", *BACKENDS]),
        metavar="[BACKEND]",
        help="Print the unit, agent, command or batch script that would be started, without starting it.",
    ),
)
@option.group(
    "Access",
    click.option("--token", is_flag=True, help="Require a token from clients: the one in MRMD_TOKEN, or a new one."),
    click.option(
        "--allow-host",
        "allow_hosts",
        metavar="NAME",
        callback=option.host,
        multiple=True,
        help="Accept requests for this host name too. Repeatable.",
    ),
    click.option(
        "--allow-origin",
        "allow_origins",
        metavar="ORIGIN",
        callback=option.origin,
        multiple=True,
        help="Accept requests from pages of this origin too (e.g. https://editor.example). Repeatable.",
    ),
    click.option(
        "--allow-user",
        "allow_users",
        metavar="NAME|UID",
        callback=option.user,
        multiple=True,
        help="Accept connections of this local user too. Repeatable.",
    ),
)
@option.group(
    "Resource limits (systemd, slurm)",
    click.option(
        "--memory-max",
        metavar="SIZE",
        callback=option.memory,
        help="Memory limit; the kernel kills processes above it (e.g. 8G).",
    ),
    click.option(
        "--memory-high",
        metavar="SIZE",
        callback=option.memory,
        help="Memory above which processes are slowed down (e.g. 6G).",
    ),
    click.option(
        "--cpu-quota",
        metavar="PERCENT",
        callback=option.cpu_quota,
        help="CPU time limit; 200% is two full CPUs.",
    ),
    click.option("--tasks-max", metavar="N", callback=option.tasks, help="Limit on processes and threads."),
    click.option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Scheduling priority, with any backend."),
    click.option(
        "--property",
        "properties",
        metavar="KEY=VALUE",
        callback=option.unit_property,
        multiple=True,
        help="Set any other property of the unit (e.g. IOWeight=50), or option of sbatch (gres=gpu:1). Repeatable.",
    ),
)
@option.group(
    "Use",
    _action("--exec", help="Run code in a runtime, started if needed: FILE, -c CODE, or - for standard input."),
    click.option("-c", "code", metavar="CODE", help="With --exec: the code."),
    click.option("--detach", is_flag=True, help="With --exec: print the id of the execution, and let it run."),
    _action("--attach", help="Show an execution from its beginning: the one that runs, the last, or EXECUTION."),
    _action("--console", help="Open a console in a runtime that runs; Ctrl-D leaves it, and what runs goes on."),
    _optional_action("--mcp", help="Serve an agent on stdin and stdout (MCP): tools for this runtime, or for all."),
    click.option("--read-only", is_flag=True, help="With --mcp: only the tools that change nothing."),
    click.option("--session", metavar="NAME", default="default", help="The session to use.  [default: default]"),
)
@option.group(
    "Manage",
    click.option("--list", is_flag=True, help="List all runtimes."),
    _action("--info", help="Show details of a runtime."),
    _action("--logs", help="Show the log of a runtime."),
    click.option("-f", "--follow", is_flag=True, help="With --logs: follow new output."),
    click.option(
        "-n",
        "--lines",
        type=click.IntRange(0),
        default=100,
        metavar="N",
        help="With --logs: number of lines.  [default: 100]",
    ),
    _action("--restart", help="Restart a runtime with the options it was started with."),
    _action("--enable", help="Start a runtime at login, or at boot if lingering is on (loginctl enable-linger)."),
    _action("--disable", help="Do not start a runtime at login."),
    _action("--kill", help="End a runtime and every process it started."),
    click.option("--kill-all", is_flag=True, help="End all runtimes."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
@option.group(
    "Jupyter",
    _optional_action(
        "--install-kernel",
        help="Add a kernel to JupyterLab, VS Code and others: this runtime, or a runtime for each notebook.",
    ),
    _optional_action("--remove-kernel", help="Remove such a kernel. Runtimes are left alone."),
    click.option(
        "--prefix",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="With these: the environment to add it to or remove it from.  [default: your user]",
    ),
)
@option.group(
    "Other",
    click.option(
        "--completion",
        type=click.Choice(["bash", "zsh", "fish"]),
        help="Print a completion script for a shell.",
    ),
    click.version_option(__version__, prog_name="mrmd-python"),
)
@option.group(
    "For backends",
    click.option("--python", hidden=True),
    click.option("--venv-source", hidden=True),
    click.option("--umask", hidden=True),
    click.option("--until-eof", is_flag=True, hidden=True),
)
@click.argument("operand", metavar="[FILE|EXECUTION]", required=False, shell_complete=option.known_operands)
def command(**options: Any) -> None:
    """Start and manage Python runtimes that keep running.

    A runtime is a service of your user. Its variables and output stay when the editor, terminal or login goes away.
    Editors and agents use it over HTTP, you can open its URL in a browser, and --kill ends it with every process it
    started.

    \b
    Examples:
      mrmd-python --id train --gpus 0    start a runtime, or print where it runs
      mrmd-python --list                 list all runtimes
      mrmd-python --kill train           end it and free its memory
    """
    if sys.platform == "win32":
        raise ServiceError("Windows is not supported; use it under WSL")
    # Each action imports what it needs: --help, --version and --list should not wait for the rest.
    match _chosen_action(options):
        case None:
            from mrmd_python.cli import start

            start.in_foreground(options) if options["foreground"] else start.as_service(options)
        case "render":
            from mrmd_python.cli import start

            start.render(options)
        case "completion":
            _print_completion(options["completion"])
        case action if action in _USE:
            from mrmd_python.cli import use

            use.run(action, options)
        case action if action in _KERNELS:
            from mrmd_python.cli import kernels

            kernels.run(action, options[action] or None, options["prefix"])
        case action:
            from mrmd_python.cli import manage

            manage.run(action, options)


def _chosen_action(options: Mapping[str, Any]) -> str | None:
    """Return the one action besides starting a runtime, if there is one; refuse options that do not belong to it."""
    actions = [name for name in _ACTIONS if options[name] not in (None, False)]
    if len(actions) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in actions)
        raise click.UsageError(f"{names} cannot be used together")
    action = actions[0] if actions else None
    if options["managed"] and not options["foreground"]:
        raise click.UsageError("--managed needs --foreground")
    if options["operand"] is not None and action not in ("exec", "attach"):
        raise click.UsageError(f"Got unexpected extra argument ({options['operand']})")
    for name, needs, given in (
        ("-c", "exec", options["code"] is not None),
        ("--detach", "exec", options["detach"]),
        ("--read-only", "mcp", options["read_only"]),
    ):
        if given and action != needs:
            raise click.UsageError(f"{name} needs --{needs}")
    if options["prefix"] is not None and action not in _KERNELS:
        raise click.UsageError("--prefix needs --install-kernel or --remove-kernel")
    return action


def _print_completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None, "click supports all three shells"
    click.echo(completion(command, {}, "mrmd-python", "_MRMD_PYTHON_COMPLETE").source())


def run() -> int:
    """Run the command on the arguments of this process, and return its exit status."""
    try:
        return command.main(prog_name="mrmd-python", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("mrmd-python: interrupted", err=True)
        return _INTERRUPTED
