"""Calls on files, in a thread and with a time limit: if a network file system hangs, the event loop must not."""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_LIMIT_SECONDS = 5.0


class FileThread:
    """A thread for calls on one directory, one at a time."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1)
        # The call that has exceeded the limit.
        self._hanging: asyncio.Future[Any] | None = None

    async def call(self, function: Callable[[], _Result]) -> _Result:
        """Return the result of a function.

        Raises:
            TimeoutError: it takes more than five seconds, or an earlier call does.
        """
        if self._hanging is None or self._hanging.done():
            future = asyncio.get_running_loop().run_in_executor(self._executor, function)
            await asyncio.wait({future}, timeout=_LIMIT_SECONDS)
            if future.done():
                return future.result()
            self._hanging = future
        raise TimeoutError(errno.ETIMEDOUT, "it does not respond")
