"""The page at a runtime's root, in a real browser: what a user can do there, and what its contents cannot."""

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
_PAYLOAD = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"/>'


class _Page:
    """The page of the runtime on `port`, as a user sees it."""

    def __init__(self, browser: webdriver.Chrome, port: int) -> None:
        self.browser = browser
        self.port = port
        self.load()

    def load(self) -> None:
        """Open it, or open it anew."""
        self.browser.get(f"http://localhost:{self.port}/")

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return what a script sees: that may change elements at any time between two questions of ours."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent).join('|')"
        return str(self.browser.execute_script(script, selector))

    def shows(self, selector: str, text: str) -> None:
        """Wait until `text` is in what `selector` selects."""
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, _SECONDS)

    def press(self, *keys: str) -> None:
        """Type wherever the focus is, all at once."""
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def chord(self, modifier: str, key: str) -> None:
        webdriver.ActionChains(self.browser).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def click(self, selector: str) -> None:
        """Click on what is there at that moment: lists are drawn anew as they change."""
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def run(self, code: str) -> None:
        """Put code into the field and run it, as one who pastes it."""
        field = self.find("#code")
        self.browser.execute_script("arguments[0].value = arguments[1]; arguments[0].focus()", field, code)
        self.chord(Keys.SHIFT, Keys.ENTER)

    def ran(self, code: str, verdict: str = "took") -> None:
        """Run code, and wait for its end."""
        count = len(self.verdicts)
        self.run(code)
        self.until(lambda: len(self.verdicts) > count and verdict in self.verdicts[-1], f"{verdict!r} of {code!r}")

    @property
    def verdicts(self) -> list[str]:
        return self.text("article > .verdict").split("|") if self.text("article > .verdict") else []

    @property
    def code(self) -> str:
        """What is in the code field."""
        return str(self.find("#code").get_property("value"))

    @property
    def asked(self) -> str | None:
        """The name of the field by which a cell asks for input."""
        name: str | None = self.browser.execute_script("return document.querySelector('article input')?.ariaLabel")
        return name

    @property
    def focused(self) -> str:
        script = "const at = document.activeElement; return at.id || at.textContent || at.tagName"
        return str(self.browser.execute_script(script))


def _console_errors(browser: webdriver.Chrome) -> list[str]:
    """Return what the browser's console has of the policy and of scripts that failed."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["source"] in ("security", "javascript", "violation")]


def _requested(browser: webdriver.Chrome) -> set[str]:
    """Return the origins that pages have sent requests to."""
    found = set()
    for entry in browser.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.add(urlsplit(message["params"]["request"]["url"])._replace(path="", query="", fragment="").geturl())
    return {origin for origin in found if not origin.startswith("data:")}


@pytest.fixture
def tab(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A tab of the test's own, which remembers nothing; no page in it breaks its policy or speaks to strangers."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    _console_errors(browser), _requested(browser)
    yield browser
    errors, requested = _console_errors(browser), _requested(browser)
    browser.close()
    browser.switch_to.window(first)
    assert errors == []
    assert {urlsplit(origin).hostname for origin in requested} <= {"localhost"}


@pytest.fixture
def page(tab: webdriver.Chrome, client: Client) -> _Page:
    page = _Page(tab, client.port)
    page.shows("#sessions", "idle")
    return page


def _waits_for(gate: Path) -> str:
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"


def test_page_describes_the_runtime_and_labels_its_controls(page: _Page, client: Client) -> None:
    assert page.text("h1") == "shared"
    about = client.get("/capabilities")
    for fact in (about["version"], about["pythonVersion"], about["environment"]["cwd"]):
        page.shows("#about", fact)
    page.ran("1 + 1")
    page.shows(".output", "2")
    assert page.find("#log").aria_role == "log"
    controls = page.browser.find_elements(By.CSS_SELECTOR, "button, input, textarea, summary, [role], table")
    assert [each.get_attribute("outerHTML") for each in controls if each.is_displayed() and not _has_label(each)] == []


def _has_label(control: WebElement) -> bool:
    """Return whether a screen reader has words for it; the status line has its content."""
    return bool(control.accessible_name) or control.aria_role == "status"


def test_page_shows_output_as_it_is_written(page: _Page, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    written = r"print('10%\r20%\n\x1b[31mred\x1b[0m', end=''); import sys; sys.stdout.flush(); sys.stderr.write('!\n')"
    page.run(f"{written}\n{_waits_for(gate)}\nprint('after')")
    page.shows(".output", "20%\nred!\n")
    assert page.verdicts == ["running"]
    assert (page.text(".output .c1"), page.text(".output .err")) == ("red", "!")
    assert "10%" not in page.text(".output")
    gate.touch()
    page.shows(".output", "after")
    page.until(lambda: "took" in page.verdicts[0], "it has ended")
    page.ran("1 / 0", "ZeroDivisionError: division by zero")


def test_page_drops_earlier_output_of_long_cells(page: _Page) -> None:
    page.ran("for n in range(60000): print(f'{n:020}')\nprint('x' * 1000000)\nprint('last')")
    shown = page.text(".output")
    assert len(shown) < 700_000
    assert "earlier output dropped" in shown
    assert shown.endswith("last\n")


def test_page_shows_images_and_links_html(page: _Page) -> None:
    page.ran(f"from IPython.display import SVG, HTML, display\ndisplay(SVG({_SVG!r}), HTML('<b>bold</b>'))")
    widths = "return [...document.images].map((each) => each.naturalWidth)"
    page.until(lambda: page.browser.execute_script(widths) == [30], "the picture is shown")
    link = page.find(".output a")
    assert str(link.get_attribute("href")).endswith(".html")
    assert page.browser.find_elements(By.CSS_SELECTOR, ".output b, iframe") == []


def test_page_shows_only_output_after_clear_output(page: _Page, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    page.ran(
        "from IPython.display import SVG, clear_output, display\n"
        f"for n in range(5): print('first', n); display(SVG({_SVG!r})); clear_output(wait=True); print('round', n)"
    )
    assert page.text(".output").startswith("round 4\n")
    assert len(page.browser.find_elements(By.CSS_SELECTOR, ".output img")) == 0
    page.run(f"print('gone'); clear_output(wait=True)\n{_waits_for(gate)}\nprint('now'); clear_output()")
    page.until(lambda: page.text("article:last-child .output") == "gone\n", "it stays until there is something else")
    gate.touch()
    page.until(lambda: "took" in page.verdicts[-1], "it has ended")
    assert page.text("article:last-child .output") == ""
    page.load()
    page.until(lambda: page.text(".output").startswith("round 4\n"), "it is the same when it is shown again")


def test_page_replaces_updated_image(page: _Page) -> None:
    page.ran(f"from IPython.display import SVG, display\nh = display(SVG({_SVG!r}), display_id=True)")
    wider = _SVG.replace('"30"', '"60"')
    widths = "return [...document.images].map((each) => each.naturalWidth)"
    page.until(lambda: page.browser.execute_script(widths) == [30], "the picture is shown")
    page.ran(f"for n in range(20): h.update(SVG({_SVG!r}))\nh.update(SVG({wider!r}))")
    page.until(lambda: page.browser.execute_script(widths) == [60], "the same picture is another now")
    page.ran(f"h.update({{'image/svg+xml': {wider!r}}}, metadata={{'image/svg+xml': {{'width': 15}}}}, raw=True)")
    page.until(lambda: page.browser.execute_script("return document.images[0].width") == 15, "it is as wide as asked")
    page.load()
    page.until(lambda: page.browser.execute_script(widths) == [60], "one picture is shown again")


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
    page.until(lambda: page.verdicts == ["KeyboardInterrupt: "], "it is interrupted")
    assert page.code == "2 + 2", "what was typed meanwhile is kept"


def test_page_asks_for_input(page: _Page) -> None:
    page.run("name = input('Who? ')\nimport getpass\nsecret = getpass.getpass('Password: ')\ninput('Well? ')")
    page.until(lambda: page.asked == "Who? ", "it asks")
    assert page.focused == "INPUT"
    page.press("Ada", Keys.ENTER)
    page.until(lambda: page.asked == "Password: ", "it asks again")
    assert page.find("article input").get_attribute("type") == "password"
    page.press("hush", Keys.ENTER)
    page.until(lambda: page.asked == "Well? ", "it asks once more")
    page.load()
    page.until(lambda: page.asked == "Well? ", "of three, one is asked still")
    assert "hush" not in page.text("#console")
    page.click("article .row button:last-child")
    page.until(lambda: "InputCancelled" in page.verdicts[0], "it is called off")
    page.ran("name, secret")
    page.shows(".output", "('Ada', 'hush')")


def test_page_completes_code(page: _Page, client: Client) -> None:
    client.execute("apple_one = apple_two = pear = 1")
    page.press("print(pea", Keys.TAB)
    page.until(lambda: page.code == "print(pear", "the only one is taken")
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
        page.ran(code)
    page.press("draft", Keys.ARROW_UP)
    page.until(lambda: page.code == "second = 2\nthird = 3", "the last cell is back")
    page.press(Keys.ARROW_UP)
    page.until(lambda: page.code == "first = 1", "the one before is back")
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.code == "second = 2\nthird = 3", "the last cell is back again")
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.code == "draft", "what was typed is back")


def test_reload_shows_running_cell_again(page: _Page, client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    page.ran("print('earlier')")
    page.run(f"input('Now?')\nprint('before', flush=True)\n{_waits_for(gate)}\nprint('after')")
    page.until(lambda: page.asked == "Now?", "it asks")
    page.press("yes", Keys.ENTER)
    page.shows(".output", "before")
    page.load()
    page.until(lambda: page.text(".output") == "earlier\n|Now?yes\nbefore\n", "all of it is shown again")
    assert page.asked is None, "what has its answer is not asked again"
    assert page.verdicts[1] == "running"
    assert "time.sleep" in page.text(".source")
    gate.touch()
    page.until(lambda: page.text(".output") == "earlier\n|Now?yes\nbefore\nafter\n", "it goes on")
    page.until(lambda: "took" in page.verdicts[1], "it has ended")
    assert client.value("1") == "1"


def test_page_shows_executions_of_other_clients(page: _Page, client: Client) -> None:
    with client.streaming("print('theirs', flush=True)\nimport time\ntime.sleep(600)") as events:
        next(events)
        page.load()
        page.shows(".output", "theirs")
        page.click("#interrupt")
        page.until(lambda: "KeyboardInterrupt" in page.verdicts[0], "it is interrupted")


def test_page_shows_and_expands_variables(page: _Page) -> None:
    page.ran("tree = {'branch': {'leaf': 41}}\nnumber = 7")
    page.shows("#variables", "number")
    page.click("#variables tr:first-child button")
    page.shows("#variables tr:nth-child(2) th", "branch")
    page.click("#variables tr:nth-child(2) button")
    page.shows("#variables tr:nth-child(3)", "leaf")
    page.ran("tree['branch']['leaf'] += 1")
    page.until(lambda: page.text("#variables tr:nth-child(3) td:last-child") == "42", "it is shown as it is now")
    page.click("#variables tr:first-child button")
    page.until(lambda: page.text("#variables tr:nth-child(2) th") == "number", "the parts are folded away")


def test_page_switches_resets_and_deletes_sessions(page: _Page, client: Client) -> None:
    page.ran("mine = 'default'")
    page.find("#new-name").send_keys("other", Keys.ENTER)
    page.shows("#sessions [aria-current=true]", "other")
    page.until(lambda: page.text("article") == "", "its console is empty")
    page.ran("mine = 'other'")
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
    page.until(lambda: "other" not in page.text("#sessions"), "it is gone")
    assert [session["id"] for session in client.get("/sessions")["sessions"]] == ["default"]
    client.post("/sessions", {"id": "theirs"})
    page.shows("#sessions", "theirs")


def test_page_runs_no_script_from_its_contents(page: _Page, client: Client) -> None:
    svg = _SVG.replace("/>", ' onload="alert(1)"><script>alert(1)</script></svg>')
    client.post("/sessions", {"id": _PAYLOAD})
    page.ran(
        f"from IPython.display import SVG, HTML, display\npayload = {_PAYLOAD!r}\n"
        f"globals()[payload] = {{payload: payload}}\nprint(payload)\ndisplay(SVG({svg!r}), HTML(payload))"
    )
    page.shows("#sessions", _PAYLOAD)
    page.shows("#variables", _PAYLOAD)
    page.click("#variables tr:last-child button")
    page.until(lambda: page.text("#variables th").count(_PAYLOAD) == 2, "its parts are shown")
    page.ran("raise Exception(payload)", _PAYLOAD)
    page.run("input(payload)")
    page.until(lambda: page.asked == _PAYLOAD, "it asks")
    page.click("#interrupt")
    page.until(lambda: "KeyboardInterrupt" in page.verdicts[-1], "it is interrupted")
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
    _requested(tab)  # it is noted before it is blocked
    assert page.browser.title.startswith("shared")


def test_page_is_usable_by_keyboard_alone(page: _Page) -> None:
    page.until(lambda: page.focused == "code", "the focus is in the code field")
    page.press("things = [1, 2]")
    page.chord(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: "took" in "".join(page.verdicts), "it has run")
    page.shows("#variables", "things")
    passed = []
    while page.focused != "▸":
        page.press(Keys.TAB)
        passed.append(page.focused)
    assert passed == ["run", "interrupt", "Keys", "default", "reset", "delete", "new-name", "new", "▸"], "no trap"
    page.press(Keys.ENTER)
    page.shows("#variables tr:nth-child(3)", "[1]")
    page.find("#code").send_keys("thing")
    page.press(Keys.ESCAPE, Keys.TAB)
    assert page.focused == "run", "Escape, then Tab, leaves a word"
    page.chord(Keys.SHIFT, Keys.TAB)
    page.press("_that_is_not", Keys.TAB)
    page.shows("#status", "No completions")
    page.press(Keys.TAB)
    assert page.focused == "run", "a word that has no completion is left"


@pytest.mark.parametrize("width", [400, 1200])
def test_page_fits_its_window(page: _Page, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.ran("long_name_" * 20 + " = 'x' * 500; print('y' * 500)")
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
    page.until(lambda: "there is no execution" in page.verdicts[0], "it reports that the execution is gone")
    page.ran("print('again')")
    page.shows(".output", "again")


def test_page_asks_for_token(tab: webdriver.Chrome, here: Machine) -> None:
    page = _Page(tab, here.start("a", "--token").port)
    page.until(lambda: page.focused == "token", "it asks for the token")
    assert not page.find("#main").is_displayed()
    page.press("wrong", Keys.ENTER)
    page.shows("#access-message", "wrong token")
    page.press((here.home / ".mrmd" / "tokens" / "a").read_text().strip(), Keys.ENTER)
    page.shows("#sessions", "idle")
    page.ran(f"from IPython.display import SVG, HTML, display\ndisplay(SVG({_SVG!r}), HTML('<b>bold</b>'))")
    widths = "return [...document.images].map((each) => each.naturalWidth)"
    page.until(lambda: page.browser.execute_script(widths) == [30], "the picture is shown")
    page.shows(".output", "in the file")
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
def test_page_answers_only_accepted_requests(shared: Client, method: str, headers: dict[str, str], status: int) -> None:
    answer = shared.fetch(method, "/", **headers)
    assert answer.status == status
    assert answer.body.startswith(b"<!doctype html>") == (method == "GET" and status == 200)
    if status == 200:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert int(answer.headers["content-length"]) < 40_000
