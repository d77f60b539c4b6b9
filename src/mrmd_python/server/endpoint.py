"""What an endpoint of MRP is: the sessions and a request in, something to answer with out."""

from collections.abc import Awaitable, Callable

from mrmd_python.server.exchange import EventStream, File, JsonStream, Reply, Request
from mrmd_python.server.sessions import Sessions

Endpoint = Callable[[Sessions, Request], Awaitable[Reply | JsonStream | File | EventStream]]
Route = tuple[str, str, Endpoint]
"""Method, path below MRP's prefix with its variable parts in braces, endpoint."""
