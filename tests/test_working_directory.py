"""Files in the working directory run only when a cell imports them."""

import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.interpreters import make_venv, oldest_and_newest
from tests.machine import Machine

# Modules that IPython and its dependencies import or try to import.
_LIBRARIES = (
    "IPython asttokens backcall colorama curio decorator docrepr exceptiongroup executing ipykernel ipyparallel "
    "ipython_pygments_lexers gi jedi matplotlib matplotlib_inline nbformat numpy pandas parso pexpect pickleshare pip "
    "prompt_toolkit psutil ptyprocess pure_eval pygments sphinx stack_data testpath traitlets trio "
    "typing_extensions wcwidth"
)
_CELLS = (
    "1 + 1",
    "1 / 0",
    "def f(:",
    "print(undefined)",
    "raise ExceptionGroup('g', [ValueError()])",
    "%timeit -n1 -r1 pass",
    "%%time\npass",
    "%%capture\nprint(1)",
    "%prun pass",
    "%who",
    "%precision 3",
    "%history",
    "%xmode Verbose",
    "1 / 0",
    "%pinfo len",
    "len??",
    "!true",
    "%ls",
    "%debug",
    "breakpoint()",
    "%pip --version",
    "import asyncio; await asyncio.sleep(0)",
    "from IPython.display import HTML, Image, Markdown, display; display(HTML('<b>'), Markdown('x'))",
    "import http.server, logging.config, unittest, multiprocessing, concurrent.futures, mimetypes, tempfile",
    "mimetypes.guess_type('x.png'), tempfile.gettempdir()",
)
_IMPORTED_BY_CELLS = "asyncio concurrent http logging mimetypes multiprocessing tempfile unittest"


def _set_traps(directory: Path) -> None:
    """Write modules and IPython configuration files that record their name when they run."""
    trap = f"with open({str(directory / 'ran')!r}, 'a') as file: file.write(__name__ + '\\n')\n"
    (directory / ".pdbrc").write_text(f"!open({str(directory / 'ran')!r}, 'a').write('pdbrc\\n')\n")
    (directory / "profile_default" / "startup").mkdir(parents=True)
    for name in (
        "ipython_config",
        "ipython_kernel_config",
        "profile_default/ipython_config",
        "profile_default/startup/x",
    ):
        (directory / f"{name}.py").write_text(trap)
    for name in {*sys.stdlib_module_names, *_LIBRARIES.split()} - {*_IMPORTED_BY_CELLS.split()}:
        (directory / f"{name}.py").write_text(trap)


def _ran(directory: Path) -> list[str]:
    return (directory / "ran").read_text().split() if (directory / "ran").exists() else []


@pytest.fixture(params=["own IPython", *oldest_and_newest()])
def client(request: pytest.FixtureRequest, here: Machine, tmp_path: Path) -> Client:
    """A runtime with the IPython of the venv or, if the venv has none, of the server."""
    (tmp_path / "project").mkdir()
    _set_traps(tmp_path / "project")
    options = []
    if request.param != "own IPython":
        make_venv(request.param, tmp_path / "venv", *(["ipython"] if request.param in ("3.9", "3.10") else []))
        options = ["--venv", str(tmp_path / "venv")]
    return here.start("hostile", "--cwd", str(tmp_path / "project"), *options)


def test_file_runs_only_when_a_cell_imports_it(client: Client, tmp_path: Path) -> None:
    for cell in _CELLS:
        client.execute(cell)
    for text in ("import os; os.pa", "'a'.sp", "from json import ", "%ti", "x = {'a': 1}; x['"):
        client.post("/complete", {"code": text, "cursor": len(text)})
    for path in ("/inspect", "/hover"):
        client.post(path, {"code": "json", "cursor": 2, "detail": 2})
    client.post("/variables", {})
    client.post("/format", {"code": "x=1"})
    client.post("/is_complete", {"code": "for x in y:"})
    client.post("/reset")
    assert client.value("1 + 1") == "2"
    assert _ran(tmp_path / "project") == []


def test_cell_imports_files_from_the_working_directory(client: Client, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "helpers.py").write_text("import sched\n")
    (project / "extension.py").write_text("def load_ipython_extension(shell): print('loaded')\n")
    client.execute("import helpers, wave")
    assert _ran(project) == ["sched", "wave"], "imports by a file and by the cell must use the working directory"
    assert client.execute("%load_ext extension")["stdout"] == "loaded\n"
    assert client.execute("import importlib; importlib.import_module('this')")["success"]
    assert client.execute("import pickle; pickle.loads(b'cnetrc\\n__name__\\n.')")["result"] == "'netrc'"
    assert _ran(project)[2:] == ["this", "netrc"]
