"""Positions in code.

Python counts code points. Clients count UTF-16 code units, like JavaScript, unless they ask for utf-32.
"""

from typing import ClassVar, Literal

from mrmd_python.server.api.request import Fields
from mrmd_python.server.sessions import DEFAULT


class Position(Fields):
    """A position in code, and the session to ask about it."""

    codes: ClassVar = {"positionEncoding": "bad_encoding"}

    code: str
    # In the client's units. It is clamped to the code; absent, it is the end of the code.
    cursor: int | None = None
    position_encoding: Literal["utf-16", "utf-32"] = "utf-16"
    session: str = DEFAULT

    @property
    def has_wide_units(self) -> bool:
        """Whether the client counts a character of this code as more than one."""
        return self.position_encoding == "utf-16" and not self.code.isascii()

    @property
    def offset(self) -> int:
        """The cursor in code points, between 0 and the length of the code."""
        longest = 2 * len(self.code)  # a code point has at most two code units
        cursor = longest if self.cursor is None else min(max(self.cursor, 0), longest)
        return min(cursor, len(self.code)) if self.position_encoding == "utf-32" else _points(self.code, cursor)

    def for_client(self, offset: int) -> int:
        """Convert an offset in code points to the client's units."""
        return offset if self.position_encoding == "utf-32" else _units(self.code[:offset])


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _points(text: str, units: int) -> int:
    """Return the number of whole code points in the first `units` code units of a text."""
    points = min(units, len(text))  # a text has at least as many units as code points
    while _units(text[:points]) > units:
        points -= max(1, (_units(text[:points]) - units) // 2)
    return points
