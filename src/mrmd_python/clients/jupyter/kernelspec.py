"""Installs and removes kernelspecs, the files that tell front ends how to start the kernel.

https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
"""

import json
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mrmd_python.clients.jupyter.names import kernel_name
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.venv import own_python


def install(runtime_id: str | None, prefix: Path | None) -> Path:
    """Write the kernelspec of a runtime or, without an id, the one that gives each notebook a runtime of its own.

    Args:
        runtime_id: the runtime.
        prefix: the environment to install it for; for the user if None.

    Returns:
        Its directory.

    Raises:
        ServiceError: the extra is not installed.
        OSError: it cannot be written.
    """
    directory = _directory(runtime_id, prefix)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kernel.json").write_text(json.dumps(_content(runtime_id), indent=2) + "\n")
    return directory


def remove(runtime_id: str | None, prefix: Path | None) -> Path:
    """Remove a kernelspec that `install` has written, and return where it was.

    Raises:
        ServiceError: there is none.
        OSError: it cannot be removed.
    """
    directory = _directory(runtime_id, prefix)
    if not directory.is_dir():
        raise ServiceError(f"there is no kernel {directory.name!r} in {directory.parent}")
    shutil.rmtree(directory)
    return directory


def _directory(runtime_id: str | None, prefix: Path | None) -> Path:
    if find_spec("ipykernel") is None:
        raise ServiceError("the kernel needs ipykernel: pip install 'mrmd-python[jupyter]'")
    from jupyter_core.paths import jupyter_data_dir

    data = Path(jupyter_data_dir()) if prefix is None else prefix / "share" / "jupyter"
    return data / "kernels" / kernel_name(runtime_id)


def _content(runtime_id: str | None) -> dict[str, Any]:
    options = [] if runtime_id is None else ["--id", runtime_id]
    # ipykernel from 7.4 on can encrypt its sockets, and warns if front ends do not know that.
    can_encrypt = hasattr(import_module("ipykernel.kernelapp").IPKernelApp, "curve_secretkey")
    return {
        "argv": [own_python(), "-m", "mrmd_python.clients.jupyter", "-f", "{connection_file}", *options],
        "display_name": "mrmd-python" if runtime_id is None else f"mrmd-python: {runtime_id}",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False, "supported_encryption": ["curve"] if can_encrypt else []},
    }
