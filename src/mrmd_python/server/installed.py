"""Run as a script by any Python: prints as JSON its distributions' versions and what PEP 508's markers see.

No package is imported; what is printed comes from their metadata.
"""

import sys

if sys.path[0] == __file__.rpartition("/")[0]:
    del sys.path[0]  # the modules beside this one are no top-level ones

import json
import os
import platform
import re
from importlib import metadata


def main() -> None:
    """Print what there is."""
    distributions: "dict[str, str]" = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]  # None if its installation is damaged
        if name:
            # PEP 503; the first one on sys.path is what an import finds
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
