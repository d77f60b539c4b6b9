"""Sessions that are runtimes of their own: each outlives this program, and what concerns it is forwarded to it."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from mrmd_python.manager import manager
from mrmd_python.runtime import ServiceError, registry
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.registry import Record
from mrmd_python.runtime.spec import RuntimeSpec
from mrmd_python.runtime.validate import parse_id
from mrmd_python.server.assets import AssetFolders
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.environment_request import requested_environment
from mrmd_python.server.exchange import RefusedError, Reply, Request
from mrmd_python.server.mrp import PREFIX, parse_cell
from mrmd_python.server.mrp_sessions import session_id_field
from mrmd_python.server.provider import Answer, Route, session_routes
from mrmd_python.server.relaying import Forwarder, RuntimeGoneError
from mrmd_python.server.sessions import DEFAULT, Sessions

_Respond = Callable[[Request], Awaitable[Answer]]
_T = TypeVar("_T")
_STARTS_AT_ONCE = 8


class RuntimeSessions:
    """Implements `provider.Provider`. The session of an id is the `default` session of the runtime of that id."""

    def __init__(self, home: Home, spec: RuntimeSpec) -> None:
        self._home = home
        self._spec = spec
        """What a runtime is to be, but for its id."""
        # Starting and ending take seconds, and the program may need its own threads meanwhile.
        self._threads = ThreadPoolExecutor(_STARTS_AT_ONCE, thread_name_prefix="mrmd-runtimes")
        # What MRP's own endpoints answer where there is no session is what they are to answer where no runtime runs.
        environment = SessionEnvironment(spec.python, spec.venv, spec.cwd)
        self._nobody = Sessions(environment, AssetFolders(f"{PREFIX}/assets", Path(spec.cwd, ".mrmd-assets")))
        self.routes: Sequence[Route] = [
            (method, path, self._responder(method, path, absent))
            for method, path, absent in session_routes(self._nobody)
        ]

    async def start(self) -> None:
        """Make ready to forward; a runtime is started when code is to run in it."""
        self._forwarder = Forwarder()

    async def close(self) -> None:
        """Break off what is being forwarded; the runtimes go on."""
        await self._forwarder.close()
        await self._nobody.close()
        self._threads.shutdown(wait=False)

    def _responder(self, method: str, path: str, absent: _Respond) -> _Respond:
        """Return what answers a route; `absent` answers it where there is no session."""
        own: dict[tuple[str, str], _Respond] = {
            ("GET", "/capabilities"): absent,
            ("GET", "/openapi.json"): absent,
            ("GET", "/sessions"): self._list_sessions,
            ("POST", "/sessions"): self._create_session,
            ("GET", "/sessions/{id}"): partial(self._get_session, absent),
            ("DELETE", "/sessions/{id}"): partial(self._delete_session, absent),
            ("POST", "/sessions/{id}/reset"): partial(self._reset_session, absent),
            ("POST", "/execute"): partial(self._execute, path, allow_stdin=False),
            ("POST", "/execute/stream"): partial(self._execute, path, allow_stdin=True),
            ("GET", "/executions"): self._list_executions,
            ("GET", "/executions/{execId}"): partial(self._get_execution, path, absent),
            ("POST", "/input"): partial(self._answer_input, path, absent),
            ("POST", "/input/cancel"): partial(self._answer_input, path, absent),
        }
        if (method, path) in own:
            return own[method, path]
        is_about_one = path.startswith(("/assets/", "/executions/"))
        return partial(self._search if is_about_one else self._ask, method, path, absent)

    async def _list_sessions(self, request: Request) -> Reply:
        answers = await asyncio.gather(*map(self._session, await self._all()), return_exceptions=True)
        return Reply({"sessions": [answer.body for answer in answers if isinstance(answer, Reply)]})

    async def _create_session(self, request: Request) -> Answer:
        session = _runtime_id(session_id_field(request.body, "id", f"session-{secrets.token_hex(8)}"), "id")
        environment = requested_environment(request.body, self._nobody.environment)
        runtime = await self._find(session)
        is_new = runtime is None
        if runtime is None:
            runtime = await self._started(session, environment)
        elif environment is not None and not _is_environment_of(runtime, environment):
            raise RefusedError(409, "session_exists", f"session {session!r} runs with another environment")
        asked = {name: value for name, value in request.body.items() if name != "environment"}
        answer = await self._forwarder.relay(runtime, "POST", "/sessions", Request({}, {**asked, "id": DEFAULT}))
        if answer.status == 200:
            return await self._session(runtime)
        if is_new:
            await self._in_thread(partial(manager.kill, self._home, session))
        return answer

    async def _get_session(self, absent: _Respond, request: Request) -> Answer:
        return await self._ask_one(request.path["id"], self._session, absent, request)

    async def _delete_session(self, absent: _Respond, request: Request) -> Answer:
        runtime = await self._find(request.path["id"])
        if runtime is None:
            return await absent(request)
        try:
            await self._in_thread(partial(manager.kill, self._home, runtime.id))
        except (ServiceError, OSError) as error:
            raise RefusedError(409, "session_end_failed", str(error)) from None
        return Reply({"success": True})

    async def _reset_session(self, absent: _Respond, request: Request) -> Answer:
        async def ask(runtime: Record) -> Answer:
            return await self._forwarder.relay(runtime, "POST", "/reset", request)

        return await self._ask_one(request.path["id"], ask, absent, request)

    async def _execute(self, path: str, request: Request, *, allow_stdin: bool) -> Answer:
        session = parse_cell(request.body, allow_stdin=allow_stdin).session
        _runtime_id(session, "session")
        runtime = await self._find(session) or await self._started(session)
        return await self._forwarder.relay(runtime, "POST", path, _for_default(request))

    async def _ask(self, method: str, path: str, absent: _Respond, request: Request) -> Answer:
        """Answer by the runtime of the session that the body names."""

        async def ask(runtime: Record) -> Answer:
            return await self._forwarder.relay(runtime, method, path, _for_default(request))

        return await self._ask_one(request.body.get("session") or DEFAULT, ask, absent, request)

    async def _ask_one(
        self, session: object, ask: Callable[[Record], Awaitable[Answer]], absent: _Respond, request: Request
    ) -> Answer:
        """Answer as the runtime of a session does or, if it does not run, as where there is no such session."""
        runtime = await self._find(session) if isinstance(session, str) else None
        if runtime is not None:
            with suppress(RuntimeGoneError):
                return await ask(runtime)
        return await absent(request)

    async def _search(self, method: str, path: str, absent: _Respond, request: Request) -> Answer:
        """Answer by the runtime that has what the path names."""
        for runtime in await self._all():
            with suppress(RuntimeGoneError):
                answer = await self._forwarder.relay(runtime, method, path, request)
                if answer.status != 404:
                    return answer
        return await absent(request)

    async def _list_executions(self, request: Request) -> Reply:
        wanted = request.query.get("session")
        asked = [runtime for runtime in await self._all() if wanted in (None, runtime.id)]
        of_default = Request({}, {}, {"session": DEFAULT})
        answers = await asyncio.gather(
            *(self._forwarder.answer(runtime, "GET", "/executions", of_default) for runtime in asked),
            return_exceptions=True,
        )
        found = [
            {**execution, "session": runtime.id}
            for runtime, answer in zip(asked, answers, strict=True)
            if isinstance(answer, Reply)
            for execution in answer.body.get("executions", ())
        ]
        return Reply({"executions": sorted(found, key=lambda execution: execution["created"])})

    async def _get_execution(self, path: str, absent: _Respond, request: Request) -> Answer:
        for runtime in await self._all():
            with suppress(RuntimeGoneError):
                answer = await self._forwarder.answer(runtime, "GET", path, request)
                if answer.status == 200:
                    return Reply({**answer.body, "session": runtime.id})
        return await absent(request)

    async def _answer_input(self, path: str, absent: _Respond, request: Request) -> Answer:
        """Answer by the runtime that knows of the execution: it says something else than one that does not."""
        unknown = await absent(request)
        for runtime in await self._all():
            with suppress(RuntimeGoneError):
                answer = await self._forwarder.answer(runtime, "POST", path, request)
                if answer != unknown:
                    return answer
        return unknown

    async def _session(self, runtime: Record) -> Reply:
        """Return MRP's Session of a runtime."""
        answer = await self._forwarder.answer(runtime, "GET", "/sessions/default", Request({}, {}))
        return Reply({**answer.body, "id": runtime.id})

    async def _all(self) -> list[Record]:
        """Return the runtimes that run."""

        def read() -> list[Record]:
            found = (record for _, record in registry.read_all(self._home))
            return [record for record in found if isinstance(record, Record) and record.process.is_alive()]

        return await asyncio.to_thread(read)

    async def _find(self, session: str) -> Record | None:
        """Return the runtime of a session if it runs."""

        def read() -> Record | None:
            try:
                record = registry.read(self._home, parse_id(session))
            except (ValueError, ServiceError):
                return None
            return record if record is not None and record.process.is_alive() else None

        return await asyncio.to_thread(read)

    async def _started(self, session: str, environment: SessionEnvironment | None = None) -> Record:
        """Return the runtime of a session, started unless another request has just done that.

        Raises:
            RefusedError: it does not start.
        """
        spec, environ = replace(self._spec, id=session), dict(os.environ)
        if environment is not None:
            spec = replace(
                spec,
                cwd=environment.cwd,
                venv=environment.virtualenv,
                python=environment.executable,
                venv_source="option",
            )
            wanted = {**environ, **environment.variables}
            environ = {name: value for name, value in wanted.items() if value is not None}
        start = partial(manager.start, self._home, spec, environ)
        try:
            record = (await self._in_thread(start)).record
        except (ServiceError, OSError) as error:
            raise RefusedError(503, "session_start_failed", str(error)) from None
        assert record is not None, "it was waited for"
        return record

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _runtime_id(session: str, field: str) -> str:
    """Return the id of a session as that of a runtime.

    Raises:
        RefusedError: it can be none.
    """
    try:
        return parse_id(session)
    except ValueError as error:
        raise RefusedError(400, "bad_session", f"the field {field!r}: {error}") from None


def _is_environment_of(runtime: Record, environment: SessionEnvironment) -> bool:
    """Return whether a runtime runs in an environment; of one with variables of its own, that cannot be told."""
    return not environment.variables and (runtime.python, runtime.cwd) == (environment.executable, environment.cwd)


def _for_default(request: Request) -> Request:
    """Return a request as the runtime itself is to see it, which has its code run in `default`."""
    return replace(request, body={**request.body, "session": DEFAULT})
