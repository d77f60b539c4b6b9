"""A script for any Python: prints, as JSON, the versions of its distributions and the values for PEP 508's markers.

It reads the metadata of packages, and imports none.
"""

import sys

if sys.path[0] == __file__.rpartition("/")[0]:
    del sys.path[0]  # the modules in this directory are not top-level ones

import json
import os
import platform
import re
from importlib import metadata


def main() -> None:
    """Print the versions and values."""
    distributions: "dict[str, str]" = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]  # None if its installation is damaged
        if name:
            # The name is normalized (PEP 503). An import finds the first distribution on sys.path.
            distributions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    json.dump({"distributions": distributions, "markers": _markers()}, sys.stdout)


def _markers() -> "dict[str, str]":
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": _implementation_version(),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def _implementation_version() -> str:
    version = sys.implementation.version
    suffix = "" if version.releaselevel == "final" else f"{version.releaselevel[0]}{version.serial}"
    return ".".join(map(str, version[:3])) + suffix


main()
