"""create_app: an ASGI application that passes MRP on to a runtime."""

import os
from collections.abc import Iterable

from mrmd_python.app.proxy import Proxy
from mrmd_python.app.runtimes import ChildRuntime, DefaultRuntime
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec
from mrmd_python.runtime.validate import parse_host, parse_origin, parse_user
from mrmd_python.runtime.venv import absolute_path, find_venv, working_directory
from mrmd_python.server.access import Access

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
) -> Proxy:
    """Return an ASGI application that serves MRP at ``/mrp/v1``, by passing it on to a runtime.

    Args:
        cwd: the directory that code starts in; the current one if None.
        assets_dir: where pictures are kept; ``.mrmd-assets`` in the cwd if None.
        venv: the venv whose Python runs the code; found as ``mrmd-python`` finds it if None.
        daemon_mode: whether the runtime is a child of this program and ends with it. If not, it is the runtime service
            ``default``: used as it is if it runs, else started, and it outlives this program.
        allow_hosts: names, besides those of loopback, under which clients reach this application.
        allow_origins: origins, besides those of editors, whose pages may use it, such as ``https://editor.example``.
        allow_users: login names or uids, besides root's and the program's own, whose programs on this machine may.
        token: what each request must send, as ``Authorization: Bearer TOKEN``. Without one, only clients on this
            machine's loopback are let in, and none that a proxy speaks for.

    Raises:
        ServiceError: the directory or the venv does not exist.
        ValueError: a host, an origin or a user is invalid, or the token is empty.
    """
    if token is not None and not token.strip():
        raise ValueError("the token is empty")
    access = Access(
        frozenset(map(parse_host, allow_hosts)),
        frozenset(map(parse_origin, allow_origins)),
        frozenset(parse_user(str(user)) for user in allow_users),
        token,
    )
    directory = working_directory(None if cwd is None else os.fspath(cwd))
    python = find_venv(None if venv is None else os.fspath(venv), os.environ)
    spec = RuntimeSpec(
        id="embedded" if daemon_mode else "default",
        venv=python.prefix,
        python=python.python,
        venv_source=python.source,
        cwd=str(directory),
        assets_dir=None if assets_dir is None else str(absolute_path(os.fspath(assets_dir))),
        managed=daemon_mode,
        until_eof=daemon_mode,
        token=daemon_mode,
    )
    return Proxy(ChildRuntime(spec) if daemon_mode else DefaultRuntime(Home.of(os.environ), spec), access)
