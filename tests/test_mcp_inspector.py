"""Agents use runtimes by the MCP server: the tools, with the command line of the MCP inspector."""

import json
import re
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

    def fields(self, tool: str, **arguments: object) -> Json:
        """Call a tool, and return the structured content of its result."""
        fields: Json = self.call(tool, **arguments)["structuredContent"]
        return fields


_CODE = """
from PIL import Image
rows = [1, 2, 3]
display(Image.new('RGB', (30, 20)))
name = input('Name? ')
while True:
    pass
"""


@pytest.mark.timeout(300)
def test_inspector_drives_each_tool(here: Machine, inspector: list[str]) -> None:
    use = Inspector(inspector, here)
    # It fails if a schema is not portable.
    tools = {tool["name"] for tool in use.run("--method", "tools/list", "--strict")["tools"]}
    a: Json = {"runtime": "a"}
    assert not use.fields("start_runtime", **a)["already_running"]
    assert [found["status"] for found in use.fields("list_runtimes")["runtimes"]] == ["running"]
    text, picture = use.call("run_code", **a, code=_CODE)["content"]
    assert picture["mimeType"] == "image/png"
    execution, position = re.findall(r'answer_input\(execution_id="(.+)", position=(\d+)', text["text"])[0]
    where = {"execution_id": execution, "position": int(position), **a}
    assert use.fields("answer_input", **where, text="Ada", wait_seconds=0)["state"] == "running"
    assert use.fields("variables", **a, pattern="rows")["variables"][0]["length"] == 3
    assert use.fields("inspect", **a, name="name")["value"] == "'Ada'"
    assert use.fields("interrupt", **a, execution_id=execution) == {"interrupted": True}
    interrupted = use.call("read_output", **where, wait_seconds=30)
    assert interrupted["isError"]
    assert interrupted["structuredContent"]["error"]["type"] == "KeyboardInterrupt"
    (item,) = use.fields("recent_activity", **a)["executions"]
    assert (item["execution_id"], item["client"], item["state"]) == (execution, "inspector-cli", "error")
    assert "are gone" in use.fields("reset", **a)["result"]
    assert use.fields("kill_runtime", **a)["id"] == "a"
    assert tools == {
        *("run_code", "read_output", "answer_input", "interrupt", "variables", "inspect", "recent_activity", "reset"),
        *("list_runtimes", "start_runtime", "kill_runtime"),
    }
