"""Matplotlib figures are shown with any version and in any venv, unless the user chose another backend."""

import shutil
import sysconfig
from pathlib import Path

import pytest

from tests.client import Json
from tests.interpreters import make_venv
from tests.machine import Machine

_PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"


def _venv(here: Machine, *packages: str) -> str:
    venv = here.home / "venv"
    make_venv(sysconfig.get_python_version(), venv, *packages)
    return str(venv)


def _images(result: Json) -> list[str]:
    assert result["success"], result["error"]
    return [asset["mimeType"] for asset in result["assets"]]


@pytest.mark.parametrize(
    "packages",
    [["matplotlib==3.8.*"], ["matplotlib==3.9.*", "ipython"], ["matplotlib==3.10.*"], ["matplotlib", "ipython"]],
    ids=" ".join,
)
def test_figures_are_shown_with_any_matplotlib(here: Machine, packages: list[str]) -> None:
    client = here.start("a", "--venv", _venv(here, *packages))
    assert _images(client.execute(_PLOT)) == ["image/png"]
    assert _images(client.execute(f"{_PLOT}\nplt.show()")) == ["image/png"]
    child = "import os; print(os.environ.get('MPLBACKEND'))"
    assert client.execute(f"import sys\n!{{sys.executable}} -c {child!r}")["stdout"] == "None\n"
    assert _images(client.execute("import matplotlib; matplotlib.use('agg'); plt.plot([1, 2]);")) == []
    assert _images(client.execute("plt.close('all')\n%matplotlib inline\nplt.plot([1, 2]);")) == ["image/png"]


def test_libraries_that_use_matplotlib_show_figures(here: Machine) -> None:
    client = here.start("a", "--venv", _venv(here, "colorcet", "matplotlib", "pandas", "seaborn"))
    assert client.execute("import colorcet")["success"]  # it looks for matplotlib without importing it
    assert _images(client.execute("import pandas; pandas.Series([1, 2]).plot();")) == ["image/png"]
    assert _images(client.execute("import seaborn; seaborn.lineplot(x=[1, 2], y=[1, 2]);")) == ["image/png"]


@pytest.mark.parametrize(("backend", "images"), [("Agg", []), ("svg", []), ("TkAgg", ["image/png"])])
def test_matplotlibrc_backend_is_used_unless_it_needs_a_window(here: Machine, backend: str, images: list[str]) -> None:
    (here.home / "matplotlibrc").write_text(f"backend: {backend}\n")
    client = here.start("a")
    assert _images(client.execute(_PLOT)) == images
    if not images:
        assert client.value("plt.get_backend()") == repr(backend)


def test_matplotlib_can_be_imported_without_the_inline_backend(here: Machine) -> None:
    venv = _venv(here, "matplotlib", "ipython")
    (metadata,) = Path(venv).glob("lib/python*/site-packages/matplotlib_inline-*.dist-info")
    shutil.rmtree(metadata)
    client = here.start("a", "--venv", venv)
    result = client.execute("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.savefig('plot.png')")
    assert result["success"], result["error"]
    assert "mrmd-python cannot set up matplotlib" in result["stderr"]
    assert (here.home / "plot.png").exists()
