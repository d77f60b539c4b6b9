"""Positions in code.

Python counts code points; clients count UTF-16 code units, as JavaScript does, unless they say otherwise.
"""

from typing import ClassVar, Literal

from mrmd_python.server.api.request import Fields
from mrmd_python.server.sessions import DEFAULT


class Position(Fields):
    """A position in code, and the session that it is about."""

    codes: ClassVar = {"positionEncoding": "bad_encoding"}

    code: str
    # As the client counts; one out of range is clamped, and none is the end of the code.
    cursor: int | None = None
    position_encoding: Literal["utf-16", "utf-32"] = "utf-16"
    session: str = DEFAULT

    @property
    def offset(self) -> int:
        """The cursor in code points, between 0 and the length of the code."""
        longest = 2 * len(self.code)  # there are at most two units to a code point
        cursor = longest if self.cursor is None else min(max(self.cursor, 0), longest)
        return min(cursor, len(self.code)) if self.position_encoding == "utf-32" else _points(self.code, cursor)

    def for_client(self, offset: int) -> int:
        """Return an offset in code points as the client counts."""
        return offset if self.position_encoding == "utf-32" else _units(self.code[:offset])


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _points(text: str, units: int) -> int:
    """Return how many whole code points the first `units` code units of a text are."""
    points = min(units, len(text))  # no fewer units than code points
    while _units(text[:points]) > units:
        points -= max(1, (_units(text[:points]) - units) // 2)
    return points
