"""The runtime behind a kernel: found if it runs, else started by the command mrmd-python."""

import os
from datetime import datetime

from mrmd_python.clients import command
from mrmd_python.clients.client import DEFAULT_SESSION, Client, connect
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home


class KernelRuntime:
    """A runtime, and the kernel's client of it.

    Attributes:
        id: its id.
        is_temporary: whether no other kernel can find it, so that it ends with this one.
        notes: lines for the user, to show with the next cell.
        next_count: the number of the next cell, if no other client runs one before.
    """

    def __init__(self, runtime_id: str, *, is_temporary: bool = False) -> None:
        self.id = runtime_id
        self.is_temporary = is_temporary
        self.notes: list[str] = []
        self.next_count = 1
        self._home = Home.of(os.environ)
        # The last one; its runtime may have ended.
        self._client: Client | None = None

    async def client(self) -> Client | None:
        """Return a client of the runtime, or None if it does not run.

        Raises:
            ServiceError: it cannot be reached from here.
        """
        record = registry.read(self._home, self.id)
        if record is None or not registry.may_be_running(self._home, record):
            return None
        if self._client is None or self._client.record != record:
            await self._connect()
        return self._client

    async def started(self) -> Client:
        """Return a client of the runtime, which is started if it does not run.

        Raises:
            ServiceError: it does not start, or cannot be reached from here.
        """
        client = await self.client()
        if client is None:
            await command.start(self.id, on_line=self._note)
            client = await self.client()
        if client is None:
            raise ServiceError(f"the runtime {self.id!r} has ended at once; see: mrmd-python --logs {self.id}")
        return client

    async def end_if_temporary(self) -> None:
        """End the runtime if no other kernel can find it.

        Raises:
            ServiceError: it does not end.
        """
        if self.is_temporary and await self.client() is not None:
            await command.run("--kill", self.id)

    async def _connect(self) -> None:
        earlier, self._client = self._client, await connect(self.id, name="jupyter").__aenter__()
        sessions = await self._client.sessions()
        self.next_count = 1 + sum(each["executionCount"] for each in sessions if each["id"] == DEFAULT_SESSION)
        if earlier is not None:
            await earlier.__aexit__()
            self._note(f"{self.id!r} is a new runtime now: the variables are gone")
            return
        executions = await self._client.executions(DEFAULT_SESSION)
        for running in (each for each in executions if each["state"] == "running"):
            since = datetime.fromisoformat(running["started"] or running["created"]).astimezone()
            self._note(f"{self.id!r} has been running other code since {since:%H:%M:%S}; to see its output: %attach")

    def _note(self, line: str) -> None:
        self.notes.append(f"mrmd-python: {line}")
