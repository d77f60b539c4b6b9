"""Finds out whether the user has an IPython profile, configuration or startup files. Few users do."""

import os
from glob import escape, iglob
from typing import Iterator

from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS

_FILES = ("ipython_config.*", "ipython_kernel_config.*", "startup/*.py", "startup/*.ipy")


def exists(ipython_dir: str) -> bool:
    """Return whether there is any configuration or startup file: reading them needs slow imports."""
    return bool(os.environ.get("PYTHONSTARTUP")) or next(_files(ipython_dir), None) is not None


def sources(ipython_dir: str) -> "list[str]":
    """Return the directories that may have such files, and the files."""
    directories = _directories(ipython_dir)
    return [*directories, *(os.path.join(each, "startup") for each in directories), *_files(ipython_dir)]


def _files(ipython_dir: str) -> "Iterator[str]":
    for directory in _directories(ipython_dir):
        for names in _FILES:
            yield from iglob(os.path.join(escape(directory), names))


def _directories(ipython_dir: str) -> "list[str]":
    return [os.path.join(ipython_dir, "profile_default"), *ENV_CONFIG_DIRS, *SYSTEM_CONFIG_DIRS]
