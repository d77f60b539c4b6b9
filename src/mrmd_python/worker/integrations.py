"""Sets up libraries with rich output: matplotlib and plotly show figures in the client, pandas prints as in Jupyter."""

import errno
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from . import import_hook

# The matplotlib backends that work in a session besides the inline one. The others need a window or a web page.
FILE_BACKENDS = ("agg", "pdf", "pgf", "ps", "svg")
_INLINE_BACKEND = "matplotlib_inline.backend_inline"
_NOTEBOOK_RENDERERS = (
    "azure", "cocalc", "colab", "databricks", "iframe", "iframe_connected", "jupyterlab", "kaggle", "notebook",
    "notebook_connected", "nteract", "plotly_mimetype", "vscode",
)  # fmt: skip


def install() -> None:
    """Set up each library when it is imported."""
    import_hook.install(
        {
            "matplotlib": _set_up_matplotlib,
            "pdb": _set_up_pdb,
            "pandas.core.config_init": _set_up_pandas,
            "plotly.io._renderers": _set_up_plotly,
        }
    )


def _set_up_matplotlib(module: ModuleType) -> None:
    """Choose the inline backend. Not by MPLBACKEND, which child processes would inherit."""
    from IPython.core import pylabtools

    # Matplotlib before 3.9 imports this dict, which new versions of IPython do not have.
    vars(pylabtools).setdefault("backend2gui", {})
    matplotlib: Any = module
    if os.environ.get("MPLBACKEND"):
        return
    configured = matplotlib.rcParamsOrig["backend"]  # a string only if a matplotlibrc names a backend
    if isinstance(configured, str) and configured.lower() in FILE_BACKENDS:
        return
    matplotlib.rcParams["backend"] = f"module://{_INLINE_BACKEND}"
    # The inline backend configures the matplotlib that it was imported with, so it must be reimported after a reload.
    # Until then, figures are shown at the end of a cell only if matplotlib is interactive.
    if sys.modules.pop(_INLINE_BACKEND, None) is not None:
        matplotlib.interactive(True)


def _set_up_pdb(module: ModuleType) -> None:
    """Have pdb read the user's ``~/.pdbrc``, but not the one in the working directory, whose commands it would run."""

    def open_outside(file: Any, *args: Any, **kwargs: Any) -> Any:
        if file == ".pdbrc":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
        return open(file, *args, **kwargs)

    vars(module)["open"] = open_outside


def _set_up_pandas(module: ModuleType) -> None:
    """Print up to 20 columns, as in Jupyter. Elsewhere pandas fits its output to the width of a terminal."""
    from pandas._config import config  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if config.get_option("display.max_columns") == 0:
        config.set_option("display.max_columns", 20)


def _set_up_plotly(module: ModuleType) -> None:
    """Show each figure as a complete page. Plotly's own notebook renderers need a page that has loaded plotly.js."""
    renderers: Any = module

    class PageRenderer(renderers.ColabRenderer):  # type: ignore[misc]
        """Shows a figure as a complete page, which loads plotly.js from its CDN."""

        def to_mimebundle(self, fig_dict: "dict[str, Any]") -> "dict[str, Any]":
            """Return the page in the forms that IPython gives to HTML."""
            import plotly.io  # type: ignore[import-not-found,unused-ignore]
            from IPython.display import HTML

            names = ("config", "auto_play", "post_script", "animation_opts")
            options = {name: getattr(self, name) for name in names}
            page = HTML(plotly.io.to_html(fig_dict, include_plotlyjs="cdn", validate=False, **options))
            return {"text/html": page.data, "text/plain": repr(page)}

    for name in ("mrmd", *_NOTEBOOK_RENDERERS):
        renderers.renderers[name] = PageRenderer()
    renderers.renderers.default = os.environ.get("PLOTLY_RENDERER") or "mrmd"
    if renderers.nbformat is None:
        # Plotly shows figures only if it finds nbformat, but uses nothing except its version.
        renderers.nbformat = SimpleNamespace(__version__="5.0")


def close_all_figures() -> None:
    """Close all matplotlib figures, if matplotlib is in use."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
