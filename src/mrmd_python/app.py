"""MRP as an application: for another program to serve."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from aiohttp import web

from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec
from mrmd_python.runtime.validate import parse_host, parse_origin, parse_user
from mrmd_python.runtime.venv import absolute_path, find_venv, working_directory
from mrmd_python.server import asgi, http
from mrmd_python.server.access import Access
from mrmd_python.server.embedded import EmbeddedSessions
from mrmd_python.server.environment import SessionEnvironment
from mrmd_python.server.exchange import RefusedError
from mrmd_python.server.forward import RuntimeSessions
from mrmd_python.server.provider import Provider, Route
from mrmd_python.server.session import SessionStartError

PathName = str | os.PathLike[str]


def create_app(
    cwd: PathName | None = None,
    assets_dir: PathName | None = None,
    venv: PathName | None = None,
    daemon_mode: bool = False,
    *,
    allow_hosts: Iterable[str] = (),
    allow_origins: Iterable[str] = (),
    allow_users: Iterable[str | int] = (),
    token: str | None = None,
) -> "App":
    """Return an application that serves MRP at ``/mrp/v1``.

    Args:
        cwd: the folder that code starts in; the current one if None.
        assets_dir: where pictures are kept; ``.mrmd-assets`` in the cwd if None.
        venv: the venv whose Python runs the code; found as ``mrmd-python`` finds it if None.
        daemon_mode: whether sessions belong to the program that serves this, and end with it. If not, each is a runtime
            of its own that outlives it: `mrmd-python` lists and kills it under the session's id.
        allow_hosts: names, besides those of loopback, that this is reached under.
        allow_origins: origins, besides those of editors, whose pages may use it, such as ``https://editor.example``.
        allow_users: login names or uids, besides root's and the program's own, whose programs on this machine may.
        token: what each request must show, as ``Authorization: Bearer TOKEN``. Without one, only clients on this
            machine's loopback are let in, and none that a proxy speaks for.

    Raises:
        ServiceError: the folder or the venv is not there.
        ValueError: a host, an origin or a user is none, or the token is empty.
    """
    if token is not None and not token.strip():
        raise ValueError("the token is empty")
    access = Access(
        frozenset(map(parse_host, allow_hosts)),
        frozenset(map(parse_origin, allow_origins)),
        frozenset(parse_user(str(user)) for user in allow_users),
        token,
    )
    folder = working_directory(None if cwd is None else os.fspath(cwd))
    python = find_venv(None if venv is None else os.fspath(venv), os.environ)
    assets = None if assets_dir is None else absolute_path(os.fspath(assets_dir))
    if daemon_mode:
        environment = SessionEnvironment(python.python, python.prefix, str(folder))
        return App(lambda: EmbeddedSessions(environment, assets or folder / ".mrmd-assets"), access)
    home = Home.of(os.environ)
    spec = RuntimeSpec(
        id="default",
        venv=python.prefix,
        python=python.python,
        venv_source=python.source,
        cwd=str(folder),
        assets_dir=None if assets is None else str(assets),
    )
    return App(lambda: RuntimeSessions(home, spec), access)


class App:
    """An ASGI 3 application, which an aiohttp program can have too."""

    def __init__(self, make_provider: Callable[[], Provider], access: Access) -> None:
        self._make_provider = make_provider
        self._access = access
        self._provider: asyncio.Task[Provider] | None = None

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serve a connection, or a server's lifespan."""
        if scope["type"] == "http":
            await asgi.serve(self._routes, self._access, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    def aiohttp(self) -> web.Application:
        """Return an aiohttp application with MRP's endpoints, for `add_subapp("/mrp/v1", ...)`, to be used once."""
        provider = self._make_provider()
        sub = http.application(provider.routes, self._access)

        async def live(_: web.Application) -> AsyncIterator[None]:
            await provider.start()
            yield
            await provider.close()

        async def end_streams(_: web.Application) -> None:
            await provider.close()

        sub.cleanup_ctx.append(live)
        sub.on_shutdown.append(end_streams)  # aiohttp waits for those that are open before it cleans up
        return sub

    async def _live(self, receive: asgi.Receive, send: asgi.Send) -> None:
        """Live as long as the server does (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""
        await receive()
        try:
            await self._started()
        except SessionStartError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        provider, self._provider = await self._started(), None
        await provider.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _routes(self) -> Sequence[Route]:
        try:
            return (await self._started()).routes
        except SessionStartError as error:
            raise RefusedError(503, "session_start_failed", str(error)) from None

    async def _started(self) -> Provider:
        """Return what answers, started by the first that asks: a server without a lifespan begins by a request.

        Raises:
            SessionStartError: it cannot be started; the next that asks has it tried again.
        """
        if self._provider is None:
            self._provider = asyncio.ensure_future(self._start())
        starting = self._provider
        try:
            return await asyncio.shield(starting)
        except SessionStartError:
            if self._provider is starting:
                self._provider = None
            raise

    async def _start(self) -> Provider:
        provider = self._make_provider()
        await provider.start()
        return provider
