"""Displays that become files: pictures and explicit HTML, in the assets folder of their execution."""

import base64
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrmd_python.service.home import make_folder

_KINDS = {
    "image/png": ("png", "image"),
    "image/jpeg": ("jpg", "image"),
    "image/svg+xml": ("svg", "svg"),
}
"""Of each picture's MIME type, best first: its extension and MRP's assetType."""
_HTML_OBJECT = "<IPython.core.display.HTML object>"
"""The text/plain of an explicit HTML display; what merely has an HTML form, as a DataFrame, has text of its own."""


@dataclass(frozen=True)
class Asset:
    """A file that a display became; the fields are MRP's."""

    path: str
    url: str
    mimeType: str  # noqa: N815 - the name on the wire
    assetType: str  # noqa: N815 - the name on the wire
    size: int

    def as_json(self) -> dict[str, Any]:
        """Return it as MRP tells it."""
        return asdict(self)


class AssetFolders:
    """The folders that assets of this runtime were written to, and so may be read from."""

    def __init__(self, url_prefix: str, default: Path) -> None:
        self.default = default
        """Where assets go that no execution names another folder for."""
        self._url_prefix = url_prefix
        self._folders = {default: None}

    def save(self, folder: Path, exec_id: str, number: int, data: Mapping[str, Any]) -> Asset | None:
        """Write a display to a file of its own if it is one that becomes a file; return None if it is not.

        Args:
            folder: where to; it is made if it is not there.
            exec_id: of the execution, for the file's name.
            number: from which on names are tried.
            data: the display's MIME bundle.

        Raises:
            OSError: the folder cannot be written to.
        """
        found = _content(data)
        if found is None:
            return None
        mime_type, extension, asset_type, content = found
        make_folder(folder)
        self._folders[folder] = None
        # An execId is the client's: as part of a file's name it must not lead anywhere.
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", exec_id)[:100]
        for free in itertools.count(number):
            path = folder / f"{stem}_{free:04d}.{extension}"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
            except OSError:
                path.unlink()
                raise
            return Asset(str(path), f"{self._url_prefix}/{path.name}", mime_type, asset_type, len(content))
        return None

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


def _content(data: Mapping[str, Any]) -> tuple[str, str, str, bytes] | None:
    """Return MIME type, extension, asset type and bytes of what becomes a file, or None."""
    for mime_type, (extension, asset_type) in _KINDS.items():
        picture = data.get(mime_type)
        if isinstance(picture, str) and picture:
            return mime_type, extension, asset_type, _decoded(mime_type, picture)
    html = data.get("text/html")
    if isinstance(html, str) and data.get("text/plain") == _HTML_OBJECT:
        return "text/html", "html", "html", html.encode(errors="replace")
    return None


def _decoded(mime_type: str, picture: str) -> bytes:
    """Return a picture's bytes: IPython hands over base64, except for SVG, which is text."""
    if mime_type == "image/svg+xml":
        return picture.encode(errors="replace")
    try:
        return base64.b64decode(picture)
    except ValueError:  # a cell can display anything as a picture
        return picture.encode(errors="replace")
