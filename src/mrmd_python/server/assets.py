"""Displays, and the files that some of them become: pictures, PDF documents and explicit HTML."""

import base64
import itertools
import mimetypes
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from mrmd_python.runtime.files import make_directory

_AssetType = Literal["image", "svg", "html", "file"]


class _Kind(NamedTuple):
    extension: str
    asset_type: _AssetType


# By MIME type. Of a display in several of these forms, the first becomes the file.
_KINDS = {
    "image/png": _Kind("png", "image"),
    "image/jpeg": _Kind("jpg", "image"),
    "image/gif": _Kind("gif", "image"),
    "image/webp": _Kind("webp", "image"),
    "image/svg+xml": _Kind("svg", "svg"),
    "application/pdf": _Kind("pdf", "file"),
}
_HTML = _Kind("html", "html")
# The text/plain of an explicit HTML display; what merely has an HTML form, as a DataFrame, has text of its own.
_HTML_OBJECT = "<IPython.core.display.HTML object>"
# Python's own table lacks image/webp before 3.13, and a page without a charset is not read as UTF-8.
_CONTENT_TYPES = {f".{kind.extension}": mime_type for mime_type, kind in _KINDS.items()} | {
    ".html": "text/html; charset=utf-8"
}
# How many displays of a session can be updated, the last ones. Each `display(..., display_id=True)` is one more.
_MOST_UPDATABLE = 10_000


class _Updatable(TypedDict, total=False):
    displayId: str
    update: bool


class DisplayJson(_Updatable):
    """A display in each of its forms, by MIME type."""

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]


class _OtherForms(TypedDict, total=False):
    data: Mapping[str, Any]


class AssetJson(_Updatable, _OtherForms):
    """A display that has become a file, and its other forms."""

    path: str
    url: str
    mimeType: str
    assetType: _AssetType
    size: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Display:
    """What code displayed, in every form that it has."""

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    # What later displays of the session can name to update this one.
    display_id: str | None = None
    update: bool = False

    @property
    def identity(self) -> _Updatable:
        """The fields by which a client finds the display that this one updates."""
        return {} if self.display_id is None else {"displayId": self.display_id, "update": self.update}

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture, which the session does not print as text."""
        return any(mime in self.data for mime, kind in _KINDS.items() if kind.asset_type in ("image", "svg"))

    def as_json(self) -> DisplayJson:
        """Return the data of MRP's `display` event."""
        return {"data": self.data, "metadata": self.metadata, **self.identity}


@dataclass(frozen=True)
class Asset:
    """A file that a display became."""

    path: Path
    url: str
    size: int
    mime_type: str
    asset_type: _AssetType
    display: Display = field(repr=False)

    def as_json(self) -> AssetJson:
        """Return MRP's Asset."""
        metadata = dict(self.display.metadata)
        own = metadata.get(self.mime_type)
        if isinstance(own, Mapping):  # Jupyter's metadata is by MIME type
            del metadata[self.mime_type]
            metadata |= own
        others = {mime: value for mime, value in self.display.data.items() if mime != self.mime_type}
        other_forms: _OtherForms = {"data": others} if others else {}
        return {
            "path": str(self.path),
            "url": self.url,
            "mimeType": self.mime_type,
            "assetType": self.asset_type,
            "size": self.size,
            "metadata": metadata,
            **other_forms,
            **self.display.identity,
        }


class AssetFolders:
    """The folders that assets of this runtime were written to, and so may be read from."""

    def __init__(self, url_prefix: str, default: Path) -> None:
        self.default = default
        """Where assets go that no execution names another folder for."""
        self._url_prefix = url_prefix
        self._folders = {default: None}

    def url(self, path: Path) -> str:
        """Return where clients get an asset."""
        return f"{self._url_prefix}/{path.name}"

    def create(self, folder: Path, exec_id: str, number: int, extension: str, content: bytes) -> Path:
        """Write a new asset of an execution, whose name has the first number from `number` on that is free.

        Raises:
            OSError: the folder cannot be written to.
        """
        make_directory(folder)
        self._folders[folder] = None
        # An execId is the client's: as part of a file's name it must not lead anywhere.
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", exec_id)[:100]
        for free in itertools.count(number):
            path = folder / f"{stem}_{free:04d}.{extension}"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:
                continue
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            path.unlink()
            raise
        return path

    def find(self, name: str) -> Path | None:
        """Return the asset of that name, or None; links and everything outside the folders are no assets."""
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
            return None
        return next(self._candidates(name), None)

    def _candidates(self, name: str) -> Iterator[Path]:
        for folder in reversed(self._folders):
            path = folder / name
            if path.is_file() and not path.is_symlink():
                yield path


class SessionAssets:
    """The assets of one session, in which an update of a display replaces the file of that display."""

    def __init__(self, folders: AssetFolders) -> None:
        self._folders = folders
        # The files of displays that can be updated, by display id and MIME type.
        self._updatable: dict[tuple[str, str], Path] = {}

    @property
    def default_folder(self) -> Path:
        """Where new files go unless an execution names another folder."""
        return self._folders.default

    def save(self, display: Display, folder: Path, exec_id: str, number: int) -> Asset | None:
        """Write a display to a file if it is one that becomes a file; return None if it is not.

        Args:
            display: what to write.
            folder: where a new file goes.
            exec_id: of the execution, for the name of a new file.
            number: for that name, too: the first to try.

        Raises:
            OSError: the file cannot be written.
        """
        found = _content(display.data)
        if found is None:
            return None
        mime_type, kind, content = found
        path = self._replaced(display, mime_type, content)
        if path is None:
            path = self._folders.create(folder, exec_id, number, kind.extension, content)
        if display.display_id is not None:
            self._remember((display.display_id, mime_type), path)
        return Asset(path, self._folders.url(path), len(content), mime_type, kind.asset_type, display)

    def update(self, display: Display) -> None:
        """Replace the file of an earlier display that this one updates, if there is one.

        Raises:
            OSError: the file cannot be written.
        """
        found = _content(display.data)
        if found is not None:
            mime_type, _, content = found
            self._replaced(display, mime_type, content)

    def _replaced(self, display: Display, mime_type: str, content: bytes) -> Path | None:
        if not display.update or display.display_id is None:
            return None
        path = self._updatable.get((display.display_id, mime_type))
        if path is not None:
            _replace(path, content)
        return path

    def _remember(self, key: tuple[str, str], path: Path) -> None:
        self._updatable.pop(key, None)
        self._updatable[key] = path
        if len(self._updatable) > _MOST_UPDATABLE:
            del self._updatable[next(iter(self._updatable))]


def content_type(path: Path) -> str:
    """Return the Content-Type of a file by its name."""
    return _CONTENT_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _replace(path: Path, content: bytes) -> None:
    """Replace a file, so that a reader sees the old content or the new, and another ETag for each.

    Raises:
        OSError: it cannot be written; `path` is as it was.
    """
    make_directory(path.parent)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".")  # no asset's name begins with a dot
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        # The kernel's own time stamps may be equal for files written within 10 ms.
        now = time.time_ns()
        os.utime(part, ns=(now, now))
        os.replace(part, path)
    except OSError:
        os.unlink(part)
        raise


def _content(data: Mapping[str, Any]) -> tuple[str, _Kind, bytes] | None:
    """Return the MIME type, kind and bytes of the form that becomes a file, or None."""
    for mime_type, kind in _KINDS.items():
        value = data.get(mime_type)
        if isinstance(value, str) and value:
            return mime_type, kind, _decoded(mime_type, value)
    html = data.get("text/html")
    if isinstance(html, str) and data.get("text/plain") == _HTML_OBJECT:
        return "text/html", _HTML, html.encode(errors="replace")
    return None


def _decoded(mime_type: str, value: str) -> bytes:
    """Return the bytes of a picture or document: IPython hands over base64, except for SVG, which is text."""
    if mime_type == "image/svg+xml":
        return value.encode(errors="replace")
    try:
        return base64.b64decode(value)
    except ValueError:  # a cell can display anything as a picture
        return value.encode(errors="replace")
