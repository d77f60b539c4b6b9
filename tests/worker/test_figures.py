"""Figures of matplotlib and plotly are shown, however their library was imported."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.client import Client, Json

Session = Callable[[str], Json]
_PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
_BAR = "import plotly.graph_objects as go; figure = go.Figure(go.Bar(y=[1, 2]))"


def _files(result: Json) -> list[str]:
    """Return the type of each asset of a result, which must be a success."""
    assert result["success"], result["error"]
    return [asset["assetType"] for asset in result["assets"]]


@pytest.fixture
def new_session(runtime: Client) -> Iterator[Callable[[Mapping[str, str]], Session]]:
    """A function that starts a session, with environment variables, in which nothing has been imported yet."""

    def start(env: Mapping[str, str]) -> Session:
        runtime.post("/sessions", {"id": "figures", "environment": {"env": env}})
        return lambda code: runtime.execute(code, session="figures")

    yield start
    runtime.request("DELETE", "/sessions/figures")


@pytest.fixture
def session(new_session: Callable[[Mapping[str, str]], Session]) -> Session:
    return new_session({})


def test_figures_are_shown_after_find_spec(session: Session) -> None:
    for name in ("matplotlib", "matplotlib.pyplot", "plotly", "plotly.io._renderers"):
        code = f"import importlib.util\nassert importlib.util.find_spec({name!r})"
        assert session(code)["success"]
    assert _files(session(_PLOT)) == ["image"]
    assert _files(session(f"{_BAR}; figure")) == ["html"]


def test_figures_are_shown_when_a_thread_imports_the_library(session: Session) -> None:
    threads = """
import threading
def work():
    import matplotlib.pyplot, plotly.io
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert session(threads)["success"]
    assert _files(session(_PLOT)) == ["image"]
    assert _files(session(f"{_BAR}; figure")) == ["html"]


def test_figures_are_shown_after_a_reload(session: Session) -> None:
    assert _files(session(_PLOT)) == ["image"]
    assert session("import importlib, matplotlib, sys; importlib.reload(matplotlib)")["success"]
    assert _files(session(_PLOT)) == ["image"]
    assert session("importlib.reload(plt)")["success"]
    assert _files(session(_PLOT)) == ["image"]
    unload = (
        "for name in [name for name in sys.modules if name.partition('.')[0] == 'matplotlib']: del sys.modules[name]"
    )
    assert session(unload)["success"]
    assert _files(session(_PLOT)) == ["image"]
    assert _files(session(f"{_PLOT}\nplt.show()")) == ["image"]
    assert _files(session(f"{_BAR}; figure")) == ["html"]
    assert session("importlib.reload(sys.modules['plotly.io._renderers']).renderers.default")["result"] == "'mrmd'"


def test_library_keeps_its_loader(session: Session) -> None:
    code = """
import importlib.machinery, importlib.resources, inspect, matplotlib, pkgutil, plotly.io._renderers as renderers
for module in matplotlib, renderers:
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert module.__spec__.loader is module.__loader__
    assert module.__loader__.get_filename(module.__name__) == module.__file__
    assert module.__loader__.get_source(module.__name__) == inspect.getsource(module)
assert importlib.resources.files('matplotlib').joinpath('mpl-data', 'matplotlibrc').is_file()
assert pkgutil.get_data('matplotlib', 'mpl-data/matplotlibrc')
"""
    result = session(code)
    assert result["success"], result["error"]


def test_module_in_working_directory_shadows_library(session: Session) -> None:
    code = """
import os, pathlib, tempfile
os.chdir(tempfile.mkdtemp())
pathlib.Path('matplotlib.py').write_text('value = 42')
import matplotlib; matplotlib.value
"""
    assert session(code)["result"] == "42"


def test_rejected_matplotlib_backend_keeps_the_current_one(session: Session) -> None:
    names = ["notebook", "nbagg", "widget", "ipympl", "webagg", "tk", "qt", "gtk3", "wx", "osx", "no_such_backend"]
    for old, files in (("inline", ["image"]), ("agg", [])):
        assert session(f"%matplotlib {old}")["success"]
        backend = session("import matplotlib; matplotlib.get_backend()")["result"]
        for name in [*names, "module://no_such_module"]:
            error = session(f"%matplotlib {name}")["error"]
            assert (error["type"], name in error["message"]) == ("UsageError", True)
            assert session("matplotlib.get_backend()")["result"] == backend, name
            assert _files(session(_PLOT)) == files, name
        session("plt.close('all')")
    assert session("%pylab notebook")["error"]["type"] == "UsageError"
    assert session("%matplotlib inline")["success"]
    assert _files(session(_PLOT)) == ["image"]


@pytest.mark.parametrize(
    "show",
    [
        "from plotly.offline import init_notebook_mode, iplot; init_notebook_mode(); iplot(figure)",
        "from plotly.offline import init_notebook_mode, iplot; init_notebook_mode(connected=True); iplot(figure)",
        "pio.renderers.default = 'notebook'; figure.show()",
        "pio.renderers.default = 'plotly_mimetype+notebook_connected'; display(figure)",
    ],
)
def test_plotly_figures_are_shown_in_notebook_mode_without_nbformat(client: Client, show: str) -> None:
    assert client.value("import importlib.util; importlib.util.find_spec('nbformat')") == "None"
    result = client.execute(f"{_BAR}\nimport plotly.io as pio\n{show}")
    assert _files(result) == ["html"]
    assert result["displayData"] == []
    assert client.execute("pio.renderers.default = 'mrmd'")["success"]


def test_every_notebook_renderer_of_plotly_shows_a_figure(client: Client) -> None:
    client.execute(_BAR)
    for name in ("notebook", "notebook_connected", "jupyterlab", "vscode", "colab", "kaggle", "databricks", "iframe"):
        assert _files(client.execute(f"figure.show(renderer={name!r})")) == ["html"], name


def test_plotly_show_options_reach_the_html(client: Client) -> None:
    (asset,) = client.execute(f"{_BAR}; figure.show(config={{'displaylogo': False}})")["assets"]
    page = client.fetch("GET", asset["url"]).body.decode()
    assert "<html>" in page
    assert '"displaylogo": false' in page
    assert "https://cdn.plot.ly/plotly" in page


def test_users_plotly_renderer_and_matplotlib_backend_are_kept(
    new_session: Callable[[Mapping[str, str]], Session], runtime: Client
) -> None:
    session = new_session({"PLOTLY_RENDERER": "json", "MPLBACKEND": "agg"})
    shown = session(f"{_BAR}; figure")
    assert [list(display["data"]) for display in shown["displayData"]] == [["application/json"]]
    assert _files(session(_PLOT)) == []
    runtime.request("DELETE", "/sessions/figures")
    session = new_session({"PLOTLY_RENDERER": "notebook"})
    assert _files(session(f"{_BAR}; figure")) == ["html"]
    assert _files(session(f"import matplotlib; matplotlib.use('agg')\n{_PLOT}")) == []
