"""The client of one runtime: runs code in it, and queries it. docs/protocol.md describes each endpoint."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from mrmd_python import __version__
from mrmd_python.clients.errors import ConnectionLostError, RequestError, RuntimeEndedError
from mrmd_python.clients.events import Done, ExecutionEvent, Result, SessionEvent, read_events
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.address import address_of, record_of
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record

if TYPE_CHECKING:  # the types of the answers, each declared where the server makes it
    from typing_extensions import Self

    from mrmd_python.server.api.code import Completeness, Completion, Formatted, HistoryPage
    from mrmd_python.server.api.executions import EndedExecution
    from mrmd_python.server.api.introspection import ExpandedVariable, Hover, Inspection, Variables
    from mrmd_python.server.api.runtime import Capabilities
    from mrmd_python.server.execution import ExecutionJson
    from mrmd_python.server.session import SessionJson

_Answer = TypeVar("_Answer")

DEFAULT_SESSION = "default"
# A stream has at least a comment every 15 seconds.
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=45.0)
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
_ROOT = "/mrp/v1"
_CONNECTION_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
# Higher than the number of any event: a stream starts after the last one.
_LAST_EVENT = (1 << 63) - 1
# How long to try to reach a runtime that may still run.
_UNREACHABLE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


def new_exec_id() -> str:
    """Return an id for an execution that no other has."""
    return f"exec-{secrets.token_hex(8)}"


class Client:
    """A client of one runtime; an async context manager. `connect` makes one.

    The methods raise ServiceError, whose text is a sentence for the user: a RequestError if the runtime refuses the
    request, RuntimeEndedError if it has ended or was restarted, and ConnectionLostError if it does not answer.
    """

    def __init__(self, home: Home, record: Record, *, name: str | None = None) -> None:
        """Make a client of the runtime of a record.

        Args:
            home: where the record is.
            record: the runtime.
            name: who asks for executions, for others to see.

        Raises:
            ServiceError: it cannot be reached from here.
        """
        self.runtime_id = record.id
        self.record = record
        self._home = home
        self._name = name
        address = address_of(home, record)
        self._url = f"http://{address.host}:{address.port}{_ROOT}"
        self._headers = {"User-Agent": f"mrmd-python/{__version__}"}
        if address.token is not None:
            self._headers["Authorization"] = f"Bearer {address.token}"
        self._is_remote = address.host != "127.0.0.1"
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        # A connection for each request: one that is kept may have been closed meanwhile, and a POST is not repeated.
        self._http = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=1 << 18,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    def execute(
        self,
        code: str,
        *,
        session: str = DEFAULT_SESSION,
        exec_id: str | None = None,
        rich: bool = False,
        silent: bool = False,
        store_history: bool = True,
        allow_stdin: bool = True,
        stop_on_error: bool = False,
        cell_id: str | None = None,
    ) -> AsyncIterator[ExecutionEvent]:
        """Run code, and yield its events as they happen, ending with a Result or an Error.

        If the connection breaks, it is made again, and no event is lost or repeated. The code goes on if the iterator
        is closed: `follow` returns to it.

        Args:
            code: the code.
            session: the session to run it in, created if it does not exist.
            exec_id: an id for it; a new one if None.
            rich: leave displays, the last expression and errors out of the text: events have all their forms.
            silent: do not print the last expression.
            store_history: count and remember the execution.
            allow_stdin: whether the code may ask for input, by an InputRequest.
            stop_on_error: if it fails, end the executions that wait behind it.
            cell_id: kept for the client.
        """
        exec_id = exec_id or new_exec_id()
        fields = {
            "session": session,
            "rich": rich,
            "silent": silent,
            "storeHistory": store_history,
            "allowStdin": allow_stdin,
            "stopOnError": stop_on_error,
            "cellId": cell_id,
        }
        return self._execution_events(exec_id, partial(self._execute_stream, code, exec_id, fields))

    def follow(self, exec_id: str, after: int = 0) -> AsyncIterator[ExecutionEvent]:
        """Yield the events of an execution after the one with that number: those so far, then as they happen."""
        return self._execution_events(exec_id, partial(self._follow_stream, exec_id, after), after)

    async def submit(
        self,
        code: str,
        *,
        session: str = DEFAULT_SESSION,
        exec_id: str | None = None,
        rich: bool = False,
        silent: bool = False,
        store_history: bool = True,
    ) -> str:
        """Queue code as `execute` does, and return the id of its execution, for `follow`."""
        exec_id = exec_id or new_exec_id()
        fields = {"session": session, "rich": rich, "silent": silent, "storeHistory": store_history}
        (await self._execute_stream(code, exec_id, fields)).close()
        return exec_id

    async def run(self, code: str, *, session: str = DEFAULT_SESSION) -> Result:
        """Run code, and return its result once it has ended, failed or not. It cannot ask for input."""
        body = {"code": code, "session": session, "execId": new_exec_id(), "client": self._name}
        # Repeated with the same id, it answers with that execution.
        answer = await self._repeat(self._body, "POST", "/execute", body, timeout=aiohttp.ClientTimeout(total=None))
        return msgspec.json.decode(answer, type=Result)

    async def session_events(
        self, session: str = DEFAULT_SESSION, after: int = _LAST_EVENT
    ) -> AsyncIterator[SessionEvent]:
        """Yield what happens in a session from now on, or after the event with that number, until it is deleted."""
        path = f"/sessions/{_quoted(session)}/events"
        while True:
            response = await self._repeat(self._send, "GET", path, headers=_after(after), timeout=_STREAM_TIMEOUT)
            try:
                async for event in read_events(response.content.iter_any()):
                    after = event.number
                    yield event
                return
            except _CONNECTION_ERRORS:
                await asyncio.sleep(_FIRST_PAUSE_SECONDS)
            finally:
                response.close()

    async def answer(self, exec_id: str, text: str) -> bool:
        """Send the line that an execution waits for; return whether it still did."""
        answer = await self._post_once("/input", execId=exec_id, text=text)
        return bool(answer["accepted"])

    async def cancel_input(self, exec_id: str) -> bool:
        """Let the code that waits for a line fail with InputCancelled; return whether it still waited."""
        answer = await self._post_once("/input/cancel", execId=exec_id)
        return bool(answer["cancelled"])

    async def interrupt(self, session: str = DEFAULT_SESSION) -> bool:
        """Send SIGINT to the code that runs in a session; return whether any did."""
        answer = await self._post_once("/interrupt", session=session)
        return bool(answer["interrupted"])

    async def executions(self, session: str | None = None) -> list[ExecutionJson]:
        """Return the executions that wait, run or are kept, oldest first: of one session, or of all."""
        query = "" if session is None else f"?session={_quoted(session)}"
        return cast("list[ExecutionJson]", (await self._get(f"/executions{query}"))["executions"])

    async def find_execution(self, exec_id: str) -> ExecutionJson | None:
        """Return an execution, without its result; None if the runtime has no such execution, or no longer."""
        return next((each for each in await self.executions() if each["execId"] == exec_id), None)

    async def awaits_input(self, exec_id: str) -> bool:
        """Return whether an execution waits for a line of input."""
        found = await self.find_execution(exec_id)
        # An earlier version does not say it.
        return found is not None and found.get("awaitsInput", True)

    async def execution(self, exec_id: str) -> EndedExecution:
        """Return an execution, with its `result` if it has ended."""
        return cast("EndedExecution", await self._get(f"/executions/{_quoted(exec_id)}"))

    async def cancel(self, exec_id: str) -> None:
        """Remove an execution from the queue, interrupt it if it runs, or forget it if it has ended."""
        await self._body("DELETE", f"/executions/{_quoted(exec_id)}")

    async def complete(self, code: str, cursor: int, session: str = DEFAULT_SESSION) -> Completion:
        """Return completions at a position of code, in characters, as all positions here."""
        return cast("Completion", await self._query("/complete", code, cursor, session))

    async def inspect(
        self, code: str, cursor: int, detail: Literal[0, 1, 2] = 1, session: str = DEFAULT_SESSION
    ) -> Inspection:
        """Describe the name at a position: 0 for the signature, 1 to add the documentation, 2 to add the source."""
        return cast("Inspection", await self._query("/inspect", code, cursor, session, detail=detail))

    async def hover(self, code: str, cursor: int, session: str = DEFAULT_SESSION) -> Hover:
        """Describe the name at a position in brief."""
        return cast("Hover", await self._query("/hover", code, cursor, session))

    async def variables(self, session: str = DEFAULT_SESSION, name_pattern: str = "") -> Variables:
        """Return the variables of a session, or those with a part of the name or a shell pattern."""
        fields = {"session": session, "filter": {"namePattern": name_pattern}}
        return cast("Variables", await self._post("/variables", **fields))

    async def variable(
        self, name: str, path: Sequence[str | int] = (), session: str = DEFAULT_SESSION, **limits: int
    ) -> ExpandedVariable:
        """Return a variable, or the part of it at a path of keys, indexes and attributes.

        Args:
            name: the variable.
            path: the steps to the part.
            session: the session.
            limits: `maxChildren`, `maxValueLength` or `offset`.
        """
        fields = {"path": list(path), "session": session, **limits}
        return cast("ExpandedVariable", await self._post(f"/variables/{_quoted(name)}", **fields))

    async def is_complete(self, code: str, session: str = DEFAULT_SESSION) -> Completeness:
        """Return whether code is a complete cell, and the indent of the next line."""
        return cast("Completeness", await self._post("/is_complete", code=code, session=session))

    async def format(self, code: str, session: str = DEFAULT_SESSION) -> Formatted:
        """Return code as black formats it."""
        return cast("Formatted", await self._post("/format", code=code, session=session))

    async def history(
        self, n: int = 20, pattern: str = "", before: int | None = None, session: str = DEFAULT_SESSION
    ) -> HistoryPage:
        """Return the last cells that a session has run, that match a text or shell pattern."""
        fields = {"n": n, "pattern": pattern, "before": before, "session": session}
        return cast("HistoryPage", await self._post("/history", **fields))

    async def sessions(self) -> list[SessionJson]:
        """Return all sessions."""
        return cast("list[SessionJson]", (await self._get("/sessions"))["sessions"])

    async def create_session(self, session: str, **fields: Any) -> SessionJson:
        """Create a session, or return the one that exists; `fields` are those of POST /sessions."""
        return cast("SessionJson", await self._post("/sessions", id=session, **fields))

    async def reset(self, session: str = DEFAULT_SESSION) -> None:
        """Interrupt what runs in a session, and clear its variables."""
        await self._post("/reset", session=session)

    async def delete_session(self, session: str) -> None:
        """End a session and every process it started."""
        await self._repeat(self._body, "DELETE", f"/sessions/{_quoted(session)}")

    async def capabilities(self) -> Capabilities:
        """Return what the runtime is and can do."""
        return cast("Capabilities", await self._get("/capabilities"))

    async def asset(self, url: str) -> bytes:
        """Return the content of an asset, by its `url`."""
        return await self._repeat(self._body, "GET", url.removeprefix(_ROOT))

    async def _query(self, path: str, code: str, cursor: int, session: str, **fields: Any) -> Any:
        return await self._post(path, code=code, cursor=cursor, session=session, positionEncoding="utf-32", **fields)

    async def _get(self, path: str) -> Any:
        return msgspec.json.decode(await self._repeat(self._body, "GET", path))

    async def _post(self, path: str, /, **fields: Any) -> Any:
        return msgspec.json.decode(await self._repeat(self._body, "POST", path, fields))

    async def _post_once(self, path: str, /, **fields: Any) -> Any:
        """Send what must not be sent twice: the second could answer the next question, or interrupt the next code."""
        return msgspec.json.decode(await self._body("POST", path, fields))

    async def _execute_stream(self, code: str, exec_id: str, fields: Mapping[str, Any]) -> aiohttp.ClientResponse:
        body = {"code": code, "execId": exec_id, "client": self._name, "accumulated": False, **fields}
        # Repeated with the same id, it answers with that execution.
        return await self._repeat(self._send, "POST", "/execute/stream", body, timeout=_STREAM_TIMEOUT)

    async def _follow_stream(self, exec_id: str, after: int) -> aiohttp.ClientResponse:
        path = f"/executions/{_quoted(exec_id)}/stream?accumulated=false"
        return await self._repeat(self._send, "GET", path, headers=_after(after), timeout=_STREAM_TIMEOUT)

    async def _execution_events(
        self, exec_id: str, open_stream: Callable[[], Awaitable[aiohttp.ClientResponse]], after: int = 0
    ) -> AsyncIterator[ExecutionEvent]:
        response = await open_stream()
        while True:
            began_after = after
            try:
                async for event in read_events(response.content.iter_any()):
                    after = event.number
                    if isinstance(event, Done):
                        return
                    yield event
                if after == began_after:
                    return  # it has ended, with no event after this number
            except _CONNECTION_ERRORS:
                pass
            finally:
                response.close()
            await asyncio.sleep(_FIRST_PAUSE_SECONDS)
            try:
                response = await self._follow_stream(exec_id, after)
            except RequestError as error:
                if error.code == "unknown_execution":
                    raise self._ended() from None
                raise

    async def _repeat(
        self, request: Callable[..., Awaitable[_Answer]], method: str, path: str, *args: Any, **options: Any
    ) -> _Answer:
        """Make a request, again if the runtime does not answer but still runs; return its answer.

        Raises:
            ServiceError: the runtime refuses the request, has ended, or cannot be reached.
        """
        deadline, pause = time.monotonic() + _UNREACHABLE_SECONDS, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await request(method, path, *args, **options)
            except ConnectionLostError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            if self._has_ended():  # another runtime may answer at its address
                raise self._ended()

    async def _body(self, *args: Any, **options: Any) -> bytes:
        """Send a request, and return the body of its response."""
        async with await self._send(*args, **options) as response:
            try:
                return await response.read()
            except _CONNECTION_ERRORS as error:
                raise self._lost(error) from None

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _ANSWER_TIMEOUT,
    ) -> aiohttp.ClientResponse:
        data = None if body is None else msgspec.json.encode(body)
        headers = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        url = URL(f"{self._url}{path}", encoded=True)
        try:
            response = await self._http.request(method, url, data=data, headers=headers, timeout=timeout)
        except _CONNECTION_ERRORS as error:
            raise self._lost(error) from None
        if response.status != HTTPStatus.OK:
            raise await self._refused(response)
        return response

    async def _refused(self, response: aiohttp.ClientResponse) -> ServiceError:
        """Return the error of a response."""
        async with response:
            try:
                body = await response.read()
            except _CONNECTION_ERRORS as error:
                return self._lost(error)
        try:
            found = msgspec.json.decode(body)
            code, message = found["code"], found["error"]
        except (msgspec.DecodeError, TypeError, KeyError):
            code, message = (
                "not_mrp",
                f"the port of {self.runtime_id!r} answers {response.status}, and not as a runtime",
            )
        if response.status == HTTPStatus.UNAUTHORIZED:
            message = f"the runtime {self.runtime_id!r} does not accept the token in {self.record.token_file}"
        elif code in ("not_found", "method_not_allowed"):
            message = (
                f"the runtime {self.runtime_id!r} is of mrmd-python {self.record.version}, which cannot do this; "
                f"to restart it with {__version__}: mrmd-python --restart {self.runtime_id}"
            )
        return RequestError(response.status, code, message)

    def _lost(self, error: Exception) -> ServiceError:
        """Return the error for a connection that cannot be made or has broken."""
        if self._has_ended():
            return self._ended()
        return ConnectionLostError(f"the runtime {self.runtime_id!r} does not answer: {error or type(error).__name__}")

    def _has_ended(self) -> bool:
        if self._is_remote:  # its process cannot be seen from here
            return self._current_record() != self.record
        return not self.record.process.is_alive()

    def _ended(self) -> RuntimeEndedError:
        """Return the error for a runtime that has ended, or no longer has an execution."""
        current = self._current_record()
        if current is not None and current != self.record:
            return RuntimeEndedError(
                f"the runtime {self.runtime_id!r} was restarted: its variables and output are gone"
            )
        if not self._has_ended():
            return RuntimeEndedError(f"the runtime {self.runtime_id!r} no longer has this execution")
        how = "has ended" if current is None else "has crashed"
        return RuntimeEndedError(f"the runtime {self.runtime_id!r} {how}; see: mrmd-python --logs {self.runtime_id}")

    def _current_record(self) -> Record | None:
        try:
            return registry.read(self._home, self.runtime_id)
        except ServiceError:
            return None


def connect(runtime_id: str = "default", *, name: str | None = None) -> Client:
    """Return a client of a runtime that runs, on this machine or, as a Slurm job, on another one with the same home.

    Args:
        runtime_id: the runtime.
        name: who asks for executions, for others to see; "mrmd-python" if None.

    Raises:
        ServiceError: no such runtime runs, or it cannot be reached from here.
    """
    home = Home.of(os.environ)
    return Client(home, record_of(home, runtime_id), name=name)


def _after(number: int) -> dict[str, str]:
    return {"Last-Event-ID": str(number)}


def _quoted(text: str) -> str:
    return quote(text, safe="")
