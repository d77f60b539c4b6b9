"""Finds out whether the user has an IPython profile, configuration or startup files. Few users do."""

import os
from glob import escape, iglob

from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS

_FILES = ("ipython_config.*", "ipython_kernel_config.*", "startup/*.py", "startup/*.ipy")


def exists(ipython_dir: str) -> bool:
    """Return whether there is any configuration or startup file: reading them needs slow imports."""
    directories = [os.path.join(ipython_dir, "profile_default"), *ENV_CONFIG_DIRS, *SYSTEM_CONFIG_DIRS]
    patterns = (os.path.join(escape(directory), files) for directory in directories for files in _FILES)
    return bool(os.environ.get("PYTHONSTARTUP")) or any(next(iglob(pattern), None) for pattern in patterns)
