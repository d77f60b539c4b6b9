"""Programs that run notebooks: their notebooks have the outputs that ipykernel gives."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.client import Json
from tests.jupyter.front_end import Kernels
from tests.machine import BIN

pytestmark = pytest.mark.xdist_group("jupyter")

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_AROUND = re.compile(r" +\d+ ")
_CELL = re.compile(r"(/tmp/ipykernel_\d+/)?\d+\.py|<ipython-input-[^>]+>")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_CELLS = [
    "import pandas as pd; import matplotlib.pyplot as plt; from IPython.display import *",
    "frame = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})\nframe",
    "print('before')\ndisplay(frame.describe())\nprint('after')",
    "plt.plot([1, 2, 3])",
    "plt.bar(['a', 'b'], [1, 2]); plt.show()\nfigure, axes = plt.subplots(1, 2)\n'value'",
    "import sys\nfor n in range(3):\n    print('line', n)\n    print('warning', n, file=sys.stderr)",
    "handle = display('first', display_id='counter')\nfor n in range(3):\n    handle.update(f'step {n}')\nhandle",
    "for n in range(4):\n    clear_output(wait=True)\n    print('round', n)",
    "print('gone')\nclear_output()\nprint('kept')",
    "from tqdm import tqdm\nfor _ in tqdm(range(5), desc='Bar', bar_format='{desc} {n_fmt}/{total_fmt}'):\n    pass",
    "display(HTML('<b>bold</b>'), Markdown('*text*'), {'x': 1})",
    "display({'application/a+json': {'x': [1]}, 'text/plain': 't'}, raw=True, metadata={'m': 1})",
    "def divide(a, b):\n    return a / b\n\nprint('soon')\ndivide(1, 0)",
    "1 +",
    "%%html\n<i>cell</i>",
    "%%capture captured\nprint('hidden')",
    "captured.stdout",
    "!echo from a shell",
    "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'",
    "None",
    "_",
    "import warnings\nwarnings.warn('careful')",
]


def test_nbclient_and_papermill_get_the_outputs_of_ipykernel(kernels: Kernels, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in _CELLS])
    for cell in notebook.cells:
        cell.metadata["tags"] = ["raises-exception"]  # papermill and nbclient go on after an error
    nbformat.write(notebook, tmp_path / "in.ipynb")
    name, before = kernels.install(), kernels.machine.states()

    def executed(program: str, *arguments: str) -> list[list[Any]]:
        kernels.machine.run(str(BIN / program), *arguments)  # papermill fails at the end if a cell has failed
        cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        (tmp_path / "out.ipynb").unlink()
        return [[cell.execution_count, *_comparable(cell.outputs)] for cell in cells if cell.cell_type == "code"]

    files = [str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    nbclient = [files[0], "--output", files[1]]
    theirs = executed("jupyter-execute", *nbclient, "--kernel_name=python3")
    ours = executed("jupyter-execute", *nbclient, f"--kernel_name={name}")
    assert ours == theirs
    assert executed("papermill", *files, "--kernel", name) == theirs
    assert kernels.machine.states() == before, "the runtimes of these programs must end with them"


def _comparable(outputs: list[Json]) -> list[Json]:
    """Return outputs without what may differ.

    - ipykernel sends text at once where code flushes a stream; here, adjacent texts of a stream are one.
    - A traceback is a list of frames there and of lines here, and shows other lines around those that failed.
    - A cell is in the file ipykernel_PID/NUMBER.py there, and <ipython-input-NUMBER-...> here.
    - `!command` ends its lines with a carriage return there.
    """
    found: list[Json] = []
    for output in outputs:
        last = found[-1] if found else {}
        if output["output_type"] == "error":
            lines = _ANSI.sub("", "\n".join(output["traceback"])).rstrip().split("\n")
            output["traceback"] = [line for line in lines if not _AROUND.match(line)]
            output["evalue"] = _CELL.sub("CELL", output["evalue"])
        if output["output_type"] == "stream":
            output["text"] = _CELL.sub("CELL", output["text"].replace("\r\n", "\n"))
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            found.append(output)
        text = output.get("data", {}).get("text/plain")
        if text is not None:
            output["data"]["text/plain"] = _ADDRESS.sub("0x", text)
    return found
