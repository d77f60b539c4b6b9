"""Starts the worker: ``PYTHON .../mrmd_python/worker`` in the user's interpreter.

This package is loaded as `_mrmd_worker`, without its parent: `import mrmd_python` in a cell must mean the venv's
mrmd_python, if it has one.

This file must parse on every Python, so that old ones get a clear error.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _main():  # type: () -> None
    if sys.version_info < (3, 9):  # noqa: UP036
        sys.exit("Python %d.%d is too old: mrmd-python needs Python 3.9 or newer" % sys.version_info[:2])  # noqa: UP031
    # Python put this directory first. The working directory will replace it, as in any notebook, but only after the
    # worker has imported its modules: the working directory may contain a json.py.
    sys.path[:1] = []
    import builtins
    import gc
    from importlib import import_module, util
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    gc.disable()  # what the worker imports is no garbage; Worker.run() enables it again
    original_builtins = vars(builtins).copy()

    class Loader(SourceFileLoader):
        # A cell may replace `print` or `open`; the worker's modules keep the originals.
        def exec_module(self, module):  # type: ignore[no-untyped-def]
            module.__builtins__ = original_builtins
            super().exec_module(module)

    for directory in (_HERE, os.path.join(_HERE, "introspect")):
        sys.path_importer_cache[directory] = FileFinder(directory, (Loader, SOURCE_SUFFIXES))
    spec = util.spec_from_file_location(
        "_mrmd_worker", os.path.join(_HERE, "__init__.py"), submodule_search_locations=[_HERE]
    )
    assert spec is not None
    assert spec.loader is not None
    package = util.module_from_spec(spec)
    sys.modules["_mrmd_worker"] = package
    spec.loader.exec_module(package)
    import_module("_mrmd_worker.lazy_modules").install()
    import_module("_mrmd_worker.main").main()


_main()
