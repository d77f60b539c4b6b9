"""Reading the JSON body, query or headers of a request into the struct that its route declares."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_args

import msgspec
from aiohttp import web

from mrmd_python.server.api.error import RefusedError

# How long a body may take: this, and one second more for every `_MIN_BYTES_PER_SECOND` received.
_BODY_SECONDS = 15.0
_MIN_BYTES_PER_SECOND = 10_000
_MAX_BODY_BYTES = 64 * 1024 * 1024


class Fields(msgspec.Struct, rename="camel"):
    """The fields of a request. Unknown fields are ignored, and null means absent."""

    # The error codes for fields whose type is right and whose value is not. The default is "wrong_type".
    codes: ClassVar[Mapping[str, str]] = {}


_F = TypeVar("_F", bound=Fields)


class FieldError(RefusedError):
    """A field is missing or has a wrong value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(400, code, message)


async def read_body(request: web.Request, kind: type[_F]) -> _F:
    """Return the body of a POST. An empty body is ``{}``.

    Raises:
        RefusedError: the body is not a JSON object, is too large or too slow, or has an invalid field.
    """
    data = await _read(request)
    try:
        body = json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "malformed_json", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "malformed_json", "the body must be a JSON object")
    return _parsed(body, kind, "field")


def read_query(request: web.Request, kind: type[_F]) -> _F:
    """Return the query parameters; the first one of each name counts.

    Raises:
        FieldError: a parameter is invalid.
    """
    return _parsed(request.query, kind, "parameter")


def read_headers(request: web.Request, kind: type[_F]) -> _F:
    """Return the headers that a struct declares.

    Raises:
        FieldError: a header is invalid.
    """
    return _parsed(request.headers, kind, "header")


def check_path(field: str, value: str | None) -> None:
    """Raise a FieldError if the operating system does not accept the value of a field as a path."""
    if value is not None and not is_os_string(value):
        raise FieldError("wrong_type", f"the field {field!r} must be a path")


def is_os_string(text: str) -> bool:
    """Return whether the operating system accepts a text as a path or in an environment variable."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate
        return False


async def _read(request: web.Request) -> bytes:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BODY_SECONDS
    data = bytearray()
    try:
        if request.content.is_eof():  # the body has arrived with the headers
            data += request.content.read_nowait()
        while True:
            if data and request.content_type != "application/json":
                raise RefusedError(415, "not_json", "a POST body must have the content type application/json")
            if len(data) > _MAX_BODY_BYTES:
                raise RefusedError(413, "body_too_large", f"a POST body must have at most {_MAX_BODY_BYTES} bytes")
            if request.content.at_eof():
                return bytes(data)
            chunk = await asyncio.wait_for(request.content.readany(), deadline - loop.time())
            deadline += len(chunk) / _MIN_BYTES_PER_SECOND
            data += chunk
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise RefusedError(400, "broken_body", f"cannot read the body: {error}") from None
    except asyncio.TimeoutError:
        raise RefusedError(408, "slow_body", "the body took too long: send the request again") from None


def _parsed(values: Mapping[str, Any], kind: type[_F], source: str) -> _F:
    # Only declared fields: msgspec fails at any name that is not valid Unicode.
    declared = {name: values[name] for name in kind.__struct_encode_fields__ if values.get(name) is not None}
    try:
        return msgspec.convert(declared, kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), kind, source) from None
    except UnicodeEncodeError:
        raise FieldError("wrong_type", f"a {source} has text that is not valid Unicode") from None
    except RecursionError:
        raise FieldError("malformed_json", f"a {source} is nested too deeply") from None


_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a decimal number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _field_error(message: str, kind: type[Fields], source: str) -> FieldError:
    """Translate an error of msgspec.

    Args:
        message: msgspec's message, like "Expected `int | null`, got `str` - at `$.cursor`".
        kind: the struct that was read.
        source: "field", "parameter" or "header".
    """
    problem, _, place = message.partition(" - at ")
    place = place.replace("`", "").replace("$.", "")  # "path[0].position", "key in environment.env"
    missing = re.fullmatch("Object missing required field `(.+)`", problem)
    if missing and not place:
        return FieldError(f"missing_{missing[1]}", f"the {source} {missing[1]!r} is missing")
    if missing:
        return FieldError("wrong_type", f"the {source} {place!r} must have {missing[1]!r}")
    if problem.startswith("Invalid enum value"):
        problem = f"must be {' or '.join(map(repr, _choices(kind, place)))}"
    problem = problem.replace("Expected", "must be").replace(" | null", "")
    words = re.sub("`([a-z |]+)`", lambda names: " or ".join(_TYPES.get(n, n) for n in names[1].split(" | ")), problem)
    is_wrong_type = ", got " in words
    return FieldError(
        "wrong_type" if is_wrong_type else kind.codes.get(place, "wrong_type"),
        f"the {source} {place!r} {words.replace(', got', ', not')}",
    )


def _choices(kind: type[Fields], name: str) -> tuple[object, ...]:
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    return get_args(types.get(name))
