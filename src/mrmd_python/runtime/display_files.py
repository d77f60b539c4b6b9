"""The files that displays become, in the server or in a client of rich executions: their content and their names."""

import base64
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# By MIME type. If a display has several of these forms, the first one is saved.
_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
}
_HTML = "text/html"
EXTENSIONS: Mapping[str, str] = {**_EXTENSIONS, _HTML: "html"}
# The text/plain of an explicit HTML display. Objects that merely have an HTML form, like a DataFrame, have other text.
_HTML_OBJECT = "<IPython.core.display.HTML object>"


class FileContent(NamedTuple):
    """The form of a display that is saved."""

    mime_type: str
    data: bytes


def file_content(forms: Mapping[str, Any]) -> FileContent | None:
    """Return the form of a display that is saved to a file, or None."""
    for mime_type in _EXTENSIONS:
        form = forms.get(mime_type)
        if isinstance(form, str) and form:
            return FileContent(mime_type, _decoded(mime_type, form))
    html = forms.get(_HTML)
    if isinstance(html, str) and forms.get("text/plain") == _HTML_OBJECT:
        return FileContent(_HTML, html.encode(errors="replace"))
    return None


def file_name(exec_id: str, number: int, extension: str) -> str:
    """Return the name of a file of an execution, whose id a client chose: it must not lead to another directory."""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", exec_id)[:100]
    return f"{stem}_{number:04d}.{extension}"


def _decoded(mime_type: str, form: str) -> bytes:
    """Return the bytes of an image or document: IPython encodes it in base64, except for SVG."""
    if mime_type == "image/svg+xml":
        return form.encode(errors="replace")
    try:
        return base64.b64decode(form)
    except ValueError:  # code can display any text as image/png
        return form.encode(errors="replace")
