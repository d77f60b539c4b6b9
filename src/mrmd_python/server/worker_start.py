"""The start of a worker: it reports its version, and gets the server's IPython if its environment has none."""

import asyncio

from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.fallback_modules import IncompatibleIPythonError, fallback_modules
from mrmd_python.server.worker_link import Message, WorkerExit, WorkerLink


class SessionStartError(Exception):
    """A session's process did not come up; the message says why."""


class WorkerStart:
    """One start."""

    def __init__(self, environment: SessionEnvironment) -> None:
        self._environment = environment
        self._python_version: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # Why the worker cannot run here, if that is known.
        self.refusal: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the worker has come up, or will not."""
        return self._python_version.done()

    async def python_version(self) -> str:
        """Wait until the worker can run code; return its version of Python.

        Raises:
            SessionStartError: it has ended before.
        """
        return await self._python_version

    def on_message(self, message: Message, link: WorkerLink) -> None:
        """Handle a message of the worker."""
        match message["op"]:
            case "hello":
                self._python_version.set_result(message["pythonVersion"])
            case "failed":
                self.refusal = message["message"]
            case "fallback":
                executable = self._environment.executable
                try:
                    link.send({"op": "fallback", **fallback_modules(tuple(message["pythonVersion"]), executable)})
                except IncompatibleIPythonError as error:
                    self.refusal = f"{self._environment.virtualenv} cannot be used: {error}"
                    link.order_end()

    def on_exit(self, exit_: WorkerExit, last_words: str) -> None:
        """Report that the worker has ended before it came up; `last_words` is the last line that it wrote."""
        words = f": {last_words}" if last_words else ""
        reason = f"{self._environment.executable} cannot run a session: its process {exit_.cause()}{words}"
        self._python_version.set_exception(SessionStartError(self.refusal or reason))
