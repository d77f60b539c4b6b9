"""Where code is to run, as a person names it: the folder and the Python, made absolute, checked and completed."""

import os
from pathlib import Path

from mrmd_python.service.errors import ServiceError
from mrmd_python.service.venv import Venv, detect, named


def absolute(typed: str) -> Path:
    """Return the absolute path of one that was typed, which may begin with ``~``.

    Raises:
        ServiceError: it is below the home of nobody.
    """
    try:
        return Path(typed).expanduser().absolute()
    except RuntimeError as error:  # ~name of nobody
        raise ServiceError(f"{typed}: {error}") from None


def folder(cwd: str | None) -> Path:
    """Return the folder that code starts in: `cwd` or, for None, the current one.

    Raises:
        ServiceError: it is not there.
    """
    found = absolute(cwd if cwd is not None else _current_folder())
    if not found.is_dir():
        raise ServiceError(f"the cwd {found} {'is not a folder' if found.exists() else 'does not exist'}")
    return found


def interpreter(venv: str | None) -> Venv:
    """Return the Python that runs the code: that of `venv` or, for None, the one that is meant if none is named.

    Raises:
        ServiceError: there is none.
    """
    return named(absolute(venv)) if venv is not None else detect(os.environ)


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ServiceError(
            "the current folder does not exist any more; cd to another one, or name one with --cwd"
        ) from None
