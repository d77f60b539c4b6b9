"""The web page of a runtime, in a real browser: what a user can do, and what its contents cannot."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.client import Client
from tests.machine import Machine, wait_until

pytestmark = pytest.mark.xdist_group("browser")
_SECONDS = 60.0
_PAYLOAD = "<img src=data:, onerror=document.title='owned'><script>document.title='owned'</script>"
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"/>'
_IMAGE_WIDTHS = "return [...document.images].map((each) => each.naturalWidth)"


class _Page:
    """The page of the runtime on `port`."""

    def __init__(self, browser: webdriver.Chrome, port: int) -> None:
        self.browser = browser
        self.port = port
        self.load()

    def load(self) -> None:
        """Open or reload the page."""
        self.browser.get(f"http://localhost:{self.port}/")

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of all matching elements, read in one script: the page may change between two calls."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent).join('|')"
        return str(self.browser.execute_script(script, selector))

    def shows(self, selector: str, text: str) -> None:
        """Wait until `text` is in the elements that match `selector`."""
        self.until(lambda: text in self.text(selector), f"{selector} shows {text!r}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, _SECONDS)

    def press(self, *keys: str) -> None:
        """Type into the focused element."""
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def chord(self, modifier: str, key: str) -> None:
        webdriver.ActionChains(self.browser).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def click(self, selector: str) -> None:
        """Click the first matching element, in one script: lists are redrawn as they change."""
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def run(self, code: str) -> None:
        """Paste code into the code field and run it."""
        field = self.find("#code")
        self.browser.execute_script("arguments[0].value = arguments[1]; arguments[0].focus()", field, code)
        self.chord(Keys.SHIFT, Keys.ENTER)

    def run_to_end(self, code: str, verdict: str = "took") -> None:
        """Run code and wait until its verdict contains `verdict`."""
        count = len(self.verdicts)
        self.run(code)
        self.until(
            lambda: len(self.verdicts) > count and verdict in self.verdicts[-1], f"{code!r} ends with {verdict!r}"
        )

    def frame_text(self, selector: str) -> str:
        """Wait for an element in the last frame; return its text."""
        self.until(lambda: bool(self.browser.find_elements(By.TAG_NAME, "iframe")), "there is a frame")
        self.browser.switch_to.frame(self.browser.find_elements(By.TAG_NAME, "iframe")[-1])
        try:
            self.until(lambda: bool(self.text(selector)), f"the frame shows {selector}")
            return self.text(selector)
        finally:
            self.browser.switch_to.default_content()

    @property
    def verdicts(self) -> list[str]:
        return self.text("article > .verdict").split("|") if self.text("article > .verdict") else []

    @property
    def code(self) -> str:
        """The content of the code field."""
        return str(self.find("#code").get_property("value"))

    @property
    def prompt(self) -> str | None:
        """The prompt of a cell that waits for input."""
        prompt: str | None = self.browser.execute_script("return document.querySelector('article input')?.ariaLabel")
        return prompt

    @property
    def focused(self) -> str:
        script = "const at = document.activeElement; return at.id || at.textContent || at.tagName"
        return str(self.browser.execute_script(script))


def _console_errors(browser: webdriver.Chrome) -> list[str]:
    """Return the policy violations and script errors in the browser's console."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["source"] in ("security", "javascript", "violation")]


def _requested_origins(browser: webdriver.Chrome) -> set[str]:
    """Return the origins that pages have sent requests to."""
    found = set()
    for entry in browser.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.add(urlsplit(message["params"]["request"]["url"])._replace(path="", query="", fragment="").geturl())
    return {origin for origin in found if not origin.startswith("data:")}


@pytest.fixture
def tab(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A new tab. The test fails if a page in it violates its policy or sends requests to other hosts."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    _console_errors(browser), _requested_origins(browser)
    yield browser
    errors, requested = _console_errors(browser), _requested_origins(browser)
    browser.close()
    browser.switch_to.window(first)
    assert errors == []
    assert {urlsplit(origin).hostname for origin in requested} <= {"localhost"}


@pytest.fixture
def page(tab: webdriver.Chrome, client: Client) -> _Page:
    page = _Page(tab, client.port)
    page.shows("#sessions", "idle")
    return page


def _wait_for(gate: Path) -> str:
    """Return code that waits until the file exists."""
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"


def test_page_describes_the_runtime_and_labels_its_controls(page: _Page, client: Client) -> None:
    assert page.text("h1") == "shared"
    about = client.get("/capabilities")
    for fact in (about["version"], about["pythonVersion"], about["environment"]["cwd"]):
        page.shows("#about", fact)
    page.run_to_end("1 + 1")
    page.shows(".output", "2")
    assert page.find("#log").aria_role == "log"
    controls = page.browser.find_elements(By.CSS_SELECTOR, "button, input, textarea, summary, [role], table")
    assert [each.get_attribute("outerHTML") for each in controls if each.is_displayed() and not _has_label(each)] == []


def _has_label(control: WebElement) -> bool:
    """Return whether a screen reader can announce the control; a status line is announced by its content."""
    return bool(control.accessible_name) or control.aria_role == "status"


def test_page_shows_output_as_it_is_written(page: _Page, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    written = r"print('10%\r20%\n\x1b[31mred\x1b[0m', end=''); import sys; sys.stdout.flush(); sys.stderr.write('!\n')"
    page.run(f"{written}\n{_wait_for(gate)}\nprint('after')")
    page.shows(".output", "20%\nred!\n")
    assert page.verdicts == ["running"]
    assert (page.text(".output .c1"), page.text(".output .err")) == ("red", "!")
    assert "10%" not in page.text(".output")
    gate.touch()
    page.shows(".output", "after")
    page.until(lambda: "took" in page.verdicts[0], "the cell has ended")
    page.run_to_end("1 / 0", "ZeroDivisionError: division by zero")


def test_page_drops_earlier_output_of_long_cells(page: _Page) -> None:
    page.run_to_end("for n in range(60000): print(f'{n:020}')\nprint('x' * 1000000)\nprint('last')")
    shown = page.text(".output")
    assert len(shown) < 700_000
    assert "earlier output dropped" in shown
    assert shown.endswith("last\n")


def test_page_shows_images_html_and_values(page: _Page) -> None:
    page.run_to_end(
        "from IPython.display import SVG, HTML, Latex, display\n"
        f"display(SVG({_SVG!r}), HTML('<b>bold</b>'))\nLatex('$x$')"
    )
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [30], "the image is shown")
    assert page.frame_text("b") == "bold"
    assert page.text(".output") == "$x$"
    page.run_to_end("display({'a/b': [1]}, raw=True); {'n': '\\x1b[31m'}")
    assert page.text("article:last-child .output").replace(" ", "") == '{\n"a/b":[\n1\n]\n}' + "{'n':'\\x1b[31m'}"


def test_html_runs_scripts_without_an_origin(page: _Page) -> None:
    script = (
        "let reached = false; try { reached = parent.document.title } catch {}\n"
        "document.querySelector('i').textContent = `${self.origin} ${reached}`; document.querySelector('p').remove()"
    )
    html = f"<p style='height: 5000px'></p><i></i><script>{script}</script>"
    page.run_to_end(f"from IPython.display import HTML\nHTML({html!r})")
    assert page.frame_text("i") == "null false"
    height = "return document.querySelector('iframe').clientHeight"
    page.until(lambda: 0 < page.browser.execute_script(height) < 100, "the frame is as high as its content")
    page.run_to_end("HTML('<p style=\"height: 5000px\">long</p>')")
    height = "return document.querySelector('article:last-child iframe').clientHeight"
    page.until(lambda: page.browser.execute_script(height) == 600, "the height of a frame is limited")


def test_page_scrolls_on_when_images_and_frames_get_their_size(page: _Page) -> None:
    tall = _SVG.replace('"20"', '"900"')
    page.run_to_end(f"from IPython.display import HTML, SVG\nSVG({tall!r})")
    page.run_to_end("HTML('<p style=\"height: 500px\">long</p>')")
    at_end = (
        "const log = document.querySelector('#log'), frame = document.querySelector('iframe');"
        "return frame.clientHeight > 500 && log.scrollTop > 900"
        " && log.scrollHeight - log.scrollTop - log.clientHeight < 2"
    )
    page.until(lambda: bool(page.browser.execute_script(at_end)), "the end of the log is visible")


def test_page_shows_tracebacks_in_color(page: _Page) -> None:
    page.run_to_end("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero")
    assert "return 1 / 0" in page.text(".output")
    assert "ZeroDivisionError" in page.text(".output .c1")


def test_page_replaces_updated_displays(page: _Page) -> None:
    page.run_to_end(
        "from IPython.display import HTML, Markdown, display\n"
        "h = display(Markdown('first'), display_id=True)\nprint('after')"
    )
    page.run_to_end("h.update(Markdown('second'))")
    assert page.text(".output") == "secondafter\n|"
    page.run_to_end("h.update(HTML('<b>third</b>'))")
    assert page.frame_text("b") == "third"
    assert page.text(".output") == "after\n||"
    page.load()
    page.until(lambda: page.text(".output") == "after\n||", "a reloaded page shows the last form")


def test_page_shows_only_output_after_clear_output(page: _Page, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    page.run_to_end(
        "from IPython.display import SVG, clear_output, display\n"
        f"for n in range(5): print('first', n); display(SVG({_SVG!r})); clear_output(wait=True); print('round', n)"
    )
    assert page.text(".output").startswith("round 4\n")
    assert len(page.browser.find_elements(By.CSS_SELECTOR, ".output img")) == 0
    page.run(f"print('gone'); clear_output(wait=True)\n{_wait_for(gate)}\nprint('now'); clear_output()")
    page.until(lambda: page.text("article:last-child .output") == "gone\n", "output stays until new output replaces it")
    gate.touch()
    page.until(lambda: "took" in page.verdicts[-1], "the cell has ended")
    assert page.text("article:last-child .output") == ""
    page.load()
    page.until(lambda: page.text(".output").startswith("round 4\n"), "a reloaded page shows the same output")


def test_page_replaces_updated_image(page: _Page) -> None:
    page.run_to_end(f"from IPython.display import SVG, display\nh = display(SVG({_SVG!r}), display_id=True)")
    wider = _SVG.replace('"30"', '"60"')
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [30], "the image is shown")
    page.run_to_end(f"for n in range(20): h.update(SVG({_SVG!r}))\nh.update(SVG({wider!r}))")
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [60], "the updated image replaces the first")
    page.run_to_end(
        f"h.update({{'image/svg+xml': {wider!r}}}, metadata={{'image/svg+xml': {{'width': 15}}}}, raw=True)"
    )
    page.until(
        lambda: page.browser.execute_script("return document.images[0].width") == 15,
        "the image has the requested width",
    )
    page.load()
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [60], "a reloaded page shows one image")


@pytest.mark.parametrize("means", ["button", "key"])
def test_page_interrupts_cell(page: _Page, means: str) -> None:
    page.run("print('begun', flush=True)\nimport time\ntime.sleep(600)")
    page.shows(".output", "begun")
    page.run("2 + 2")
    page.shows("#status", "A cell is running")
    if means == "button":
        page.click("#interrupt")
    else:
        page.chord(Keys.CONTROL, "c")
    page.until(lambda: page.verdicts == ["KeyboardInterrupt: "], "the cell is interrupted")
    assert page.code == "2 + 2", "the code that was typed meanwhile is lost"


def test_page_sends_input_and_cancels_it(page: _Page) -> None:
    page.run("name = input('Who? ')\nimport getpass\nsecret = getpass.getpass('Password: ')\ninput('Well? ')")
    page.until(lambda: page.prompt == "Who? ", "the page shows the first prompt")
    assert page.focused == "INPUT"
    page.press("Ada", Keys.ENTER)
    page.until(lambda: page.prompt == "Password: ", "the page shows the password prompt")
    assert page.find("article input").get_attribute("type") == "password"
    page.press("hush", Keys.ENTER)
    page.until(lambda: page.prompt == "Well? ", "the page shows the third prompt")
    page.load()
    page.until(lambda: page.prompt == "Well? ", "a reloaded page shows only the open prompt")
    assert "hush" not in page.text("#console")
    page.click("article .row button:last-child")
    page.until(lambda: "InputCancelled" in page.verdicts[0], "the input is cancelled")
    page.run_to_end("name, secret")
    page.shows(".output", "('Ada', 'hush')")


def test_page_completes_code(page: _Page, client: Client) -> None:
    client.execute("apple_one = apple_two = pear = 1")
    page.press("print(pea", Keys.TAB)
    page.until(lambda: page.code == "print(pear", "a single match is inserted")
    page.press(", apple_", Keys.TAB)
    page.until(lambda: page.find("#matches").is_displayed(), "the completions are listed")
    assert page.text("#matches [aria-selected=true] span:first-child") == "apple_one"
    page.press(Keys.ARROW_DOWN)
    active = page.find("#code").get_attribute("aria-activedescendant")
    assert page.text(f"#{active} span:first-child") == "apple_two"
    page.press(Keys.ESCAPE)
    assert not page.find("#matches").is_displayed()
    page.press(Keys.TAB)
    page.until(lambda: page.find("#matches").is_displayed(), "the completions are listed again")
    page.press(Keys.ARROW_UP, Keys.ENTER)
    assert page.code == "print(pear, apple_two"


def test_arrow_keys_recall_history(page: _Page) -> None:
    for code in ("first = 1", "second = 2\nthird = 3"):
        page.run_to_end(code)
    page.press("draft", Keys.ARROW_UP)
    page.until(lambda: page.code == "second = 2\nthird = 3", "the last cell is recalled")
    page.press(Keys.ARROW_UP)
    page.until(lambda: page.code == "first = 1", "the cell before it is recalled")
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.code == "second = 2\nthird = 3", "the last cell is recalled again")
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.code == "draft", "the draft is restored")


def test_reloaded_page_follows_running_cell(page: _Page, client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    page.run_to_end("print('earlier')")
    page.run(f"input('Now?')\nprint('before', flush=True)\n{_wait_for(gate)}\nprint('after')")
    page.until(lambda: page.prompt == "Now?", "the page shows the prompt")
    page.press("yes", Keys.ENTER)
    page.shows(".output", "before")
    page.load()
    page.until(lambda: page.text(".output") == "earlier\n|Now?yes\nbefore\n", "the reloaded page shows all output")
    assert page.prompt is None, "an answered prompt is shown again"
    assert page.verdicts[1] == "running"
    assert "time.sleep" in page.text(".source")
    gate.touch()
    page.until(lambda: page.text(".output") == "earlier\n|Now?yes\nbefore\nafter\n", "new output is shown")
    page.until(lambda: "took" in page.verdicts[1], "the cell has ended")
    assert client.value("1") == "1"


@pytest.mark.parametrize("when", ["before the page is loaded", "while it is open"])
def test_page_shows_executions_of_other_clients(page: _Page, client: Client, when: str) -> None:
    page.run_to_end("'mine'")
    code = "print('theirs', flush=True)\nimport time\ntime.sleep(600)"
    with client.streaming(code, client="notebook") as events:
        next(events)
        if when == "before the page is loaded":
            page.load()
        page.shows("article:last-child .output", "theirs")
        assert page.text(".client") == "notebook"
        assert page.text("article:last-child .source") == code
        page.click("#interrupt")
        page.until(lambda: "KeyboardInterrupt" in page.verdicts[-1], "the cell is interrupted")
    page.until(lambda: "KeyboardInterrupt" in page.text("article:last-child .output"), "the traceback is shown once")
    assert page.text("article:last-child .output").count("KeyboardInterrupt   ") == 1
    rich = f"display({{'image/svg+xml': {_SVG!r}}}, raw=True); 40 + 2"
    client.execute(f"from IPython.display import display\n{rich}", rich=True)
    page.shows("article:last-child .output", "42")
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [30], "the image is shown")
    page.run_to_end("'mine too'")
    assert page.text(".client") == "notebook|another client"


def test_page_shows_what_comes_while_nothing_runs(page: _Page, client: Client) -> None:
    client.execute("import threading; threading.Timer(0.5, lambda: print('late')).start()")
    page.shows("article:last-child .output", "late")
    page.shows("article:last-child .client", "while nothing ran")


def test_page_shows_and_expands_variables(page: _Page) -> None:
    page.run_to_end("tree = {'branch': {'leaf': 41}}\nnumber = 7")
    page.shows("#variables", "number")
    page.click("#variables tr:first-child button")
    page.shows("#variables tr:nth-child(2) th", "branch")
    page.click("#variables tr:nth-child(2) button")
    page.shows("#variables tr:nth-child(3)", "leaf")
    page.run_to_end("tree['branch']['leaf'] += 1")
    page.until(
        lambda: page.text("#variables tr:nth-child(3) td:last-child") == "42", "the expanded variable is refreshed"
    )
    page.click("#variables tr:first-child button")
    page.until(lambda: page.text("#variables tr:nth-child(2) th") == "number", "the variable is collapsed")


def test_page_switches_resets_and_deletes_sessions(page: _Page, client: Client) -> None:
    page.run_to_end("mine = 'default'")
    page.find("#new-name").send_keys("other", Keys.ENTER)
    page.shows("#sessions [aria-current=true]", "other")
    page.until(lambda: page.text("article") == "", "the console of the new session is empty")
    page.run_to_end("mine = 'other'")
    page.shows("#variables", "'other'")
    page.load()
    page.shows(".source", "mine = 'other'")
    page.click("#reset")
    page.browser.switch_to.alert.accept()
    page.shows("#variables-message", "none yet")
    page.click("#sessions li:first-child button")
    page.shows("#variables", "'default'")
    page.shows(".source", "mine = 'default'")
    page.click("#sessions li:last-child button")
    page.shows("#sessions [aria-current=true]", "other")
    page.click("#delete")
    page.browser.switch_to.alert.accept()
    page.shows("#sessions [aria-current=true]", "default")
    page.until(lambda: "other" not in page.text("#sessions"), "the deleted session is gone")
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"]
    client.post("/sessions", {"id": "theirs"})
    page.shows("#sessions", "theirs")


def test_page_runs_no_script_from_its_contents(page: _Page, client: Client) -> None:
    svg = _SVG.replace("/>", ' onload="alert(1)"><script>alert(1)</script></svg>')
    client.post("/sessions", {"id": _PAYLOAD})
    page.run_to_end(
        f"from IPython.display import SVG, HTML, display\npayload = {_PAYLOAD!r}\n"
        f"globals()[payload] = {{payload: payload}}\nprint(payload)\ndisplay(SVG({svg!r}), HTML(payload))"
    )
    page.shows("#sessions", _PAYLOAD)
    page.shows("#variables", _PAYLOAD)
    page.click("#variables tr:last-child button")
    page.until(lambda: page.text("#variables th").count(_PAYLOAD) == 2, "the variable is expanded")
    page.run_to_end("raise Exception(payload)", _PAYLOAD)
    page.run("input(payload)")
    page.until(lambda: page.prompt == _PAYLOAD, "the page shows the prompt")
    page.click("#interrupt")
    page.until(lambda: "KeyboardInterrupt" in page.verdicts[-1], "the cell is interrupted")
    assert page.frame_text("title, script").endswith("owned'")
    assert page.browser.title.startswith("shared")
    assert len(page.browser.find_elements(By.TAG_NAME, "script")) == 1
    assert page.browser.execute_script("return [...document.images].map((each) => each.src.slice(0, 14))") == [
        "data:image/svg"
    ]


def test_content_security_policy_blocks_injected_script(tab: webdriver.Chrome, client: Client) -> None:
    page = _Page(tab, client.port)
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.browser.execute_script("document.body.innerHTML = '<b></b>'")
    with pytest.raises(JavascriptException, match="TrustedScript"):
        page.browser.execute_script("document.body.setAttribute('onclick', 'document.title = 1')")
    load = "document.body.append(Object.assign(new Image(), {src: 'http://attacker.test:1/x.png'}))"
    page.browser.execute_script(load)
    page.until(lambda: any("img-src" in error for error in _console_errors(tab)), "the violation is logged")
    _requested_origins(tab)  # drop the blocked request, which is logged too
    assert page.browser.title.startswith("shared")


def test_page_is_usable_by_keyboard_alone(page: _Page) -> None:
    page.until(lambda: page.focused == "code", "the focus is in the code field")
    page.press("things = [1, 2]")
    page.chord(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: "took" in "".join(page.verdicts), "the cell has ended")
    page.shows("#variables", "things")
    focused: list[str] = []
    while page.focused != "▸" and len(focused) < 20:
        page.press(Keys.TAB)
        focused.append(page.focused)
    assert focused == ["run", "interrupt", "Keys", "default", "reset", "delete", "new-name", "new", "▸"]
    page.press(Keys.ENTER)
    page.shows("#variables tr:nth-child(3)", "[1]")
    page.find("#code").send_keys("thing")
    page.press(Keys.ESCAPE, Keys.TAB)
    assert page.focused == "run", "Tab after Escape must move the focus"
    page.chord(Keys.SHIFT, Keys.TAB)
    page.press("_that_is_not", Keys.TAB)
    page.shows("#status", "No completions")
    page.press(Keys.TAB)
    assert page.focused == "run", "Tab must move the focus if there is no completion"


@pytest.mark.parametrize("width", [400, 1200])
def test_page_fits_its_window(page: _Page, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.run_to_end("long_name_" * 20 + " = 'x' * 500; print('y' * 500)")
    page.shows("#variables", "long_name_")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_page_reconnects_when_the_runtime_restarts(tab: webdriver.Chrome, here: Machine, free_port: int) -> None:
    client = here.start("a", "--port", str(free_port))
    page = _Page(tab, client.port)
    page.shows("#sessions", "idle")
    page.run("print('begun', flush=True)\nimport time\ntime.sleep(600)")
    page.shows(".output", "begun")
    here.kill("KILL", client.pid)
    page.shows("article > .verdict", "reconnecting")
    here.start("a", "--port", str(free_port))
    page.until(lambda: "there is no execution" in page.verdicts[0], "the page reports that the execution is gone")
    page.run_to_end("print('again')")
    page.shows(".output", "again")


def test_page_requires_token(tab: webdriver.Chrome, here: Machine) -> None:
    page = _Page(tab, here.start("a", "--token").port)
    page.until(lambda: page.focused == "token", "the token field has the focus")
    assert not page.find("#main").is_displayed()
    page.press("wrong", Keys.ENTER)
    page.shows("#access-message", "wrong token")
    page.press((here.home / ".mrmd" / "tokens" / "a").read_text().strip(), Keys.ENTER)
    page.shows("#sessions", "idle")
    page.run_to_end(f"from IPython.display import SVG, HTML, display\ndisplay(SVG({_SVG!r}), HTML('<b>bold</b>'))")
    page.until(lambda: page.browser.execute_script(_IMAGE_WIDTHS) == [30], "the image is shown")
    assert page.frame_text("b") == "bold"
    page.load()
    page.shows(".source", "display")
    assert not page.find("#access").is_displayed()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("POST", {}, 405),
        ("GET", {"Host": "evil.example"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_page_is_served_only_to_accepted_requests(
    shared: Client, method: str, headers: dict[str, str], status: int
) -> None:
    answer = shared.fetch(method, "/", **headers)
    assert answer.status == status
    frame = shared.fetch(method, "/frame", **headers)
    assert frame.status == status
    if status == 200:
        assert frame.headers["content-security-policy"].startswith("sandbox allow-scripts; ")
    assert answer.body.startswith(b"<!doctype html>") == (method == "GET" and status == 200)
    if status == 200:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert int(answer.headers["content-length"]) < 45_000
