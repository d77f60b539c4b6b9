"""Runs the command mrmd-python, which knows how runtimes are kept."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.venv import own_python

_PACKAGE = Path(__file__).resolve().parents[1]
# States of a runtime that has been started before, and can be started again with the options that it had.
_ENDED = ("dead", "failed", "stopped")


async def run(*arguments: str, on_line: Callable[[str], None] = lambda line: None) -> Any:
    """Run the command, and return the JSON that it prints.

    Args:
        arguments: its arguments, without --json.
        on_line: called with each line that it prints to stderr.

    Raises:
        ServiceError: it fails, with what it says.
    """
    process = await asyncio.create_subprocess_exec(
        own_python(),
        str(_PACKAGE),
        *arguments,
        "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    printed = asyncio.ensure_future(process.stdout.read())
    said: list[str] = []
    try:
        async for line in process.stderr:
            said.append(line.decode(errors="replace").strip().removeprefix("mrmd-python: "))
            on_line(said[-1])
        out = await printed
        status = await process.wait()
    finally:
        printed.cancel()
        if process.returncode is None:
            process.terminate()
    if status != 0:
        raise ServiceError("\n".join(said) or f"mrmd-python {' '.join(arguments)} failed with status {status}")
    return json.loads(out)


async def start(runtime_id: str, *options: str, on_line: Callable[[str], None]) -> Any:
    """Start a runtime if it does not run, and return its record.

    Args:
        runtime_id: the runtime.
        options: how to start it; without any, one that has crashed or was stopped gets the options that it had.
        on_line: called with each line that the command prints to stderr.

    Raises:
        ServiceError: it does not start.
    """
    if not options:
        states = {each["id"]: each["status"] for each in await run("--list")}
        if states.get(runtime_id) in _ENDED:
            return await run("--restart", runtime_id, on_line=on_line)
    return await run("--id", runtime_id, *options, on_line=on_line)
