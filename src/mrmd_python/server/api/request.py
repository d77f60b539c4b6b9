"""Reading a request: its JSON body or its parameters, into the struct that an endpoint declares."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_args

import msgspec
from aiohttp import web

from mrmd_python.server.api.error import RefusedError

_BODY_SECONDS = 15.0
# A body may take so many seconds, and one more for so many bytes that have come.
_SLOWEST_BODY = 10_000
_LARGEST_BODY = 64 * 1024 * 1024


class Fields(msgspec.Struct, rename="camel"):
    """The fields of a request. Others are ignored, and null means absent."""

    # The codes of values that have the right type and are refused all the same; others are refused as "wrong_type".
    codes: ClassVar[Mapping[str, str]] = {}


_F = TypeVar("_F", bound=Fields)


class FieldError(RefusedError):
    """A field is missing or has a wrong value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(400, code, message)


async def read_body(request: web.Request, kind: type[_F]) -> _F:
    """Return the body of a POST; a missing one is ``{}``.

    Raises:
        RefusedError: it is not a JSON object, it is too large or too slow, or a field is wrong.
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
    """Return the parameters after the question mark, the first of each name.

    Raises:
        FieldError: one is wrong.
    """
    return _parsed(request.query, kind, "parameter")


def read_headers(request: web.Request, kind: type[_F]) -> _F:
    """Return the headers that a struct names.

    Raises:
        FieldError: one is wrong.
    """
    return _parsed(request.headers, kind, "header")


def check_path(field: str, value: str | None) -> None:
    """Raise an error if a field is not a path.

    Raises:
        FieldError: the operating system does not accept it.
    """
    if value is not None and not is_os_string(value):
        raise FieldError("wrong_type", f"the field {field!r} must be a path")


def is_os_string(text: str) -> bool:
    """Return whether the operating system accepts a text as a path or a variable."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


async def _read(request: web.Request) -> bytes:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BODY_SECONDS
    data = bytearray()
    try:
        if request.content.is_eof():  # it came with its headers: there is nothing to wait for
            data += request.content.read_nowait()
        while True:
            if data and request.content_type != "application/json":
                raise RefusedError(415, "not_json", "a POST body must have the content type application/json")
            if len(data) > _LARGEST_BODY:
                raise RefusedError(413, "body_too_large", f"a POST body must have at most {_LARGEST_BODY} bytes")
            if request.content.at_eof():
                return bytes(data)
            chunk = await asyncio.wait_for(request.content.readany(), deadline - loop.time())
            deadline += len(chunk) / _SLOWEST_BODY
            data += chunk
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise RefusedError(400, "broken_body", f"the body cannot be read to its end: {error}") from None
    except asyncio.TimeoutError:
        raise RefusedError(408, "slow_body", "the body comes too slowly: send the request again") from None


def _parsed(values: Mapping[str, Any], kind: type[_F], what: str) -> _F:
    # Of the fields that are not declared, a name may be no valid Unicode, which msgspec would not accept.
    given = {name: values[name] for name in kind.__struct_encode_fields__ if values.get(name) is not None}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), kind, what) from None
    except UnicodeEncodeError:
        raise FieldError("wrong_type", f"a {what} has text that is not valid Unicode") from None
    except RecursionError:
        raise FieldError("malformed_json", f"a {what} is nested too deeply") from None


_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a decimal number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _field_error(message: str, kind: type[Fields], what: str) -> FieldError:
    """Return msgspec's error in the words of MRP.

    Args:
        message: "Expected `int | null`, got `str` - at `$.cursor`" and the like.
        kind: the struct that it is about.
        what: "field", "parameter" or "header".
    """
    problem, _, place = message.partition(" - at ")
    place = place.replace("`", "").replace("$.", "")  # "path[0].position", "key in environment.env"
    missing = re.fullmatch("Object missing required field `(.+)`", problem)
    if missing and not place:
        return FieldError(f"missing_{missing[1]}", f"the {what} {missing[1]!r} is missing")
    if missing:
        return FieldError("wrong_type", f"the {what} {place!r} must have {missing[1]!r}")
    if problem.startswith("Invalid enum value"):
        problem = f"must be {' or '.join(map(repr, _choices(kind, place)))}"
    problem = problem.replace("Expected", "must be").replace(" | null", "")
    words = re.sub("`([a-z |]+)`", lambda names: " or ".join(_TYPES.get(n, n) for n in names[1].split(" | ")), problem)
    is_wrong_type = ", got " in words
    return FieldError(
        "wrong_type" if is_wrong_type else kind.codes.get(place, "wrong_type"),
        f"the {what} {place!r} {words.replace(', got', ', not')}",
    )


def _choices(kind: type[Fields], name: str) -> tuple[object, ...]:
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    return get_args(types.get(name))
