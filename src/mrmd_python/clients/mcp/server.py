"""The server: offers the tools on stdin and stdout."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent

from mrmd_python import __version__
from mrmd_python.clients.mcp.tools import TOOLS
from mrmd_python.runtime import ServiceError

_INSTRUCTIONS = """\
Live Python runtimes that you share with your user. Their variables stay between calls, and your user sees the same
variables, what you run and its output, in a console, an editor or a browser. Look at recent_activity and variables
before you change anything. Do not overwrite or delete the user's variables, reset or kill without being asked.
"""


def serve(runtime_id: str | None, session: str | None, *, read_only: bool) -> None:
    """Serve an agent on stdin and stdout until it closes stdin.

    Args:
        runtime_id: the runtime that all tools use; None if each call names one.
        session: the session that all tools use; None if each call can name one.
        read_only: leave out the tools that run code, or start or end anything.
    """
    fixed = {name: value for name, value in (("runtime", runtime_id), ("session", session)) if value is not None}
    server = MCPServer("mrmd-python", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    for function, annotations, of_all in TOOLS:
        if (read_only and not annotations.read_only_hint) or (of_all and runtime_id is not None):
            continue
        server.add_tool(_with_fixed(function, fixed), description=inspect.getdoc(function), annotations=annotations)
    server.run()


def _with_fixed(function: Callable[..., Any], fixed: Mapping[str, str]) -> Callable[..., Any]:
    """Return a tool without the parameters that are fixed; its ServiceErrors are answers that say so."""
    signature = inspect.signature(function)
    given = {name: value for name, value in fixed.items() if name in signature.parameters}

    @wraps(function)
    async def tool(**arguments: Any) -> Any:
        try:
            return await function(**arguments, **given)
        except ServiceError as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)

    left = [parameter for name, parameter in signature.parameters.items() if name not in given]
    tool.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    return tool
