"""Displays, and the files that images, PDF documents and explicit HTML among them are saved to."""

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from mrmd_python.runtime.display_files import EXTENSIONS, FileContent
from mrmd_python.server.asset_directories import AssetDirectories

_AssetType = Literal["image", "svg", "html", "file"]


# Those not named are images.
_ASSET_TYPES: Mapping[str, _AssetType] = {"image/svg+xml": "svg", "application/pdf": "file", "text/html": "html"}
# Python's table lacks image/webp before 3.13, and browsers do not read HTML as UTF-8 without a charset.
_CONTENT_TYPES = {f".{extension}": mime_type for mime_type, extension in EXTENSIONS.items()} | {
    ".html": "text/html; charset=utf-8"
}
# How many displays of a session can be updated: the last ones. Every `display(..., display_id=True)` adds one.
_MAX_UPDATABLE = 10_000


class _Updatable(TypedDict, total=False):
    displayId: str
    update: bool


class _Late(TypedDict, total=False):
    late: bool


class DisplayJson(_Updatable, _Late):
    """A display in each of its forms, by MIME type."""

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]


class _OtherForms(TypedDict, total=False):
    data: Mapping[str, Any]


class AssetJson(_Updatable, _OtherForms):
    """A display that was saved to a file, and its other forms."""

    path: str
    url: str
    mimeType: str
    assetType: _AssetType
    size: int
    metadata: Mapping[str, Any]


class Display(NamedTuple):
    """An object that code displayed, in all its forms."""

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    # The id by which later displays of the session can update this one.
    display_id: str | None = None
    update: bool = False
    # Whether it came after the value of the last expression, which clients get with the result.
    late: bool = False

    @property
    def identity(self) -> _Updatable:
        """The fields that tell a client which display this one updates."""
        return {} if self.display_id is None else {"displayId": self.display_id, "update": self.update}

    def as_json(self) -> DisplayJson:
        """Return the data of MRP's `display` event."""
        late: _Late = {"late": True} if self.late else {}
        return {"data": self.data, "metadata": self.metadata, **self.identity, **late}


class Asset(NamedTuple):
    """A file with a display."""

    path: Path
    url: str
    size: int
    mime_type: str
    asset_type: _AssetType
    display: Display
    # Why it is not in the directory that it should be in, if so.
    note: str | None = None

    def as_json(self) -> AssetJson:
        """Return MRP's Asset."""
        metadata = dict(self.display.metadata)
        own = metadata.get(self.mime_type)
        if isinstance(own, Mapping):  # Jupyter keys metadata by MIME type
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


class SessionAssets:
    """The assets of one session. An update of a display replaces the file of that display."""

    def __init__(self, directories: AssetDirectories) -> None:
        self._directories = directories
        # The files of the displays that can be updated, by display id and MIME type.
        self._updatable: dict[tuple[str, str], Path] = {}

    async def save(
        self, display: Display, content: FileContent, directory: Path | None, exec_id: str, number: int
    ) -> Asset:
        """Write a display to a file.

        Args:
            display: the display.
            content: the form of it that is saved.
            directory: the directory for a new file, if the execution names one.
            exec_id: the execution, for the name of a new file.
            number: the first number to try for that name.

        Raises:
            OSError: the file cannot be written.
        """
        mime_type, data = content
        path, note = await self.update(display, content), None
        if path is None:
            path, note = await self._directories.create(directory, exec_id, number, EXTENSIONS[mime_type], data)
        if display.display_id is not None:
            self._remember((display.display_id, mime_type), path)
        asset_type = _ASSET_TYPES.get(mime_type, "image")
        return Asset(path, self._directories.url(path), len(data), mime_type, asset_type, display, note)

    async def update(self, display: Display, content: FileContent) -> Path | None:
        """Replace the file of the earlier display that this one updates; return its path, or None if it has none.

        Raises:
            OSError: the file cannot be written.
        """
        if not display.update or display.display_id is None:
            return None
        path = self._updatable.get((display.display_id, content.mime_type))
        if path is not None:
            await self._directories.replace(path, content.data)
        return path

    def _remember(self, key: tuple[str, str], path: Path) -> None:
        self._updatable.pop(key, None)
        self._updatable[key] = path
        if len(self._updatable) > _MAX_UPDATABLE:
            del self._updatable[next(iter(self._updatable))]


def content_type(path: Path) -> str:
    """Return the Content-Type of a file, from its name."""
    return _CONTENT_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
