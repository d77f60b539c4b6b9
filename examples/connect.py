"""Runs code in a runtime with the package's own client: python connect.py train 'print(input("Name? "))'."""

import asyncio
import sys

from mrmd_python import connect
from mrmd_python.clients.events import Error, InputRequest, Result, Stderr, Stdout
from mrmd_python.runtime import ServiceError


async def run(runtime_id: str, code: str) -> int:
    """Run code, show what it writes, and answer its input; return 0 if it succeeds."""
    async with connect(runtime_id, name="example") as runtime:
        async for event in runtime.execute(code):
            match event:
                case Stdout():
                    print(event.content, end="", flush=True)
                case Stderr():
                    print(event.content, end="", flush=True, file=sys.stderr)
                case InputRequest():  # the prompt is in the output
                    await runtime.answer(event.exec_id, await asyncio.to_thread(input))
                case Result():
                    return 0
                case Error():
                    return 1
    return 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(*sys.argv[1:])))
    except ServiceError as error:
        sys.exit(str(error))
