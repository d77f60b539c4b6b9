"""``PYTHON .../run_pip.py ARGUMENTS``: runs pip. ``python -m pip`` would import files of the working directory."""

import sys

sys.path = [entry for entry in sys.path if entry != __file__.rpartition("/")[0]]

import importlib.util  # noqa: E402 - not from this directory either
import runpy  # noqa: E402

if importlib.util.find_spec("pip") is None:
    sys.exit(f"{sys.executable}: No module named pip")
runpy.run_module("pip", run_name="__main__", alter_sys=True)
