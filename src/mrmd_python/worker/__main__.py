"""The worker's start: ``PYTHON .../mrmd_python/worker`` in the user's interpreter.

This package is loaded under a name of its own, without its parent: the venv may hold another mrmd_python or none, and
`import mrmd_python` in a cell must mean the venv's.

What stands here is read by any Python there is, so as to say which ones will do.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _main():  # type: () -> None
    if sys.version_info < (3, 9):  # noqa: UP036
        sys.exit("Python %d.%d is too old: code runs in Python 3.9 or newer" % sys.version_info[:2])  # noqa: UP031
    # This folder stood first. The working directory will, as in any notebook, but not while this program imports its
    # own needs: there may lie a json.py.
    sys.path[:1] = []
    import builtins
    from importlib import import_module, util
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    original_builtins = vars(builtins).copy()

    class Loader(SourceFileLoader):
        # A cell may replace `print` or `open`. The worker's own modules go on using the original ones.
        def exec_module(self, module):  # type: ignore[no-untyped-def]
            module.__builtins__ = original_builtins
            super().exec_module(module)

    for folder in (_HERE, os.path.join(_HERE, "completion")):
        sys.path_importer_cache[folder] = FileFinder(folder, (Loader, SOURCE_SUFFIXES))
    spec = util.spec_from_file_location(
        "_mrmd_worker", os.path.join(_HERE, "__init__.py"), submodule_search_locations=[_HERE]
    )
    assert spec is not None
    assert spec.loader is not None
    package = util.module_from_spec(spec)
    sys.modules["_mrmd_worker"] = package
    spec.loader.exec_module(package)
    import_module("_mrmd_worker.main").main()


_main()
