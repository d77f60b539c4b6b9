"""`create_app`: an ASGI application that proxies MRP to a runtime."""

import os
from collections.abc import Iterable

from mrmd_python.app.proxy import Proxy
from mrmd_python.app.runtimes import ChildRuntime, DefaultRuntime, StartedRuntime
from mrmd_python.runtime.files import Home
from mrmd_python.runtime.spec import RuntimeSpec
from mrmd_python.runtime.validate import parse_host, parse_id, parse_origin, parse_user
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
    runtime: str | None = None,
) -> Proxy:
    """Return an ASGI application that serves MRP at ``/mrp/v1``, as a proxy to a runtime.

    Args:
        cwd: the working directory of code; the current directory if None.
        assets_dir: the directory for images; ``.mrmd-assets`` in the cwd if None.
        venv: the venv whose Python runs the code; if None, the one that ``mrmd-python`` would choose.
        daemon_mode: if true, the runtime is a child of this program and ends with it. If false, it is the runtime
            service ``default``, which outlives this program; it is started if it is not running.
        allow_hosts: names that clients may use for this application, besides those of loopback.
        allow_origins: origins whose pages may use it, besides editors, such as ``https://editor.example``.
        allow_users: local users who may use it, by login name or uid, besides root and the user of this program.
        token: the token that every request must send, as ``Authorization: Bearer TOKEN``. Without a token, only
            clients on this machine's loopback may connect, and not through another proxy.
        runtime: the id of a runtime that you have started, on this machine or, as a Slurm job, on a node. Its own token
            is added to each request. It has its own directory and venv.

    Raises:
        ServiceError: the directory or the venv does not exist.
        ValueError: a host, an origin, a user or an id is invalid, the token is empty, or the runtime is given with
            options for another one.
    """
    if token is not None and not token.strip():
        raise ValueError("the token is empty")
    access = Access(
        frozenset(map(parse_host, allow_hosts)),
        frozenset(map(parse_origin, allow_origins)),
        frozenset(parse_user(str(user)) for user in allow_users),
        token,
    )
    if runtime is not None:
        if daemon_mode or any(path is not None for path in (cwd, assets_dir, venv)):
            raise ValueError("runtime= is a runtime that runs already: leave out cwd, assets_dir, venv and daemon_mode")
        return Proxy(StartedRuntime(Home.of(os.environ), parse_id(runtime)), access)
    paths = {"cwd": cwd, "venv": venv, "assets_dir": assets_dir}
    options = {
        "id": "embedded" if daemon_mode else "default",
        **{name: os.fspath(path) for name, path in paths.items() if path is not None},
        **dict.fromkeys(("managed", "until_eof", "token"), daemon_mode),
    }
    spec = RuntimeSpec.from_options(options, os.environ)
    return Proxy(ChildRuntime(spec) if daemon_mode else DefaultRuntime(Home.of(os.environ), spec), access)
