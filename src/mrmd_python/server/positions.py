"""Places in code: Python counts code points, clients UTF-16 code units, as JavaScript does, unless they say so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrmd_python.server.endpoint import NUMBER, TEXT, Schema
from mrmd_python.server.exchange import RefusedError, number_field, text_field

PLACE: dict[str, Schema] = {
    "code": TEXT,
    "cursor": NUMBER,
    "positionEncoding": {"enum": ["utf-16", "utf-32", None]},
}
"""The fields of a body that name one."""


@dataclass(frozen=True)
class Place:
    """A place in code, as a client means it."""

    code: str
    cursor: int
    """In code points, 0 to the length of the code."""
    encoding: str
    """How the client counts: ``utf-16`` or ``utf-32``."""

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> "Place":
        """Parse `code`, `cursor` (the end of the code if absent) and `positionEncoding` of a request.

        Raises:
            RefusedError: the code is missing, a type is wrong or the encoding unknown.
        """
        if "code" not in body:
            raise RefusedError(400, "missing_code", "the field 'code' is missing")
        code = text_field(body, "code", "")
        encoding = text_field(body, "positionEncoding", "utf-16")
        if encoding not in ("utf-16", "utf-32"):
            raise RefusedError(400, "bad_encoding", "the field 'positionEncoding' must be 'utf-16' or 'utf-32'")
        # There are at most two units to a code point.
        cursor = min(max(number_field(body, "cursor", 2 * len(code)), 0), 2 * len(code))
        points = min(cursor, len(code)) if encoding == "utf-32" else _points(code, cursor)
        return cls(code, points, encoding)

    def as_client_counts(self, points: int) -> int:
        """Return the client's number for the place that is `points` code points into the code."""
        return points if self.encoding == "utf-32" else _units(self.code[:points])


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _points(text: str, units: int) -> int:
    """Return how many whole code points the first `units` code units of a text are."""
    points = min(units, len(text))  # no fewer units than code points
    while _units(text[:points]) > units:
        points -= max(1, (_units(text[:points]) - units) // 2)
    return points
