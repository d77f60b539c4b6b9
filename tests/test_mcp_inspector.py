"""Agents use runtimes by the MCP server: the tools, with the command line of the MCP inspector."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client import Json
from tests.machine import MRMD, Machine

_INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
# It uses what Node.js 18, of Debian 12, has only with these options. Later versions ignore them.
_NODE_OPTIONS = "--experimental-global-customevent --experimental-global-webcrypto"


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("this test needs the MCP inspector, which npm installs: apt-get install npm")
    directory = tmp_path_factory.mktemp("inspector")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), _INSPECTOR]
    subprocess.run(install, check=True)
    return [node, str(directory / "node_modules/.bin/mcp-inspector"), "--cli"]


class Inspector:
    """The command with a configuration of the server, in which it is named as in README."""

    def __init__(self, command: list[str], machine: Machine) -> None:
        config = Path(machine.home, "mcp.json")
        server = {"command": MRMD, "args": ["--mcp"], "env": dict(machine.environ)}
        config.write_text(json.dumps({"mcpServers": {"python": server}}))
        self._machine = machine
        self._command = [*command, "--config", str(config), "--server", "python", "--quiet", "--format", "json"]

    def run(self, *arguments: str) -> Json:
        """Send a request, and return its result."""
        done = self._machine.run(*self._command, *arguments, env={"NODE_OPTIONS": _NODE_OPTIONS})
        assert done.stdout, done.stderr
        result: Json = json.loads(done.stdout)["result"]
        assert (done.returncode == 0) == (not result.get("isError")), done.stderr
        return result

    def call(self, tool: str, **arguments: object) -> Json:
        """Call a tool, and return its result."""
        return self.run("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))


@pytest.mark.timeout(300)
def test_inspector_accepts_the_tools_and_uses_them(here: Machine, inspector: list[str]) -> None:
    use = Inspector(inspector, here)
    # It fails if a schema is not portable.
    tools = {tool["name"] for tool in use.run("--method", "tools/list", "--strict")["tools"]}
    assert tools == {
        *("run_code", "read_output", "answer_input", "interrupt", "variables", "inspect", "recent_activity", "reset"),
        *("list_runtimes", "start_runtime", "kill_runtime"),
    }
    assert use.call("start_runtime", runtime="a")["structuredContent"]["already_running"] is False
    code = "from PIL import Image; Image.new('RGB', (30, 20))"
    text, picture = use.call("run_code", runtime="a", code=code)["content"]
    assert (text["type"], picture["mimeType"]) == ("text", "image/png")
    assert use.call("kill_runtime", runtime="a")["structuredContent"]["id"] == "a"
