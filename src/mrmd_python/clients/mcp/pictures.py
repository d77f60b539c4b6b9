"""Pictures for a model to look at: of the formats that models accept, and not larger than they can see."""

import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from typing import Any

from mcp_types import ImageContent
from PIL import Image

FORMATS = ("image/png", "image/jpeg", "image/gif", "image/webp")
_LONG_EDGE = 1024
_BYTES = 1_000_000


def picture_of(bundle: Mapping[str, Any]) -> ImageContent | None:
    """Return the picture among the forms of a display: base64, or bytes; None if it has none that can be read."""
    for mime_type in FORMATS:
        content = bundle.get(mime_type)
        try:
            if isinstance(content, str):
                content = base64.b64decode(content)
        except binascii.Error:
            continue
        if isinstance(content, bytes):
            return _scaled(content, mime_type)
    return None


def _scaled(data: bytes, mime_type: str) -> ImageContent | None:
    """Return a picture, made smaller if it is large; None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if max(image.size) > _LONG_EDGE or len(data) > _BYTES:
                    data, mime_type = _smaller(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for broken files
        return None
    return ImageContent(data=base64.b64encode(data).decode(), mime_type=mime_type)


def _smaller(image: Image.Image) -> tuple[bytes, str]:
    """Return a picture, or the first one of an animation, scaled down: as PNG or, if that is large, as JPEG."""
    image.thumbnail((_LONG_EDGE, _LONG_EDGE))
    png = io.BytesIO()
    image.save(png, "PNG")
    if png.tell() <= _BYTES:
        return png.getvalue(), "image/png"
    jpeg = io.BytesIO()
    image.convert("RGB").save(jpeg, "JPEG")
    return jpeg.getvalue(), "image/jpeg"
