"""A file as an answer under ASGI: conditional, whole or a range of it, as aiohttp's FileResponse has it."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO

from mrmd_python.server.exchange import File, RefusedError
from mrmd_python.server.wire import Response, file_headers

_CHUNK_BYTES = 256 * 1024


class _UnsatisfiableRangeError(Exception):
    """A Range header that names nothing in the file."""


async def file_response(asked: File, headers: Mapping[str, str]) -> Response:
    """Return the answer to a GET for a file (RFC 9110, sections 13.1.2 and 14).

    Args:
        asked: the file.
        headers: of the request, by lower-case name; If-None-Match and Range are heeded.

    Raises:
        RefusedError: it has been removed meanwhile.
    """
    try:
        file = await asyncio.to_thread(asked.path.open, "rb")
    except OSError:
        raise RefusedError(404, "unknown_asset", f"there is no asset {asked.path.name!r}") from None
    # Of what is open now: an update may replace the file at any time.
    found = os.fstat(file.fileno())
    size, tag = found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}"
    about = {**file_headers(asked), "ETag": f'"{tag}"'}
    if _names(headers.get("if-none-match", ""), tag):
        file.close()
        return Response(304, about, b"")
    try:
        wanted = _range(headers.get("range"), size)
    except _UnsatisfiableRangeError:
        file.close()
        return Response(416, {**about, "Content-Range": f"bytes */{size}"}, b"")
    about |= {"Accept-Ranges": "bytes", "Content-Length": str(size if wanted is None else len(wanted))}
    if wanted is None:
        return Response(200, about, _pieces(file, range(size)))
    about["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
    return Response(206, about, _pieces(file, wanted))


def _names(condition: str, tag: str) -> bool:
    """Return whether an If-None-Match header names an entity tag."""
    return condition.strip() == "*" or tag in re.findall(r'"([^"]*)"', condition)


def _range(header: str | None, size: int) -> range | None:
    """Return the bytes that a Range header asks for, or None for all of them."""
    if header is None:
        return None
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header, re.ASCII)
    if match is None or not (match[1] or match[2]):
        raise _UnsatisfiableRangeError
    if not match[1]:
        wanted = range(max(0, size - int(match[2])), size)
    else:
        wanted = range(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
    if not wanted:
        raise _UnsatisfiableRangeError
    return wanted


async def _pieces(file: BinaryIO, wanted: range) -> AsyncIterator[bytes]:
    with file:
        file.seek(wanted.start)
        left = len(wanted)
        while left:
            piece = await asyncio.to_thread(file.read, min(left, _CHUNK_BYTES))
            if not piece:
                raise EOFError("the file became shorter while it was read")
            left -= len(piece)
            yield piece
