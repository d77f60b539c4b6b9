"""MRP's `accumulated`: each text event repeats its stream so far, at a cost that stays in proportion to the text."""

from collections.abc import Iterable

from mrmd_python.server.text_window import TextWindow

_FREE_CHARACTERS = 8 * 1024
"""What may be repeated beyond what is sent for the first time."""
_WHOLE_IN_RESULT = 64 * 1024
_PART_IN_RESULT = 8 * 1024


class Repetition:
    """What one reader has been sent of each stream, and how much of it again."""

    def __init__(self, streams: Iterable[str]) -> None:
        self._windows = {stream: TextWindow() for stream in streams}
        self._credit = _FREE_CHARACTERS

    def append(self, stream: str, text: str) -> None:
        """Note what a stream goes on with."""
        self._windows[stream].append(text)

    def leave_out(self, stream: str, count: int) -> None:
        """Note that the next `count` bytes of a stream were not to be had."""
        self._windows[stream].leave_out(count)

    def summary(self, stream: str) -> str:
        """Return a stream for the `result` that ends it, short if it is long: all of it has been sent already."""
        return self._windows[stream].ends(_WHOLE_IN_RESULT, _PART_IN_RESULT)

    @property
    def is_dear(self) -> bool:
        """Whether another event would repeat more than is in proportion."""
        return self._credit < max(map(len, self._windows.values()))

    def repeat(self, stream: str, text: str, *, is_last: bool) -> str:
        """Return the stream so far, of which `text` is the newest part.

        Once that is dear, it is the newest part alone where a later event, which is there already, brings the whole.
        """
        window = self._windows[stream]
        repeated = str(window) if is_last or self._credit >= len(window) else window.end(len(text))
        self._credit = min(_FREE_CHARACTERS, self._credit + len(text) - len(repeated))
        return repeated
