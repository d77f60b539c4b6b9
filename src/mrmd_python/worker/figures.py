"""Matplotlib and plotly draw into the session unless the person chose otherwise."""

import os
import sys
from importlib.abc import Loader
from types import ModuleType
from typing import Any

from . import import_hook

_MATPLOTLIB_CHOICE = "MPLBACKEND"
_PLOTLY_CHOICE = "PLOTLY_RENDERER"


def install() -> None:
    """Have figures drawn into the session once their library is imported."""
    import_hook.install("matplotlib", _load_matplotlib)
    import_hook.install("plotly.io._renderers", _load_plotly)


def _load_matplotlib(loader: Loader, module: ModuleType) -> None:
    if os.environ.get(_MATPLOTLIB_CHOICE):
        loader.exec_module(module)
        return
    # Matplotlib reads its default at its import. Only for that moment: a child process could not draw inline.
    os.environ[_MATPLOTLIB_CHOICE] = "module://matplotlib_inline.backend_inline"
    try:
        loader.exec_module(module)
    finally:
        os.environ.pop(_MATPLOTLIB_CHOICE, None)


def _load_plotly(loader: Loader, module: ModuleType) -> None:
    """Make a page of each figure. Plotly's own renderers for notebooks need nbformat and a page that has plotly.js."""
    loader.exec_module(module)
    renderers: Any = module

    class SessionRenderer(renderers.ExternalRenderer):  # type: ignore[misc]
        """Shows a figure as a page of its own, which loads plotly.js from its CDN."""

        def render(self, fig_dict: "dict[str, Any]") -> None:
            """Display the figure."""
            import plotly.io  # type: ignore[import-not-found,unused-ignore]
            from IPython.display import HTML, display

            display(HTML(plotly.io.to_html(fig_dict, include_plotlyjs="cdn", validate=False)))

    renderers.renderers["mrmd"] = SessionRenderer()
    if not os.environ.get(_PLOTLY_CHOICE):
        renderers.renderers.default = "mrmd"


def close_all() -> None:
    """Close all figures of matplotlib, if it is in use."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
