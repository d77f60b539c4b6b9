"""Which route a path of ASGI's means."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from mrmd_python.server.exchange import Request
from mrmd_python.server.mrp import PREFIX
from mrmd_python.server.provider import Answer, Route


@dataclass(frozen=True)
class Match:
    """What answers at a path, and the variable parts of that path."""

    respond: Callable[[Request], Awaitable[Answer]]
    variables: Mapping[str, str]


def segments_below_mount(scope: MutableMapping[str, Any]) -> list[str]:
    """Return the segments of a request's path below the place where the application is mounted, decoded.

    `path` is decoded as a whole, so that ``%2F`` in it cannot be told from a slash; `raw_path` is optional. Both
    should begin with `root_path`; under Starlette before 0.33, `path` does not.
    """
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1").partition("?")[0]
    segments = [unquote(segment) for segment in path.split("/")]
    root = scope.get("root_path", "").rstrip("/").split("/")
    return segments[len(root) if segments[: len(root)] == root else 1 :]


def found(routes: Sequence[Route], segments: Sequence[str]) -> dict[str, Match]:
    """Return, by method, the routes to a path; what answers GET answers HEAD."""
    matches: dict[str, Match] = {}
    for method, path, respond in routes:
        variables = _variables((PREFIX + path).split("/")[1:], segments)
        if variables is not None:
            for name in ("GET", "HEAD") if method == "GET" else (method,):
                matches.setdefault(name, Match(respond, variables))
    return matches


def _variables(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """Return what `segments` have in place of the variable parts of a pattern, or None if they do not fit it."""
    if len(pattern) != len(segments):
        return None
    variables = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{") and segment:
            variables[part.strip("{}")] = segment
        elif part != segment:
            return None
    return variables
