"""The tools. Their docstrings and the descriptions of their parameters are what a model knows of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import AfterValidator, Field

from mrmd_python.clients import command
from mrmd_python.clients.client import DEFAULT_SESSION, Client, connect
from mrmd_python.clients.events import ExecutionEvent
from mrmd_python.clients.mcp.output import Output
from mrmd_python.clients.mcp.progress import Progress
from mrmd_python.clients.mcp.results import (
    Activity,
    ActivityItem,
    Attribute,
    Inspection,
    Interrupted,
    Killed,
    Runtime,
    Runtimes,
    Started,
    Variable,
    Variables,
)
from mrmd_python.clients.mcp.text import shortened
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.printable import printable
from mrmd_python.runtime.validate import parse_id

if TYPE_CHECKING:
    from mrmd_python.server.execution import ExecutionJson

# Long enough to get what there is.
_SHORTEST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 3600
_CODE_CHARACTERS = 2_000
_DOCUMENT_CHARACTERS = 8_000
_VARIABLES = 200
_CHILDREN = 100
# The longest that MRP accepts.
_NAME_CHARACTERS = 256

RuntimeId = Annotated[str, AfterValidator(parse_id), Field(description="The id of the runtime.")]
Session = Annotated[
    str,
    Field(description="The session of the runtime: a process with its own variables. Users work in the default one."),
]
ExecutionId = Annotated[str, Field(description="The execution_id from run_code or recent_activity.")]
Wait = Annotated[
    float,
    Field(
        ge=0,
        le=_LONGEST_WAIT_SECONDS,
        description="Return after this many seconds if the code has not ended. It goes on running.",
    ),
]


async def run_code(
    context: Context[Any, Any],
    code: Annotated[str, Field(description="Python, as in a cell of a notebook: magics and top-level await work.")],
    runtime: RuntimeId,
    session: Session = DEFAULT_SESSION,
    wait_seconds: Wait = 30,
) -> CallToolResult:
    """Run Python code in the session that the user works in too, and return its output.

    The code has the user's variables, and the user sees what you run and its output. The value of the last expression
    is returned, and pictures such as plots are included. Code of one session runs one after another. If it has not
    ended after wait_seconds, it goes on, and read_output returns the rest; do not run it again.
    """
    async with connect(runtime, name=_client_name(context)) as client:
        exec_id = await client.submit(code, session=session, rich=True)
        output = Output(exec_id, read_asset=client.asset)
        return await _watched(context, output, client.follow(exec_id), wait_seconds)


async def read_output(
    context: Context[Any, Any],
    execution_id: ExecutionId,
    runtime: RuntimeId,
    position: Annotated[int, Field(ge=0, description="Where to begin: a position from an earlier result.")] = 0,
    wait_seconds: Wait = 0,
) -> CallToolResult:
    """Return the output of code that runs or has ended, yours or the user's, from a position on.

    Waits up to wait_seconds for the end of the code. Long output is cut in the middle, with a line that says from which
    position to read what is left out.
    """
    async with connect(runtime) as client:
        return await _followed(context, client, execution_id, position, wait_seconds)


async def answer_input(
    context: Context[Any, Any],
    execution_id: ExecutionId,
    text: Annotated[str, Field(description="The line to send.")],
    position: Annotated[int, Field(ge=0, description="The position from the result that showed the question.")],
    runtime: RuntimeId,
    wait_seconds: Wait = 30,
) -> CallToolResult:
    """Answer input() of code that waits for it, and return the output from a position on."""
    async with connect(runtime) as client:
        if not await client.answer(execution_id, text):
            raise ServiceError(f"{execution_id} does not wait for input")
        return await _followed(context, client, execution_id, position, wait_seconds)


async def interrupt(execution_id: ExecutionId, runtime: RuntimeId) -> Interrupted:
    """Interrupt code that runs, as Ctrl-C does, or remove it from the queue. Variables are kept."""
    async with connect(runtime) as client:
        found = await _execution(client, execution_id)
        if found["state"] in ("done", "error"):
            return Interrupted(interrupted=False)
        await client.cancel(execution_id)
        return Interrupted(interrupted=True)


async def variables(
    runtime: RuntimeId,
    session: Session = DEFAULT_SESSION,
    pattern: Annotated[str, Field(description="A part of the name, or a pattern such as df_*.")] = "",
) -> Variables:
    """List the variables of a session with type, shape and a short value. Works also while code runs."""
    async with connect(runtime) as client:
        found = await client.variables(session, pattern)
    listed = [Variable.model_validate(each) for each in found["variables"][:_VARIABLES]]
    return Variables(variables=listed, count=found["count"], truncated=len(listed) < found["count"])


async def inspect(
    name: Annotated[str, Field(description="A name, with attributes if needed: df, df.groupby, np.linalg.norm.")],
    runtime: RuntimeId,
    session: Session = DEFAULT_SESSION,
    source: Annotated[bool, Field(description="Return its source code too.")] = False,
) -> Inspection:
    """Describe an object of a session: type, value, signature, documentation and what it contains.

    Runs no code, and works also while code runs.
    """
    async with connect(runtime) as client:
        found = await client.inspect(name, len(name), 2 if source else 1, session)
    if not found["found"]:
        raise ServiceError(f"there is no {name!r} in the session {session!r}")
    children = [Attribute.model_validate(each) for each in (found["children"] or [])[:_CHILDREN]]
    return Inspection(
        name=found["name"] or name,
        kind=found["kind"],
        type=found["type"],
        signature=found["signature"],
        value=_short(found["value"]),
        docstring=_short(found["docstring"]),
        source_code=_short(found["sourceCode"]) if source else None,
        file=found["file"],
        line=found["line"],
        children=children,
    )


async def recent_activity(
    runtime: RuntimeId,
    session: Session = DEFAULT_SESSION,
    limit: Annotated[int, Field(ge=1, le=100, description="At most this many, the newest.")] = 20,
) -> Activity:
    """Show what ran in a session, by whom, and how it ended: the user, other agents and you share it.

    The output of each is there for read_output.
    """
    async with connect(runtime) as client:
        found = await client.executions(session)
    return Activity(executions=[_activity_item(each) for each in reversed(found[-limit:])])


async def reset(runtime: RuntimeId, session: Session = DEFAULT_SESSION) -> str:
    """Interrupt what runs in a session and remove all its variables, the user's too."""
    async with connect(runtime) as client:
        await client.reset(session)
    return f"The variables of the session {session!r} are gone."


async def list_runtimes() -> Runtimes:
    """List the Python runtimes of the user, where they run and what they use."""
    return Runtimes(runtimes=[Runtime.model_validate(each) for each in await command.run("--list")])


async def start_runtime(
    context: Context[Any, Any],
    runtime: RuntimeId,
    cwd: Annotated[str | None, Field(description="Working directory of the code.")] = None,
    venv: Annotated[str | None, Field(description="Virtual environment to run code in.")] = None,
) -> Started:
    """Start a runtime if it does not run: with the options that it had, if it has crashed or was stopped."""
    given = [f"--{name}={value}" for name, value in (("cwd", cwd), ("venv", venv)) if value is not None]
    said = [""]
    starting = asyncio.ensure_future(command.start(runtime, *given, on_line=said.append))
    try:
        await Progress(context, lambda: said[-1]).until_done(starting)
    finally:
        starting.cancel()
    record = await starting
    already = bool(record.get("alreadyRunning"))
    return Started(already_running=already, **{name: record[name] for name in ("id", "url", "cwd", "venv")})


async def kill_runtime(runtime: RuntimeId) -> Killed:
    """End a runtime and every process that its code started, and free their memory. All its variables are lost."""
    (killed,) = await command.run("--kill", runtime)
    return Killed.model_validate(killed)


class Tool(NamedTuple):
    """A tool, and what a client should know of it."""

    function: Callable[..., Any]
    annotations: ToolAnnotations
    # Whether it is about all runtimes: left out if the server is bound to one.
    of_all: bool = False


_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def _changes(*, destroys: bool, idempotent: bool = False, open_world: bool = False) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=False, destructive_hint=destroys, idempotent_hint=idempotent, open_world_hint=open_world
    )


TOOLS = (
    Tool(run_code, _changes(destroys=True, open_world=True)),
    Tool(read_output, _READS),
    Tool(answer_input, _changes(destroys=False, open_world=True)),
    Tool(interrupt, _changes(destroys=True, idempotent=True)),
    Tool(variables, _READS),
    Tool(inspect, _READS),
    Tool(recent_activity, _READS),
    Tool(reset, _changes(destroys=True, idempotent=True)),
    Tool(list_runtimes, _READS, of_all=True),
    Tool(start_runtime, _changes(destroys=False, idempotent=True)),
    Tool(kill_runtime, _changes(destroys=True, idempotent=True), of_all=True),
)


def _client_name(context: Context[Any, Any]) -> str:
    """Return the name of the agent."""
    parameters = context.request_context.session.client_params
    name = parameters.client_info.name if parameters is not None else ""
    return printable(name)[:_NAME_CHARACTERS] or "MCP"


async def _followed(
    context: Context[Any, Any], client: Client, exec_id: str, position: int, seconds: float
) -> CallToolResult:
    found = await _execution(client, exec_id)
    has_ended = found["state"] in ("done", "error")
    output = Output(exec_id, position=position, state=found["state"], rich=found["rich"], read_asset=client.asset)
    return await _watched(
        context, output, client.follow(exec_id, position), _LONGEST_WAIT_SECONDS if has_ended else seconds
    )


async def _execution(client: Client, exec_id: str) -> "ExecutionJson":
    found = await client.find_execution(exec_id)
    if found is None:
        raise ServiceError(
            f"the runtime {client.runtime_id!r} has no execution {exec_id!r}: it keeps the last ones of each session, "
            "which recent_activity lists, and loses them when it ends"
        )
    return found


async def _watched(
    context: Context[Any, Any], output: Output, events: AsyncIterator[ExecutionEvent], seconds: float
) -> CallToolResult:
    """Return the output of an execution when it has ended, waits for input, or after some seconds."""
    seconds = max(seconds, _SHORTEST_WAIT_SECONDS)
    reading = asyncio.ensure_future(output.read(events))
    try:
        await Progress(context, lambda: output.last_line).until_done(reading, seconds, lambda: output.waits_for_input)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    problem = None if reading.cancelled() else reading.exception()
    if problem is not None and not isinstance(problem, ServiceError):
        raise problem
    return await output.answer(problem)


def _activity_item(found: "ExecutionJson") -> ActivityItem:
    return ActivityItem(
        execution_id=found["execId"],
        client=found["client"],
        state=found["state"],
        code=shortened(found["code"], _CODE_CHARACTERS),
        created=found["created"],
        started=found["started"],
        ended=found["ended"],
    )


def _short(text: str | None) -> str | None:
    return None if text is None else shortened(text, _DOCUMENT_CHARACTERS)
