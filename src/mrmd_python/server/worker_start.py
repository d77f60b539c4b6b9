"""The start of a worker: it reports its version, and gets the server's IPython if its environment has none."""

import asyncio

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.fallback_modules import IncompatibleIPythonError, fallback_modules
from mrmd_python.server.worker_link import Message, WorkerExit, WorkerLink


class SessionStartError(Exception):
    """A session's process did not start; the message says why."""


class WorkerStart:
    """One start of a worker."""

    def __init__(self, environment: SessionEnvironment) -> None:
        self._environment = environment
        self._python_version: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # The files and directories that it has loaded files from, once it has started.
        self.sources: list[str] = []
        # Why the worker cannot run, if known.
        self.error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the worker has started, or has failed to start."""
        return self._python_version.done()

    async def python_version(self) -> str:
        """Wait until the worker can run code; return its version of Python.

        Raises:
            SessionStartError: the worker ended before.
        """
        return await self._python_version

    def on_message(self, message: Message, link: WorkerLink) -> None:
        """Handle a message from the worker."""
        match message["op"]:
            case "hello":
                self.sources = message["sources"]
                self._python_version.set_result(message["pythonVersion"])
            case "failed":
                self.error = message["message"]
            case "fallback":
                executable = self._environment.executable
                try:
                    link.send({"op": "fallback", **fallback_modules(tuple(message["pythonVersion"]), executable)})
                except IncompatibleIPythonError as error:
                    self.error = f"{self._environment.virtualenv} cannot be used: {error}"
                    link.request_end()

    def on_exit(self, exit_: WorkerExit, last_line: str) -> None:
        """Handle the end of a worker that has not started; `last_line` is the last line that it wrote."""
        detail = f": {last_line}" if last_line else ""
        reason = f"{self._environment.executable} cannot run a session: its process {exit_.cause()}{detail}"
        self._python_version.set_exception(SessionStartError(self.error or reason))
