"""Faults and notes that several actions tell in the same words."""

import click

from mrmd_python.service.errors import ServiceError


def no_such_runtime(runtime_id: str) -> ServiceError:
    """Return what is said of an id that no runtime has."""
    return ServiceError(f"there is no runtime {runtime_id!r}; `mrmd-python --list` shows those there are")


def note(text: str) -> None:
    """Tell something by the way."""
    click.echo(f"mrmd-python: note: {text}", err=True)
