"""What the options in main.py are made of: checks of values, completion of ids, and headings in the help."""

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mrmd_python.runtime.validate import parse_host, parse_id, parse_origin, parse_user

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}

Callback = Callable[[click.Context, click.Parameter, Any], Any]


class Command(click.Command):
    """A command whose help shows its options below the headings given by `group`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options. click calls this."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                rows.setdefault(getattr(parameter, "heading", "Other"), []).append(row)
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)


def group(heading: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that gives a command these options, below one heading of its help."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
            function.__click_params__[-1].heading = heading
        return function

    return decorate


def _checked(check: Callable[[str], Any]) -> Callback:
    """Return a callback that calls `check` for each value and turns its ValueError into a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(map(check, value))
            return check(value) if isinstance(value, str) else value
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return callback


def _matching(pattern: str, form: str) -> Callback:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {form}")
        return text

    return _checked(check)


def _id(text: str) -> str:
    # The template unit passes the id as %i, in which systemd escapes some characters (systemd.unit(5)).
    return parse_id(re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text))


def _span(text: str) -> int:
    parts = re.findall(r"(\d+) *([a-z]*) *", text)
    if not re.fullmatch(r"(\d+ *[a-z]* *)+", text) or any(unit not in _SECONDS for _, unit in parts):
        raise ValueError(f"{text!r} is not a duration: use a form like 30s, 10m, 2h or 1d")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _address(text: str) -> str:
    parse_host(text)
    return text.strip("[]")


def _memory(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[KMGTPE]?|\d+(\.\d+)?%|INFINITY", text.upper()):
        raise ValueError(f"{text!r} is not a size: use bytes, a form like 512M or 8G, or 50%")
    return "infinity" if text.upper() == "INFINITY" else text.upper()


runtime_id = _checked(_id)
# Empty if it is not given.
optional_runtime_id = _checked(lambda text: _id(text) if text else text)
# Seconds, written as in systemd.time(7): 90, 30s, 1h 30m.
span = _checked(_span)
address = _checked(_address)
host = _checked(parse_host)
origin = _checked(parse_origin)
user = _checked(parse_user)
memory = _checked(_memory)
cpu_quota = _matching(r"\d+(\.\d+)?%", "a percentage of one processor: use a form like 50% or 200%")
tasks = _matching(r"\d+|\d+(\.\d+)?%|infinity", "a number of processes and threads")
gpus = _matching(r"none|[A-Za-z0-9-]+(,[A-Za-z0-9-]+)*", "a list of GPUs: use a form like 0,1, or none")
# A backslash at the end would join it with the unit's next line (systemd.syntax(7)).
unit_property = _matching(r"[A-Za-z][A-Za-z0-9-]*=([^\x00-\x1f]*[^\x00-\x1f\\])?", "a property: use KEY=VALUE")
variable = _matching(
    r"(?s)[A-Za-z_][A-Za-z0-9_]*(=.*)?", "a variable: use NAME=VALUE, or NAME for the value that it has here"
)


def known_ids(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the runtimes whose id starts with `incomplete`, for shell completion."""
    from click.shell_completion import CompletionItem

    from mrmd_python.manager import status
    from mrmd_python.runtime.files import Home

    found = status.all_statuses(Home.of(os.environ))
    return [CompletionItem(each.id, help=each.state) for each in found if each.id.startswith(incomplete)]


def known_operands(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Return the executions whose id starts with `incomplete`, newest first, for --attach, and else files."""
    from click.shell_completion import CompletionItem

    if ctx.params.get("attach") is None:
        return [CompletionItem(incomplete, type="file")]
    from mrmd_python.cli.use import executions

    found = executions(ctx.params["attach"])
    return [
        CompletionItem(each["execId"], help=each["state"])
        for each in reversed(found)
        if each["execId"].startswith(incomplete)
    ]
