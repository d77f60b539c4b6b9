"""What the options take: each value is checked as it was typed, and the fault says what it must be."""

import os
import re
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from mrmd_python.service.admission import parse_host, parse_origin, parse_user
from mrmd_python.service.runtime_id import parse_id

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}

Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _checked(check: Callable[[str], Any]) -> Callback:
    """Return what has click call `check` for each value; its ValueError is a usage error."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(map(check, value))
            return check(value) if isinstance(value, str) else value
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return callback


def _of_form(pattern: str, form: str) -> Callback:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {form}")
        return text

    return _checked(check)


def _span(text: str) -> int:
    parts = re.findall(r"(\d+) *([a-z]*) *", text)
    if not re.fullmatch(r"(\d+ *[a-z]* *)+", text) or any(unit not in _SECONDS for _, unit in parts):
        raise ValueError(f"{text!r} is no span of time: write it as 30s, 10m, 2h or 1d")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def _address(text: str) -> str:
    parse_host(text)
    return text.strip("[]")


def _memory(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[KMGTPE]?|\d+(\.\d+)?%|INFINITY", text.upper()):
        raise ValueError(f"{text!r} is not a size: write it in bytes, as 512M or 8G, or as 50%")
    return "infinity" if text.upper() == "INFINITY" else text.upper()


runtime_id = _checked(parse_id)
span = _checked(_span)
"""Seconds, written as in systemd.time(7): ``90``, ``30s``, ``1h 30m``."""
address = _checked(_address)
host = _checked(parse_host)
origin = _checked(parse_origin)
user = _checked(parse_user)
memory = _checked(_memory)
processor_time = _of_form(r"\d+(\.\d+)?%", "a percentage of one processor: write it as 50% or 200%")
tasks = _of_form(r"\d+|\d+(\.\d+)?%|infinity", "a number of processes and threads")
gpus = _of_form(r"none|[A-Za-z0-9-]+(,[A-Za-z0-9-]+)*", "a list of GPUs: write it as 0,1, or none")
# A backslash at its end would join it with the unit's next line (systemd.syntax(7)).
unit_property = _of_form(r"[A-Za-z][A-Za-z0-9]*=([^\x00-\x1f]*[^\x00-\x1f\\])?", "a property: write it as KEY=VALUE")
variable = _of_form(
    r"(?s)[A-Za-z_][A-Za-z0-9_]*(=.*)?", "a variable: write it as NAME=VALUE, or as NAME for the value it has here"
)


def known_ids(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the runtimes whose id begins like `incomplete`, for the completion of a shell."""
    from mrmd_python.service import status
    from mrmd_python.service.home import Home

    found = status.all_statuses(Home.of(os.environ))
    return [CompletionItem(each.id, help=each.state) for each in found if each.id.startswith(incomplete)]
