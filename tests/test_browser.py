"""Pages in a real browser: an editor can use a runtime, a foreign page cannot."""

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.browser import started
from tests.client import DRAWING, Client
from tests.machine import Machine, wait_until

pytestmark = pytest.mark.xdist_group("browser")
_ELECTRON = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Electron/33.0 Safari/537.36"
)
_LIBRARY = """
const attempt = async (action) => { try { return await action() } catch (error) { return 'blocked: ' + error.name } };
const execute = (base, code) => attempt(async () => (await fetch(base + '/execute', {
  method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({code})})).status);
"""
_FOREIGN = """
const base = arguments[0], found = {}, done = arguments[arguments.length - 1];
const mark = (name) => `marks = [*globals().get('marks', []), '${name}']`;
const plain = (name, mode) => attempt(async () => (await fetch(base + '/execute', {
  method: 'POST', mode, headers: {'Content-Type': 'text/plain'}, body: JSON.stringify({code: mark(name)})})).type);
const loaded = (tag, url) => new Promise((answer) => {
  const element = Object.assign(document.createElement(tag), {src: url});
  element.onload = () => answer('loaded'); element.onerror = () => answer('blocked');
  document.body.append(element); });
(async () => {
  found.json = await execute(base, mark('json'));
  found.plain = await plain('plain', 'cors');
  found.opaque = await plain('opaque', 'no-cors');
  found.beacon = navigator.sendBeacon(base + '/execute', new Blob([JSON.stringify({code: mark('beacon')})],
    {type: 'application/json'}));
  found.read = await attempt(async () => (await fetch(base + '/sessions')).text());
  found.deleted = await attempt(async () => (await fetch(base + '/sessions/default', {method: 'DELETE'})).status);
  found.stream = await new Promise((answer) => {
    const source = new EventSource(base + '/executions/kept/stream');
    source.addEventListener('start', () => answer('opened')); source.onerror = () => answer('blocked'); });
  found.image = await loaded('img', base + '/assets/kept_0001.svg');
  found.script = await loaded('script', base + '/sessions');
  const frame = Object.assign(document.createElement('iframe'), {name: 'sink'});
  document.body.append(frame);
  const form = Object.assign(document.createElement('form'),
    {action: base + '/execute', method: 'POST', enctype: 'text/plain', target: 'sink'});
  const start = `{"code": "${mark('form')}", "x": "`;
  form.append(Object.assign(document.createElement('input'), {name: start, value: '"}'}));
  document.body.append(form);
  found.form = await new Promise((answer) => { frame.onload = () => answer('answered'); form.submit(); });
  done(found);
})();
"""
_SANDBOXED = """
const base = arguments[0], done = arguments[arguments.length - 1];
addEventListener('message', (message) => done(message.data));
const frame = document.createElement('iframe');
frame.sandbox = 'allow-scripts';
frame.srcdoc = `<script>fetch('${base}/execute', {method: 'POST', headers: {'Content-Type': 'application/json'},
  body: JSON.stringify({code: "marks = ['null']"})}).then((answer) => answer.status, (error) => 'blocked')
  .then((found) => parent.postMessage(found, '*'))</` + 'script>';
document.body.append(frame);
"""
_EDITOR = """
const base = arguments[0], done = arguments[arguments.length - 1];
(async () => {
  const answer = await fetch(base + '/execute/stream', {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({code: "ran = 41; print('one')", execId: 'edited'})});
  const text = await answer.text();
  const result = await (await fetch(base + '/execute', {method: 'POST',
    headers: {'Content-Type': 'application/json'}, body: JSON.stringify({code: 'ran + 1'})})).json();
  const deleted = (await fetch(base + '/sessions/none', {method: 'DELETE'})).status;
  const again = await new Promise((opened) => {
    const source = new EventSource(base + '/executions/edited/stream');
    source.addEventListener('done', () => { source.close(); opened('followed') });
    source.onerror = () => { source.close(); opened('blocked') }; });
  const image = await new Promise((shown) => {
    const element = Object.assign(new Image(), {src: base + '/assets/kept_0001.svg'});
    element.onload = () => shown('shown'); element.onerror = () => shown('blocked'); });
  done({events: [...new Set(text.match(/event: \\w+/g))], result: result.result, deleted, again, image});
})().catch((error) => done(String(error)));
"""
_DONE = {
    "events": ["event: start", "event: stdout", "event: result", "event: done"],
    "result": "42",
    "deleted": 404,
    "again": "followed",
    "image": "shown",
}
# What a script in a document that a cell displays tries, and how far it gets.
_DISPLAYED = """
<body><script>
const marked = (name) => ({method: 'POST', referrerPolicy: 'no-referrer', headers: {'Content-Type': 'application/json'},
  body: JSON.stringify({code: `marks = [*globals().get('marks', []), '${name}']`})});
const attempt = (name) => `fetch('BASE/execute', ${JSON.stringify(marked(name))})
  .then((answer) => answer.status, () => 'blocked')`;
const frame = (attributes) => new Promise((answer) => {
  addEventListener('message', ({data}) => answer(data), {once: true});
  const element = Object.assign(document.createElement('iframe'), attributes);
  document.body.append(element); });
const html = (name) => `<script>${attempt(name)}.then((found) => parent.postMessage(found, '*'))</` + 'script>';
const blob = (text, type) => URL.createObjectURL(new Blob([text], {type}));
const shown = (tag, url) => new Promise((answer) => {
  const element = Object.assign(document.createElement(tag), {src: url});
  element.onload = () => answer('loaded'); element.onerror = () => answer('blocked');
  document.body.append(element); });
(async () => {
  const found = {};
  found.script = await eval(attempt('script'));
  found.worker = await new Promise((answer) => {
    const worker = new Worker(blob(`${attempt('worker')}.then((found) => postMessage(found))`, 'text/javascript'));
    worker.onmessage = ({data}) => answer(data); });
  found.srcdoc = await frame({srcdoc: html('srcdoc')});
  found.data = await frame({src: 'data:text/html,' + encodeURIComponent(html('data'))});
  found.blob = await frame({src: blob(html('blob'), 'text/html')});
  found.foreign = await new Promise((answer) => {
    addEventListener('securitypolicyviolation', ({effectiveDirective}) => answer(effectiveDirective), {once: true});
    void frame({src: 'FOREIGN'}).then(() => answer('shown')); });
  found.beacon = navigator.sendBeacon('BASE/execute', marked('beacon').body);
  found.http = await shown('img', 'BASE/assets/kept_0001.svg');
  found.inline = await shown('img', "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>");
  document.title = JSON.stringify(found);
  if (parent !== window) parent.postMessage(found, '*');
})();
</script>
"""
_DISPLAYED_REACHED = {
    **dict.fromkeys(("script", "worker", "srcdoc", "data", "blob", "http"), "blocked"),
    "foreign": "frame-src",
    "beacon": True,  # the browser says so before it asks the policy
    "inline": "loaded",
}
_FRAMING = """
const [url, done] = arguments;
addEventListener('message', ({data}) => done(data));
const frame = Object.assign(document.createElement('iframe'), {sandbox: 'allow-scripts', src: url});
document.body.append(frame);
"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"<!doctype html><meta charset=utf-8><body><script>parent.postMessage('shown', '*')</script></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """The port of a web server with an empty page at every path."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Page) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def runtime(shared: Client) -> Client:
    """A runtime with an execution and an asset that a foreign page might read."""
    shared.request("DELETE", "/executions/edited")
    if shared.request("GET", "/executions/kept")[0] == 404:
        shared.execute(DRAWING, execId="kept")
    return shared


def _run(browser: webdriver.Chrome, page: str, script: str, *arguments: str) -> Any:
    browser.get(page)
    return browser.execute_async_script(_LIBRARY + script, *arguments)


def _marks(runtime: Client) -> str:
    return runtime.value("globals().get('marks', [])")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_foreign_page_cannot_run_code_or_read_responses(
    browser: webdriver.Chrome, pages: int, runtime: Client, host: str
) -> None:
    runtime.execute("kept = 1")
    found = _run(browser, f"http://attacker.test:{pages}/", _FOREIGN, f"http://{host}:{runtime.port}/mrp/v1")
    assert found == {
        "json": "blocked: TypeError",
        "plain": "blocked: TypeError",
        "opaque": "blocked: TypeError",
        "beacon": found["beacon"],
        "read": "blocked: TypeError",
        "deleted": "blocked: TypeError",
        "stream": "blocked",
        "image": "blocked",
        "script": "blocked",
        "form": "answered",
    }
    assert _marks(runtime) == "[]"
    assert runtime.value("kept") == "1"


def test_dns_rebinding_page_cannot_run_code_or_read_responses(browser: webdriver.Chrome, runtime: Client) -> None:
    """After rebinding, the runtime has the origin of the page, so the browser blocks nothing."""
    page = f"http://rebound.test:{runtime.port}/mrp/v1/sessions"
    status = _run(
        browser,
        page,
        """
const done = arguments[arguments.length - 1];
(async () => done([await execute('/mrp/v1', "marks = ['rebound']"),
  await attempt(async () => (await fetch('/mrp/v1/sessions')).status), document.body.innerText]))();
""",
    )
    assert status[:2] == [403, 403]
    assert "host_refused" in status[2]
    assert _marks(runtime) == "[]"


def test_sandboxed_frame_cannot_run_code(browser: webdriver.Chrome, pages: int, runtime: Client) -> None:
    base = f"http://localhost:{runtime.port}/mrp/v1"
    assert _run(browser, f"http://attacker.test:{pages}/", _SANDBOXED, base) == "blocked"
    assert _marks(runtime) == "[]"


@pytest.mark.parametrize("origin", ["localhost", "127.0.0.1"])
def test_editor_page_on_this_machine_can_run_code(
    browser: webdriver.Chrome, pages: int, runtime: Client, origin: str
) -> None:
    base = f"http://localhost:{runtime.port}/mrp/v1"
    assert _run(browser, f"http://{origin}:{pages}/", _EDITOR, base) == _DONE


def test_editor_page_with_token_can_run_code(browser: webdriver.Chrome, pages: int, here: Machine) -> None:
    """The page sends the token in the Authorization header, which the preflight allows."""
    client = here.start("a", "--token")
    token = (here.home / ".mrmd" / "tokens" / "a").read_text().strip()
    script = """
const [base, token, done] = arguments;
const run = (headers) => attempt(async () => (await fetch(base + '/execute', {method: 'POST', headers:
  {'Content-Type': 'application/json', ...headers}, body: JSON.stringify({code: '41 + 1'})})).json());
(async () => done([(await run({})).code, (await run({Authorization: 'Bearer ' + token})).result]))();
"""
    base = f"http://localhost:{client.port}/mrp/v1"
    assert _run(browser, f"http://localhost:{pages}/", script, base, token) == ["token_required", "42"]


def test_file_page_is_accepted_only_from_electron(browser: webdriver.Chrome, runtime: Client, tmp_path: Path) -> None:
    page = tmp_path / "editor.html"
    page.write_text("<!doctype html><meta charset=utf-8><body></body>")
    base = f"http://localhost:{runtime.port}/mrp/v1"
    assert "TypeError" in _run(browser, page.as_uri(), _EDITOR, base)
    with started(tmp_path / "electron", f"--user-agent={_ELECTRON}") as electron:
        assert _run(electron, page.as_uri(), _EDITOR, base) == _DONE


def _display(runtime: Client, foreign: str) -> str:
    """Have a cell display a document whose script tries to run code; return its URL."""
    base = f"http://localhost:{runtime.port}/mrp/v1"
    html = _DISPLAYED.replace("BASE", base).replace("FOREIGN", foreign)
    (asset,) = runtime.execute(f"from IPython.display import HTML; HTML({html!r})")["assets"]
    return f"http://localhost:{runtime.port}{asset['url']}"


def test_displayed_document_cannot_run_code_in_electron(pages: int, runtime: Client, tmp_path: Path) -> None:
    """Its scripts run, as plots need, but reach no runtime; nor does a page of another site that it frames."""
    url = _display(runtime, f"http://attacker.test:{pages}/")
    with started(tmp_path / "electron", f"--user-agent={_ELECTRON}") as electron:
        electron.get(url)
        wait_until(lambda: "inline" in electron.title, "its script has ended", 60)
        assert json.loads(electron.title) == _DISPLAYED_REACHED
    assert _marks(runtime) == "[]"


@pytest.mark.parametrize("page", ["localhost", "127.0.0.1", "file"])
def test_editor_frames_displayed_document(pages: int, runtime: Client, tmp_path: Path, page: str) -> None:
    editor = tmp_path / "editor.html"
    editor.write_text("<!doctype html><meta charset=utf-8><body></body>")
    url = _display(runtime, f"http://attacker.test:{pages}/")
    with started(tmp_path / "electron", f"--user-agent={_ELECTRON}") as electron:
        electron.get(editor.as_uri() if page == "file" else f"http://{page}:{pages}/")
        assert electron.execute_async_script(_FRAMING, url) == _DISPLAYED_REACHED
    assert _marks(runtime) == "[]"
