"""What stands behind an HTTP front: something that answers MRP's requests."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from mrmd_python.server import mrp
from mrmd_python.server.exchange import EventStream, File, JsonStream, JsonText, Relay, Reply, Request
from mrmd_python.server.sessions import Sessions

Answer = Reply | JsonText | JsonStream | File | EventStream | Relay
Route = tuple[str, str, Callable[[Request], Awaitable[Answer]]]
"""Method, path below MRP's prefix with its variable parts in braces, what answers it."""


class Provider(Protocol):
    """The sessions of an application, wherever they are."""

    routes: Sequence[Route]

    async def start(self) -> None:
        """Make ready to answer.

        Raises:
            SessionStartError: the default session cannot be started; nothing is left of it.
        """

    async def close(self) -> None:
        """Let go of everything that `start` and the requests since have brought about; once more does no harm."""


def session_routes(sessions: Sessions) -> list[Route]:
    """Return the routes of MRP as `sessions` answer them."""
    return [(route.method, route.path, partial(route.endpoint, sessions)) for route in mrp.ROUTES]
