"""The names that the kernel gives to things: the runtime of a notebook, and the kernelspec of a runtime."""

import hashlib
import os
import re
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._@+-]+")
# What Jupyter accepts as the name of a kernelspec, in lower case: file systems may ignore case.
_NOT_IN_KERNEL_NAMES = re.compile(r"[^a-z0-9._-]")
_LONGEST_STEM = 100


def runtime_of_notebook(path: str) -> str:
    """Return the id of a notebook's runtime: its name, and a hash of its path, which other notebooks do not have."""
    path = os.path.realpath(path)
    stem = _NOT_IN_IDS.sub("-", Path(path).stem)[:_LONGEST_STEM].strip("-.")
    return f"{stem or 'notebook'}-{_hash(path)}"


def new_temporary_runtime() -> str:
    """Return the id of a runtime for a program that does not say which notebook it runs."""
    return f"jupyter-{secrets.token_hex(4)}"


def kernel_name(runtime_id: str | None) -> str:
    """Return the name of the kernelspec of a runtime or, without an id, of the one for all notebooks."""
    if runtime_id is None:
        return "mrmd-python"
    name = _NOT_IN_KERNEL_NAMES.sub("-", runtime_id.lower())
    return f"mrmd-python-{name}" if name == runtime_id else f"mrmd-python-{name}-{_hash(runtime_id)}"


def notebook_of_session(name: str) -> str | None:
    """Return the notebook that JPY_SESSION_NAME is the path of; None for a console, which has a name but no file.

    jupyter_server sets it for each kernel: https://jupyter-server.readthedocs.io/en/latest/api/jupyter_server.services.sessions.html
    """
    return name if os.path.isfile(name) else None


def notebook_of_cell(cell_id: str | None) -> str | None:
    """Return the notebook that a cell of VS Code belongs to: its id is a URI that begins with the notebook's path.

    VS Code gives the path nowhere else before it runs code:
    https://github.com/microsoft/vscode-jupyter/blob/3d24702/src/kernels/execution/cellExecution.ts#L412
    """
    uri = urlsplit(cell_id or "")
    path = unquote(uri.path)
    return path if uri.scheme == "vscode-notebook-cell" and path.endswith(".ipynb") and os.path.isabs(path) else None


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
