"""The kernel: Jupyter's requests as requests to a runtime."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from ipykernel.kernelbase import Kernel

from mrmd_python import __version__
from mrmd_python.clients import command
from mrmd_python.clients.client import DEFAULT_SESSION, Client, new_exec_id
from mrmd_python.clients.events import Error, ExecutionEvent, Result
from mrmd_python.clients.jupyter import answers, names
from mrmd_python.clients.jupyter.outputs import Outputs, error_content
from mrmd_python.clients.jupyter.runtime import KernelRuntime
from mrmd_python.clients.jupyter.shown import ShownExecution
from mrmd_python.runtime import ServiceError
from mrmd_python.runtime.address import not_running

if TYPE_CHECKING:
    from tornado.platform.asyncio import BaseAsyncIOLoop

    from mrmd_python.server.execution import ExecutionJson

_T = TypeVar("_T")
_Json = dict[str, Any]

# A cell that asks for help: ?name or name?, with two question marks for the source too.
_HELP = re.compile(r"\s*(?:(?P<before>\?\??)\s*)?(?P<name>[A-Za-z_][\w.]*)\s*(?(before)|(?P<after>\?\??))\s*")
_WHOLE_HISTORY = 10_000
_POLL_SECONDS = 0.02
# jupyter_client interrupts a kernel just before it asks it to shut down.
_SHUTDOWN_SECONDS = 0.2
# How the ids of code begin that front ends run for themselves.
_SILENT = "silent-"


class RuntimeKernel(Kernel):
    """A kernel whose cells run in a runtime, which goes on when the kernel ends."""

    implementation = "mrmd-python"
    implementation_version = __version__
    banner = f"mrmd-python {__version__}"
    language_info = {  # noqa: RUF012 - the base class declares it
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._outputs = Outputs(self)
        # None until it is known which notebook the kernel is for.
        self._runtime: KernelRuntime | None = None
        # What the front end has run for itself before that.
        self._postponed: list[str] = []
        self._shown: ShownExecution | None = None
        self._is_ending = False
        # The sender of the request that is being handled, and the request.
        self._parent: tuple[Any, Any] = (None, None)
        self._tasks: set[asyncio.Task[None]] = set()

    def choose_runtime(self, runtime_id: str | None) -> None:
        """Use the runtime with an id or, without one, that of the notebook, if the front end has named it already."""
        notebook = names.notebook_of_session(os.environ.pop("JPY_SESSION_NAME", ""))
        os.environ.pop("JPY_PARENT_PID", None)  # like the other, for this process alone
        if runtime_id is not None:
            self._runtime = KernelRuntime(runtime_id)
        elif notebook is not None:
            self._runtime = KernelRuntime(names.runtime_of_notebook(notebook))

    @property
    def kernel_info(self) -> _Json:
        """What front ends learn of the kernel: no debugger and no subshells, which the base class has."""
        return {**super().kernel_info, "supported_features": [], "debugger": False}

    def start(self) -> None:
        """Serve the front ends."""
        super().start()
        self._loop = cast("BaseAsyncIOLoop", self.io_loop).asyncio_loop
        # The base class sends this process SIGINT when it gets an interrupt_request.
        self._loop.add_signal_handler(signal.SIGINT, self._on_sigint)

    def pre_handler_hook(self) -> None:
        """Keep the handler of SIGINT."""

    def post_handler_hook(self) -> None:
        """Keep the handler of SIGINT."""

    def set_parent(self, ident: Any, parent: Any, channel: str = "shell") -> None:
        """Note which request outputs and questions belong to."""
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            self._parent = ident, parent
            for stream in (sys.stdout, sys.stderr):
                stream.set_parent(parent)  # type: ignore[union-attr]

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: str | None = None,
    ) -> _Json:
        """Run a cell."""
        notebook = names.notebook_of_cell(cell_id)
        if self._runtime is None and silent and notebook is None:
            self._postponed.append(code)
            return _reply(0)
        self._allow_stdin = allow_stdin
        runtime = self._runtime = self._runtime or _runtime_of(notebook)
        try:
            match code.split():
                case ["%runtimes"]:
                    return await self._list_runtimes(runtime, code)
                case ["%attach", *exec_id] if len(exec_id) <= 1:
                    return await self._attach(runtime, code, *exec_id)
            client = await self._begin(runtime)
            if silent:
                return await self._run_silently(client, code)
            asked = _HELP.fullmatch(code)
            if asked is not None:
                return await self._help(runtime, client, asked)
            reply = await self._run(runtime, client, code, store_history=store_history, cell_id=cell_id)
            return reply | {"user_expressions": await _values(client, user_expressions or {})}
        except ServiceError as error:
            shown = Error(type=type(error).__name__, message=str(error), traceback=[])
            self._outputs.error(shown)
            return _error(shown, runtime.next_count)

    async def do_complete(self, code: str, cursor_pos: int) -> _Json:
        """Complete code at a cursor."""
        return answers.completion(await self._query(lambda client: client.complete(code, cursor_pos)), cursor_pos)

    async def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> _Json:
        """Describe the object at a cursor."""
        detail: Literal[1, 2] = 2 if detail_level else 1
        return answers.inspection(await self._query(lambda client: client.inspect(code, cursor_pos, detail)))

    async def do_is_complete(self, code: str) -> _Json:
        """Say whether code is complete."""
        return answers.completeness(await self._query(lambda client: client.is_complete(code)))

    async def do_history(
        self,
        hist_access_type: str,
        output: bool,
        raw: bool,
        session: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> _Json:
        """Return cells that the runtime has run."""
        page = await self._query(lambda client: client.history(_WHOLE_HISTORY, pattern or ""))
        entries = [] if page is None else page["entries"]
        if hist_access_type == "range":
            is_known = session in (None, 0, answers.HISTORY_NUMBER)
            indexes = range(start or 0, sys.maxsize if stop is None else stop)
            entries = [entry for entry in entries if is_known and entry["historyIndex"] in indexes]
        if unique:
            entries = list({entry["code"]: entry for entry in reversed(entries)}.values())[::-1]
        return answers.history(entries[-n:] if n else entries, output=output)

    async def do_shutdown(self, restart: bool) -> _Json:
        """Give the runtime a new session for a restart; otherwise leave it alone if another kernel can find it."""
        self._is_ending = True
        if self._runtime is not None:
            ending = _new_session(self._runtime) if restart else self._runtime.end_if_temporary()
            try:
                # This is the control channel's thread, with an event loop of its own.
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ending, self._loop))
            except ServiceError as error:
                self.log.warning("%s", error)
        return {"status": "ok", "restart": restart}

    def _publish_execute_input(self, code: str, parent: Any, execution_count: int) -> None:
        """Do nothing yet: the base class does not know the number of the cell, which the runtime gives."""

    def _announce(self, code: str, count: int) -> None:
        super()._publish_execute_input(code, self._parent[1], count)

    async def _begin(self, runtime: KernelRuntime) -> Client:
        """Return a client, after showing what the user has to know of the runtime."""
        client = await runtime.started()
        self._outputs.note(runtime.notes)
        runtime.notes = []
        postponed, self._postponed = self._postponed, []
        for code in postponed:
            await _submit_silently(client, code)
        return client

    async def _run(
        self, runtime: KernelRuntime, client: Client, code: str, *, store_history: bool, cell_id: str | None
    ) -> _Json:
        self._announce(code, runtime.next_count)
        exec_id = new_exec_id()
        events = client.execute(
            code,
            exec_id=exec_id,
            rich=True,
            store_history=store_history,
            allow_stdin=self._allow_stdin,
            cell_id=cell_id,
        )
        outcome = await self._show(ShownExecution(client, exec_id, rich=True, has_begun=False), events)
        count = await _count(client, exec_id, outcome)
        runtime.next_count = count + 1 if store_history else count
        return _answer(outcome, count)

    async def _run_silently(self, client: Client, code: str) -> _Json:
        """Run what a front end runs for itself. While the runtime runs something else, do not wait for it.

        VS Code waits for such code before it runs a cell, %attach included.
        """
        if any(each["state"] == "running" for each in await client.executions(DEFAULT_SESSION)):
            await _submit_silently(client, code)
            return _reply(0)
        exec_id = _silent_id()
        events = client.execute(
            code, exec_id=exec_id, rich=True, silent=True, store_history=False, allow_stdin=self._allow_stdin
        )
        return _answer(await self._show(ShownExecution(client, exec_id, rich=True, has_begun=False), events), 0)

    async def _attach(self, runtime: KernelRuntime, code: str, exec_id: str | None = None) -> _Json:
        """Show the output of an execution: the running one or, if none runs, the last one."""
        client = await runtime.client()
        if client is None:
            raise not_running(runtime.id)
        self._announce(code, runtime.next_count)
        executions = await client.executions(DEFAULT_SESSION)
        chosen = [each for each in executions if each["execId"] == exec_id] if exec_id else _newest(executions)
        if not chosen:
            what = "no execution has run yet" if exec_id is None else f"it has no execution {exec_id!r}"
            raise ServiceError(f"nothing to show of the runtime {runtime.id!r}: {what}")
        shown = ShownExecution(client, chosen[0]["execId"], rich=chosen[0]["rich"], has_begun=True)
        return _answer(await self._show(shown, client.follow(shown.exec_id)), runtime.next_count)

    async def _list_runtimes(self, runtime: KernelRuntime, code: str) -> _Json:
        self._announce(code, runtime.next_count)
        for each in await command.run("--list"):
            sys.stdout.write(f"{each['id']}  {each['status']}  {each.get('cwd', '')}\n")
        return _reply(runtime.next_count)

    async def _help(self, runtime: KernelRuntime, client: Client, asked: re.Match[str]) -> _Json:
        """Show help in the front end's pager."""
        self._announce(asked.string, runtime.next_count)
        marks = asked["before"] or asked["after"]
        found = await client.inspect(asked["name"], len(asked["name"]), 2 if len(marks) == 2 else 1)
        if not found["found"]:
            sys.stdout.write(f"Object `{asked['name']}` not found.\n")
            return _reply(runtime.next_count)
        page = {"source": "page", "data": {"text/plain": answers.description(found)}, "start": 0}
        return _reply(runtime.next_count, page)

    async def _show(self, shown: ShownExecution, events: AsyncIterator[ExecutionEvent]) -> Result | Error:
        self._shown = shown
        try:
            return await shown.show(events, self._outputs, self._ask if self._allow_stdin else None)
        finally:
            self._shown = None

    async def _ask(self, prompt: str, password: bool) -> str:
        """Ask the front end for a line. The base class has this too, but blocks the event loop meanwhile."""
        ident, parent = self._parent
        while self.stdin_socket.poll(0):
            self.stdin_socket.recv_multipart()  # an answer to a question that was withdrawn
        content = {"prompt": prompt, "password": password}
        sys.stdout.flush()
        sys.stderr.flush()
        self.session.send(self.stdin_socket, "input_request", content, parent, ident=ident)
        while True:
            _, reply = self.session.recv(self.stdin_socket)
            if reply is not None:
                return str(reply["content"]["value"])
            await asyncio.sleep(_POLL_SECONDS)

    async def _query(self, ask: Callable[[Client], Awaitable[_T]]) -> _T | None:
        """Return the runtime's answer to a question, or None if it cannot be asked."""
        if self._runtime is None:
            return None
        try:
            return await ask(await self._runtime.started())
        except ServiceError as error:
            self.log.warning("%s", error)
            return None

    def _on_sigint(self) -> None:
        task = self._loop.create_task(self._interrupt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _interrupt(self) -> None:
        await asyncio.sleep(_SHUTDOWN_SECONDS)
        if self._is_ending:
            return
        try:
            if self._shown is not None:
                await self._shown.interrupt()
                return
            client = None if self._runtime is None else await self._runtime.client()
            if client is not None:
                await client.interrupt()
        except ServiceError as error:
            self.log.warning("%s", error)


def _runtime_of(notebook: str | None) -> KernelRuntime:
    if notebook is None:
        return KernelRuntime(names.new_temporary_runtime(), is_temporary=True)
    return KernelRuntime(names.runtime_of_notebook(notebook))


def _silent_id() -> str:
    return f"{_SILENT}{new_exec_id()}"


async def _submit_silently(client: Client, code: str) -> None:
    await client.submit(code, exec_id=_silent_id(), silent=True, store_history=False)


async def _new_session(runtime: KernelRuntime) -> None:
    """End the session and its processes; the runtime starts another one."""
    client = await runtime.client()
    if client is not None:
        await client.delete_session(DEFAULT_SESSION)


def _newest(executions: list[ExecutionJson]) -> list[ExecutionJson]:
    """Return the running execution or, if none runs, the last one; not what a front end has run for itself."""
    shown = [each for each in executions if each["started"] and not each["execId"].startswith(_SILENT)]
    return sorted(shown, key=lambda each: (each["state"] == "running", each["started"]))[-1:]


async def _count(client: Client, exec_id: str, outcome: Result | Error) -> int:
    """Return the number of a cell that has ended."""
    if isinstance(outcome, Result):
        return outcome.execution_count
    return (await client.execution(exec_id))["result"]["executionCount"]


async def _values(client: Client, expressions: Mapping[str, str]) -> _Json:
    """Return the values of expressions, as replies have them."""
    found = {}
    for name, code in expressions.items():
        async for event in client.execute(code, rich=True, store_history=False, allow_stdin=False):
            if isinstance(event, Result):
                found[name] = {"status": "ok", "data": event.data or {}, "metadata": event.metadata or {}}
            elif isinstance(event, Error):
                found[name] = _error(event, 0)
    return found


def _answer(outcome: Result | Error, count: int) -> _Json:
    if isinstance(outcome, Error):
        return _error(outcome, count)
    if outcome.next_input is None:
        return _reply(count)
    return _reply(count, {"source": "set_next_input", "text": outcome.next_input, "replace": False})


def _reply(count: int, *payload: _Json) -> _Json:
    return {"status": "ok", "execution_count": count, "payload": list(payload), "user_expressions": {}}


def _error(error: Error, count: int) -> _Json:
    return {"status": "error", "execution_count": count, **error_content(error)}
