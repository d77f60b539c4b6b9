"""The worker's start: ``PYTHON .../mrmd_python/worker`` in the user's interpreter.

This package is loaded under a name of its own, without its parent: the venv may hold another mrmd_python or none, and
`import mrmd_python` in a cell must mean the venv's.
"""

import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load() -> None:
    spec = importlib.util.spec_from_file_location(
        "_mrmd_worker", os.path.join(_HERE, "__init__.py"), submodule_search_locations=[_HERE]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_mrmd_worker"] = package
    spec.loader.exec_module(package)


# This folder stood first. The working directory will, as in any notebook, but not while this program imports its own
# needs: there may lie a json.py.
sys.path[:1] = []
_load()
importlib.import_module("_mrmd_worker.main").main()
