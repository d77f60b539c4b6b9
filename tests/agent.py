"""An agent: a client of the MCP server, made with the SDK, with methods that block."""

import base64
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mcp
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, ImageContent, Implementation, TextContent, Tool
from PIL import Image

from tests.client import Json
from tests.machine import MRMD, Machine

# What a client is told while a tool works: seconds passed, seconds in all, and a text.
Progress = tuple[float, float | None, str | None]


@dataclass(frozen=True)
class Answer:
    """What a tool has answered."""

    result: CallToolResult
    progress: list[Progress]

    @property
    def text(self) -> str:
        """Its text."""
        return "\n".join(block.text for block in self.result.content if isinstance(block, TextContent))

    @property
    def fields(self) -> Json:
        """Its structured content."""
        fields: Json = self.result.structured_content
        assert isinstance(fields, dict), self.text
        return fields

    @property
    def pictures(self) -> list[Image.Image]:
        """Its pictures."""
        images = [block for block in self.result.content if isinstance(block, ImageContent)]
        return [Image.open(io.BytesIO(base64.b64decode(image.data))) for image in images]


@dataclass(frozen=True)
class Agent:
    """An agent that is connected to a server."""

    client: mcp.Client
    portal: BlockingPortal

    def tools(self) -> dict[str, Tool]:
        """Return the tools by name."""
        return {tool.name: tool for tool in self.portal.call(self.client.list_tools).tools}

    def begin(self, tool: str, **arguments: Any) -> "Future[Answer]":
        """Call a tool, and return at once."""
        return self.portal.start_task_soon(self._call, tool, arguments)

    def call(self, tool: str, **arguments: Any) -> Json:
        """Call a tool that must succeed, and return its structured content."""
        answer = self.answer(tool, **arguments)
        assert not answer.result.is_error, answer.text
        return answer.fields

    def answer(self, tool: str, **arguments: Any) -> Answer:
        """Call a tool."""
        return self.begin(tool, **arguments).result(timeout=60)

    def error(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return what it says."""
        answer = self.answer(tool, **arguments)
        assert answer.result.is_error, answer.text
        return answer.text

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        told: list[Progress] = []

        async def add(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        return Answer(await self.client.call_tool(tool, dict(arguments), progress_callback=add), told)


@contextmanager
def connected(machine: Machine, *options: str, name: str = "agent") -> Iterator[Agent]:
    """Start ``mrmd-python --mcp`` with these options on a machine; yields an agent with that name."""
    command, *arguments = machine.command(MRMD, "--mcp", *options)
    server = StdioServerParameters(command=command, args=arguments)
    client = mcp.Client(stdio_client(server), client_info=Implementation(name=name, version="1"))
    with start_blocking_portal() as portal:
        connection = portal.wrap_async_context_manager(client)
        connection.__enter__()
        try:
            yield Agent(client, portal)
        finally:
            connection.__exit__(None, None, None)  # an exception would be printed with those of all tasks around it
