"""A notebook in JupyterLab, in a real browser: what a user does with a kernel."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.jupyter.server import JupyterServer
from tests.machine import MRMD, Machine, wait_until

pytestmark = pytest.mark.xdist_group("browser")
_SECONDS = 60.0
_CELLS = [
    "import pandas as pd\nframe = pd.DataFrame({'day': ['Mon', 'Tue', 'Wed'], 'loss': [0.9, 0.5, 0.3]})\nframe",
    "frame.plot(x='day', figsize=(4, 1.6), legend=False);",
    "",
    "import time\nprint('begun')\ntime.sleep(60)",
    "name = input('Name? ')\nprint('Hello', name)",
    "'frame' in globals()",
]


class _Lab:
    """The notebook in the browser. Cells are counted from 0."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self._browser = browser
        browser.set_window_size(1200, 1000)
        browser.get(url)
        self.until(lambda: self.find("#jupyterlab-splash") == [], "JupyterLab has started")
        self.until(lambda: len(self.find(".jp-Cell")) == len(_CELLS), "the notebook is shown")
        self.wait_for_idle()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, _SECONDS)

    def wait_for_idle(self) -> None:
        """Wait until the kernel is idle."""
        self.until(lambda: "mrmd-python | Idle" in self.text("#jp-main-statusbar"), "the kernel is idle")

    def find(self, selector: str) -> list[object]:
        return list(self._browser.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str) -> str:
        """Return the text of all matching elements, read in one script: the page may change between two calls."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText).join('|')"
        return str(self._browser.execute_script(script, selector))

    def output(self, cell: int) -> str:
        """Return the text of a cell's output."""
        return self.text(f".jp-Cell[data-windowed-list-index='{cell}'] .jp-Cell-outputArea")

    def select(self, cell: int) -> None:
        """Put the cursor into a cell."""
        self.click(f".jp-Cell[data-windowed-list-index='{cell}'] .cm-content")

    def run(self, cell: int) -> None:
        self.select(cell)
        self.chord(Keys.CONTROL, Keys.ENTER)

    def click(self, selector: str) -> None:
        self._browser.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, *keys: str) -> None:
        """Type into the focused element."""
        webdriver.ActionChains(self._browser).send_keys(*keys).perform()

    def chord(self, modifier: str, key: str) -> None:
        webdriver.ActionChains(self._browser).key_down(modifier).send_keys(key).key_up(modifier).perform()


@pytest.fixture
def lab(here: Machine, browser: webdriver.Chrome, free_port: int) -> Iterator[_Lab]:
    """JupyterLab with a notebook of these cells."""
    here.read(MRMD, "--install-kernel")
    kernelspec = {"name": "mrmd-python", "display_name": "mrmd-python", "language": "python"}
    cells = [nbformat.v4.new_code_cell(code) for code in _CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, Path(here.home, "work.ipynb"))
    # Or it asks whether to show news.
    settings = Path(here.home, ".jupyter/lab/user-settings/@jupyterlab/apputils-extension")
    settings.mkdir(parents=True)
    Path(settings, "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    server = JupyterServer(here, free_port)
    with subprocess.Popen(here.command(*server.command), stderr=subprocess.DEVNULL) as process:
        try:
            server.wait()
            yield _Lab(browser, f"{server.url}/lab/tree/work.ipynb")
        finally:
            browser.get("about:blank")
            process.kill()


def test_notebook_in_jupyterlab(lab: _Lab) -> None:
    lab.run(0)
    lab.until(lambda: "Wed" in lab.output(0), "the table is shown")
    lab.run(1)
    lab.until(lambda: len(lab.find(".jp-Cell .jp-RenderedImage img")) == 1, "the plot is shown")
    lab.select(2)
    lab.press("frame.d", Keys.TAB)
    lab.until(lambda: "describe" in lab.text(".jp-Completer"), "completions pop up")
    assert "method" in lab.text(".jp-Completer")
    lab.press(Keys.ESCAPE, Keys.BACKSPACE, "head(")
    lab.chord(Keys.SHIFT, Keys.TAB)
    lab.until(lambda: "Return the first" in lab.text(".jp-Tooltip"), "the tooltip is shown")
    lab.press(Keys.ESCAPE)
    lab.run(3)
    lab.until(lambda: "begun" in lab.output(3), "the code runs")
    lab.click("[data-jp-item-name='interrupt'] jp-button")
    lab.until(lambda: "KeyboardInterrupt" in lab.output(3), "the code is interrupted")
    lab.run(4)
    lab.until(lambda: "Name?" in lab.output(4), "a line is asked for")
    lab.press("Ada", Keys.ENTER)
    lab.until(lambda: "Hello Ada" in lab.output(4), "the answer has arrived")
    lab.run(5)
    lab.until(lambda: "True" in lab.output(5), "the variable is there")
    lab.click("[data-jp-item-name='restart'] jp-button")
    lab.until(lambda: lab.find(".jp-Dialog .jp-mod-accept") != [], "it asks whether to restart")
    lab.press(Keys.ENTER)
    lab.until(lambda: lab.find(".jp-Dialog") == [], "the dialog is closed")
    lab.wait_for_idle()
    lab.run(5)
    lab.until(lambda: "False" in lab.output(5), "the variable is gone after the restart")
