"""docs/protocol.md documents every endpoint that the server has, and its examples work."""

import re
import subprocess
from functools import partial
from pathlib import Path

from tests.client import Client
from tests.machine import wait_until

_DOCUMENT = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
_TOO_EARLY = re.compile(r'"(accepted|cancelled|interrupted)": false')
_CURL = "curl --fail-with-body --max-time 60 "


def _sections() -> dict[tuple[str, str], str]:
    """Return the section of each endpoint, by method and path."""
    parts = re.split(r"^### (GET|POST|DELETE) (\S+)$", _DOCUMENT, flags=re.MULTILINE)[1:]
    return {(parts[at], parts[at + 1]): parts[at + 2] for at in range(0, len(parts), 3)}


def _examples(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_document_lists_exactly_the_endpoints_and_all_their_fields(shared: Client) -> None:
    document = shared.get("/openapi.json")
    served = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    documented = _sections()
    assert documented.keys() == served.keys()
    named = set(re.findall(r"`([\w-]+)`", _DOCUMENT))
    for endpoint, operation in served.items():
        fields = {parameter["name"] for parameter in operation["parameters"]}
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            fields |= document["components"]["schemas"][reference.rpartition("/")[2]]["properties"].keys()
        in_path = set(re.findall(r"{(\w+)}", endpoint[1]))
        assert fields - in_path <= named, endpoint


def test_every_endpoint_has_an_example() -> None:
    for (method, path), section in _sections().items():
        target = re.sub(r"{\w+}", '[^/ "?]+', path)
        calls = [line for line in _examples(section) if re.search(rf'\$url{target}(\?[^"]*)?"? ?', line)]
        assert calls, (method, path)
        option = {"GET": "", "DELETE": "-X DELETE"}.get(method, "-d|-X POST")
        assert re.search(option, calls[-1]), calls


def test_protocol_examples_work(client: Client) -> None:
    """Runs the examples in order. A command after a background command is repeated until the latter has started."""
    settings, *commands = _examples(_DOCUMENT)
    settings = settings.replace(":8765/", f":{client.port}/")
    background: list[subprocess.Popen[bytes]] = []
    for command in commands:
        script = f"{settings}; {command.removesuffix('&').replace('curl ', _CURL)}"
        if command.endswith("&"):
            assert [each.wait(timeout=60) for each in background] == [0] * len(background)
            background.append(subprocess.Popen(["bash", "-c", script], stdout=subprocess.DEVNULL))
        else:
            wait_until(partial(_succeeds, script), f"this example succeeds: {command}", 60)
    assert [each.wait(timeout=60) for each in background] == [0, 0, 0, 0]


def _succeeds(script: str) -> bool:
    done = subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, ""), (script, done.stdout, done.stderr)
    return _TOO_EARLY.search(done.stdout) is None
