"""Runs a script as on macOS: its platform is darwin, and libproc and sysctl(3) are stand-ins.

    python [OPTIONS] as_macos.py LIBRARY PYTHON SCRIPT [ARG...]

LIBRARY is made from libproc.c. PYTHON is the program that ran this; what the script starts with it runs the same way.
"""

import ctypes
import os
import runpy
import sys
from types import ModuleType

if __name__ == "__main__":
    library, python, script, *arguments = sys.argv[1:]
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL).set_directory(os.fsencode(os.path.dirname(library)))
    scproxy = ModuleType("_scproxy")  # urllib.request imports it on macOS
    vars(scproxy).update(_get_proxy_settings=dict, _get_proxies=dict)
    sys.modules["_scproxy"] = scproxy
    sys.platform = "darwin"
    sys.executable = python
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
