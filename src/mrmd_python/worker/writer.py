"""Writing objects as text within bounds: of room, and of how deep they lie in each other."""

from typing import Any, Callable, Iterable, Tuple

from . import static

_DEEPEST = 6
_GREAT = 10**18

Write = Callable[["Writer", Any], None]


def is_leaf(value: Any) -> bool:
    """Return whether a value is one whose repr() is quick, short and Python's own."""
    kind = type(value)
    return (kind is int and -_GREAT < value < _GREAT) or kind is float or kind is bool or value is None


class FullError(Exception):
    """There is no room for more text."""


class Writer:
    """Text that is being put together."""

    def __init__(self, room: int, writer_of: "Callable[[object], Write]") -> None:
        self.pieces: "list[str]" = []
        self.has_left_out = False
        """Whether something was too deep, or could not be read."""
        self.room = room
        """For how many characters more."""
        self._writer_of = writer_of
        self._open: "list[object]" = []
        """The containers that are being written, outermost first."""

    @property
    def depth(self) -> int:
        """How many objects are being written, one in another."""
        return len(self._open)

    def put(self, piece: str) -> None:
        """Add text.

        Raises:
            FullError: that is too much.
        """
        self.pieces.append(piece)
        self.room -= len(piece)
        if self.room < 0:
            raise FullError

    def write(self, value: object) -> None:
        """Add an object, by what writes objects like it."""
        depth = len(self._open)
        if depth < _DEEPEST and is_leaf(value):  # which is most of what there is: this is for speed
            self.put(repr(value))
            return
        if depth >= _DEEPEST or self._is_open(value):
            self.has_left_out = True
            self.put("...")
            return
        self._open.append(value)
        try:
            self._writer_of(value)(self, value)
        except FullError:
            raise
        except Exception:  # what is only half made, or changes while it is looked at
            self.has_left_out = True
            self.put(f"<{static.class_name(type(value))}, unreadable>")
        finally:
            self._open.pop()

    def _is_open(self, value: object) -> bool:
        # Not any(), which takes twice the time.
        for container in self._open:  # noqa: SIM110
            if container is value:
                return True
        return False

    def write_all(self, start: str, items: "Iterable[object]", end: str) -> None:
        """Add objects with commas between."""
        self.put(start)
        between = ""
        for item in items:
            if is_leaf(item) and len(self._open) < _DEEPEST:  # as in write(), and for the same reason
                self.put(f"{between}{item!r}")
            else:
                self.put(between)
                self.write(item)
            between = ", "
        self.put(end)

    def write_named(self, start: str, items: "Iterable[Tuple[str, object]]", end: str) -> None:
        """Add ``name=object`` for each, with commas between."""
        self.put(start)
        for number, (name, item) in enumerate(items):
            self.put(f"{', ' if number else ''}{name}=")
            self.write(item)
        self.put(end)
