"""Standard output and standard error, written without blocking the event loop while the reader is slow."""

import asyncio
import os
import select
import sys

STDOUT, STDERR = 1, 2


class Stream:
    """An output stream of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.is_terminal = os.isatty(descriptor)
        self._encoding = sys.stdout.encoding
        self.at_line_start = True
        self._lock = asyncio.Lock()

    async def write(self, text: str) -> None:
        """Write text.

        Raises:
            OSError: nobody reads it any more.
        """
        if text:
            await self.write_bytes(text.encode(self._encoding, "replace"))

    async def write_bytes(self, data: bytes) -> None:
        """Write bytes."""
        async with self._lock:
            left = memoryview(data)
            while left:
                if not self._poll.poll(0):
                    await self._writable()
                try:
                    # As much as a pipe takes without blocking, once it is writable (pipe(7)).
                    left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
                except BlockingIOError:  # another program has made it non-blocking
                    await self._writable()
            self.at_line_start = data.endswith(b"\n")

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._descriptor)


def open_streams() -> tuple[Stream, Stream]:
    """Return standard output and standard error: the same stream if both are one terminal, file or pipe."""
    out, err = os.fstat(STDOUT), os.fstat(STDERR)
    stdout = Stream(STDOUT)
    return stdout, stdout if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino) else Stream(STDERR)
