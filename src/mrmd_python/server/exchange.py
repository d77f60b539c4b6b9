"""What goes into an endpoint and comes out of it, apart from any HTTP library."""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Request:
    """What a client sent, as far as an endpoint looks at it."""

    path: Mapping[str, str]
    """The variable parts of the path, decoded."""
    body: Mapping[str, Any]
    """The JSON object of a POST; empty if there was none."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What stands behind the question mark, decoded; the first of each name."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""


@dataclass(frozen=True)
class Reply:
    """A JSON answer."""

    body: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those that every JSON answer has."""


@dataclass(frozen=True)
class JsonText:
    """A JSON answer that a session's process has made."""

    text: bytes


@dataclass(frozen=True)
class JsonStream:
    """A JSON answer that is too long to be made at once."""

    pieces: AsyncIterator[bytes]


@dataclass(frozen=True)
class File:
    """An answer that is a file."""

    path: Path
    content_type: str


@dataclass(frozen=True)
class EventStream:
    """An answer that goes on: Server-Sent Events."""

    events: AsyncIterator[bytes]


@dataclass(frozen=True)
class Relay:
    """An answer that is handed on from another server as it came."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class RefusedError(Exception):
    """A request that is not carried out: an HTTP status, MRP's code, and a sentence for a person."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def text_field(body: Mapping[str, Any], name: str, default: str) -> str:
    """Return the string `name` of a body, or `default` if it is absent or null.

    Raises:
        RefusedError: it is something else.
    """
    return _field(body, name, str, default, "a string")


def path_field(body: Mapping[str, Any], name: str) -> str | None:
    """Return the path `name` of a body, or None if it is absent, null or empty.

    Raises:
        RefusedError: it is something else, or none that the operating system takes.
    """
    path = text_field(body, name, "")
    if not can_be_given(path):
        raise RefusedError(400, "wrong_type", f"the field {name!r} must be a path")
    return path or None


def can_be_given(value: object) -> bool:
    """Return whether the operating system takes `value` for a path or a variable."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def flag_field(body: Mapping[str, Any], name: str, default: bool) -> bool:
    """Return the flag `name` of a body, or `default` if it is absent or null.

    Raises:
        RefusedError: it is something else.
    """
    return _field(body, name, bool, default, "true or false")


def list_field(body: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list `name` of a body, or an empty one if it is absent or null.

    Raises:
        RefusedError: it is something else.
    """
    return _field(body, name, list, [], "a list")


def object_field(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object `name` of a body, or an empty one if it is absent or null.

    Raises:
        RefusedError: it is something else.
    """
    return _field(body, name, dict, {}, "an object")


def number_field(body: Mapping[str, Any], name: str, default: int) -> int:
    """Return the whole number `name` of a body, or `default` if it is absent or null.

    Raises:
        RefusedError: it is something else.
    """
    if isinstance(body.get(name), bool):  # which Python takes for a number
        raise RefusedError(400, "wrong_type", f"the field {name!r} must be a whole number")
    return _field(body, name, int, default, "a whole number")


def _field(body: Mapping[str, Any], name: str, kind: type[_T], default: _T, described: str) -> _T:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise RefusedError(400, "wrong_type", f"the field {name!r} must be {described}")
    return value
