"""The options of a command under headings in its help."""

from collections.abc import Callable
from typing import Any

import click


def group(heading: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that gives a command these options, under one heading of its help."""

    def give(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
            function.__click_params__[-1].heading = heading
        return function

    return give


class Command(click.Command):
    """A command that prints its options under the headings that `group` has given them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the options, as click has its commands do it."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                rows.setdefault(getattr(parameter, "heading", "Others"), []).append(row)
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)
