"""README's commands, run as they stand there; its first three `sh` blocks are what .ci/run does."""

import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from mrmd_python.server.mrp import ROUTES
from tests.client import Client
from tests.machine import Machine, box_root, wait_until

_README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
_RUN_BY_CI = ("Set up", "Quick start", "Run the tests")
_REFUSED = re.compile(r'"(accepted|cancelled|interrupted)": false')
_CURL = "curl --fail-with-body --max-time 60 "
_CUT_OFF = 124  # timeout(1)


def _blocks(kind: str) -> list[tuple[str, str]]:
    """Return the heading and the content of each block of a kind."""
    sections = re.split(r"^## (.*)$", _README, flags=re.MULTILINE)[1:]
    return [
        (heading, block)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
        for block in re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


_ENDPOINTS = [line for heading, block in _blocks("sh") if heading not in _RUN_BY_CI for line in block.splitlines()]
_SESSIONS = [[line[2:] for line in block.splitlines() if line.startswith("$ ")] for _, block in _blocks("console")]


def test_every_endpoint_has_an_example() -> None:
    unseen = {(route.method, route.path) for route in ROUTES}
    for line in _ENDPOINTS[1:]:
        words = re.fullmatch(r'curl -sSN? "?\$url([^\s"?]*)(?:\?\S+)?(.*)', line)
        assert words is not None, line
        named = re.search(r"-X (\w+)", words[2])
        method = named[1] if named is not None else "POST" if " -d " in words[2] else "GET"
        (met,) = (
            route.path
            for route in ROUTES
            if route.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path), words[1])
        )
        unseen.discard((method, met))
    assert unseen == set()


def test_the_examples_of_endpoints_work(client: Client) -> None:
    """One after the other; what one does in the background, the next one is for, and may have to wait for."""
    settings, *commands = _ENDPOINTS
    settings = settings.replace(":8765/", f":{client.port}/")
    behind: list[subprocess.Popen[bytes]] = []
    for command in commands:
        script = f"{settings}; {command.removesuffix('&').replace('curl ', _CURL)}"
        if command.endswith("&"):
            behind.append(subprocess.Popen(["bash", "-c", script], stdout=subprocess.DEVNULL))
        else:
            wait_until(partial(_is_carried_out, script), command, 60)
    assert [each.wait(timeout=60) for each in behind] == [0, 0, 0]


def _is_carried_out(script: str) -> bool:
    done = subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, ""), (script, done.stdout, done.stderr)
    return _REFUSED.search(done.stdout) is None


@pytest.mark.systemd
@pytest.mark.parametrize("commands", _SESSIONS, ids=lambda commands: commands[0])
def test_what_terminals_are_shown_with_works(
    box: Machine, box_leader: int, free_port: int, commands: list[str]
) -> None:
    if not commands[0].startswith("mrmd-python --id vllm"):
        box.start("vllm")  # which most of them are about
    for command in commands:
        # Nothing in the box knows that a user may do this to themselves: that takes polkit.
        who = box_root(box_leader) if command.startswith("loginctl") else box
        endless = " --foreground " in command
        done = who.run(
            *["timeout", "3"] * endless, "bash", "-c", command.replace("8765", str(free_port)), env={"USER": "dev"}
        )
        assert done.returncode == (_CUT_OFF if endless else 0), (command, done.stderr)
    # An instance of the template that systemctl has stopped is in no list.
    for kept in box.read("ls", f"{box.home}/.mrmd/env").split():
        assert box.mrmd("--kill", kept.removesuffix(".env")).returncode == 0
