"""Interrupts the execution that a terminal shows."""

import asyncio
from contextlib import suppress

from mrmd_python.clients.client import Client
from mrmd_python.runtime import ServiceError

_RETRY_SECONDS = 0.05


async def interrupt(client: Client, exec_id: str) -> None:
    """Interrupt an execution, or remove it from the queue: not another one, if it has just ended.

    The caller cancels this when the execution has ended: the request to run it may never arrive.
    """
    while True:
        with suppress(ServiceError):  # if the runtime has ended, so do the events
            execution = await client.find_execution(exec_id)
            if execution is not None:
                if execution["ended"] is None:
                    await client.cancel(exec_id)
                return
        await asyncio.sleep(_RETRY_SECONDS)  # the request to run it is on its way
