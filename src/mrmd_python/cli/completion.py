"""--completion: the script by which a shell asks this command for what could come next."""

import click
from click.shell_completion import get_completion_class


def print_script(command: click.Command, shell: str) -> None:
    """Print the script for ``bash``, ``zsh`` or ``fish``."""
    completion = get_completion_class(shell)
    assert completion is not None, "click knows the three"
    click.echo(completion(command, {}, "mrmd-python", "_MRMD_PYTHON_COMPLETE").source())
