"""A file as an answer under ASGI: conditional, whole or a range of it, as aiohttp's FileResponse has it."""

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from mrmd_python.server.exchange import RefusedError
from mrmd_python.server.wire import FILE_HEADERS, Response

_CHUNK_BYTES = 256 * 1024


class _UnsatisfiableRangeError(Exception):
    """A Range header that names nothing in the file."""


async def file_response(path: Path, headers: Mapping[str, str]) -> Response:
    """Return the answer to a GET for a file (RFC 9110, sections 13.1.2 and 14).

    Args:
        path: the file.
        headers: of the request, by lower-case name; If-None-Match and Range are heeded.

    Raises:
        RefusedError: it has been removed meanwhile.
    """
    try:
        found = await asyncio.to_thread(path.stat)
    except OSError:
        raise RefusedError(404, "unknown_asset", f"there is no asset {path.name!r}") from None
    size, tag = found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}"
    about = {**FILE_HEADERS, "ETag": f'"{tag}"'}
    if _names(headers.get("if-none-match", ""), tag):
        return Response(304, about, b"")
    try:
        wanted = _range(headers.get("range"), size)
    except _UnsatisfiableRangeError:
        return Response(416, {**about, "Content-Range": f"bytes */{size}"}, b"")
    about |= {
        "Content-Type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Content-Length": str(size if wanted is None else len(wanted)),
    }
    if wanted is None:
        return Response(200, about, _pieces(path, range(size)))
    about["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
    return Response(206, about, _pieces(path, wanted))


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


async def _pieces(path: Path, wanted: range) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        file.seek(wanted.start)
        left = len(wanted)
        while left:
            piece = await asyncio.to_thread(file.read, min(left, _CHUNK_BYTES))
            if not piece:
                raise EOFError(f"{path} became shorter while it was read")
            left -= len(piece)
            yield piece
