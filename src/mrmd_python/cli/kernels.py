"""The options that install and remove kernels for Jupyter."""

from pathlib import Path

import click

from mrmd_python.clients.jupyter import kernelspec


def run(action: str, runtime_id: str | None, prefix: Path | None) -> None:
    """Install or remove a kernel, and print its name and directory."""
    match action:
        case "install_kernel":
            directory = kernelspec.install(runtime_id, prefix)
            click.echo(f"Installed the kernel {directory.name!r} in {directory}")
        case "remove_kernel":
            directory = kernelspec.remove(runtime_id, prefix)
            click.echo(f"Removed the kernel {directory.name!r} from {directory}")
