"""What the tools answer, as structured content. Names are for agents: descriptions say what to do with a value."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class CodeError(BaseModel):
    """Why code failed."""

    type: str
    message: str
    traceback: Annotated[str | None, Field(description="null if it is part of output.")]


class ExecutionOutput(BaseModel):
    """The output of an execution from a position on, and its state."""

    execution_id: str
    state: Annotated[
        Literal["queued", "running", "waiting_for_input", "done", "error", "lost"],
        Field(description="queued: behind other code of the session. lost: the runtime has ended."),
    ]
    output: Annotated[str, Field(description="What was printed and displayed, in order.")]
    result: Annotated[str | None, Field(description="The last expression.")] = None
    error: CodeError | None = None
    prompt: Annotated[str | None, Field(description="What the code asks, if it waits for input.")] = None
    position: Annotated[int, Field(description="Where read_output returns what comes next.")]
    left_out_at: Annotated[int | None, Field(description="Where read_output returns what is left out of output.")] = (
        None
    )


class Interrupted(BaseModel):
    """Whether code was interrupted."""

    interrupted: Annotated[bool, Field(description="false if the execution had ended.")]


class Variable(BaseModel):
    """A variable of a session."""

    name: str
    type: str
    value: Annotated[str, Field(description="Its repr, shortened.")]
    size: str | None = None
    shape: list[int] | None = None
    dtype: str | None = None
    length: int | None = None


class Variables(BaseModel):
    """The variables of a session."""

    variables: list[Variable]
    count: int
    truncated: Annotated[bool, Field(description="Whether there are more: use a pattern.")]


class Attribute(BaseModel):
    """An attribute, item or column of an object."""

    name: str
    type: str
    value: str


class Inspection(BaseModel):
    """What is known of a name."""

    name: str
    kind: str | None = None
    type: str | None = None
    signature: str | None = None
    value: str | None = None
    docstring: str | None = None
    source_code: str | None = None
    file: str | None = None
    line: int | None = None
    children: list[Attribute] = []


class ActivityItem(BaseModel):
    """Code that ran, runs or waits in a session."""

    execution_id: str
    client: Annotated[str | None, Field(description="The program that sent it, such as an editor, a page or an agent.")]
    state: Literal["queued", "running", "done", "error"]
    code: str
    created: str
    started: str | None
    ended: str | None


class Activity(BaseModel):
    """What ran in a session, newest first."""

    executions: list[ActivityItem]


class Runtime(BaseModel):
    """A runtime."""

    id: str
    status: Annotated[str, Field(description='Tools can use it if this is "running".')]
    detail: str | None = None
    cwd: str | None = None
    venv: str | None = None
    url: str | None = None
    memory: Annotated[int | None, Field(description="Bytes that all its processes use.")] = None
    gpu_memory: Annotated[int | None, Field(alias="gpuMemory", description="Bytes.")] = None


class Runtimes(BaseModel):
    """All runtimes of the user."""

    runtimes: list[Runtime]


class Started(BaseModel):
    """A runtime that runs now."""

    id: str
    url: str
    cwd: str
    venv: str
    already_running: Annotated[bool, Field(description="If false, it has no variables yet.")]


class Killed(BaseModel):
    """A runtime that has ended."""

    id: str
    processes: Annotated[int, Field(description="The number of processes that were ended.")]
    memory: Annotated[int, Field(description="Bytes that were freed.")]
    gpu_memory: Annotated[int | None, Field(alias="gpuMemory", description="Bytes.")] = None
