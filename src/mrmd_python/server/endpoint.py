"""What an endpoint of MRP is: the sessions and a request in, something to answer with out; and what it takes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrmd_python.server.exchange import EventStream, File, JsonStream, JsonText, Reply, Request
from mrmd_python.server.sessions import Sessions

Endpoint = Callable[[Sessions, Request], Awaitable[Reply | JsonText | JsonStream | File | EventStream]]
Schema = Mapping[str, Any]
"""What a value may be, in JSON Schema (https://json-schema.org/draft/2020-12)."""

ANYTHING: Schema = {}
TEXT: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": ["boolean", "null"]}
NUMBER: Schema = {"type": ["integer", "null"]}
TEXTS: Schema = {"type": ["array", "null"], "items": {"type": "string"}}
"""In a body, null is as good as nothing."""


@dataclass(frozen=True)
class Route:
    """What answers a method at a path, and what it takes."""

    method: str
    path: str
    """Below MRP's prefix, with its variable parts in braces."""
    endpoint: Endpoint
    body: Mapping[str, Schema] = field(default_factory=dict)
    """The fields that a POST may have. Whatever others it has are ignored."""
    required: tuple[str, ...] = ()
    """Those of them that it must have."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
