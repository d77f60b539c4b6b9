"""Text for a model to read: without what only a terminal shows, and with its middle cut out if it is long."""

import re

# Control sequences and operating system commands (ECMA-48; https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
# What a progress bar overwrites.
_OVERWRITTEN = re.compile(r"[^\r\n]*\r(?=[^\r\n])")


def readable(text: str) -> str:
    """Return text as a terminal would leave it, without colors."""
    return _OVERWRITTEN.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def shortened(text: str, limit: int) -> str:
    """Return text, or its two ends if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


class LongText:
    """Text that comes in pieces, of which only the two ends are kept.

    Attributes:
        cut_at: the position of the first piece, or part of a piece, that is not in the beginning; None if all is.
    """

    _HEAD, _TAIL = 15_000, 5_000

    def __init__(self) -> None:
        self._head = self._tail = ""
        # How many characters the end once had.
        self._after_head = 0
        self.cut_at: int | None = None

    def append(self, text: str, end: int) -> None:
        """Add text of a log, in which it ends at a position: a number of bytes."""
        room = self._HEAD - len(self._head) if self.cut_at is None else 0
        self._head += text[:room]
        rest = text[room:]
        if rest and self.cut_at is None:
            self.cut_at = end - len(rest.encode())
        self._append_to_tail(rest)

    def append_whole(self, text: str, start: int) -> None:
        """Add text that stands for what is at a position of a log: not cut, so that it can be read again from there."""
        if self.cut_at is None and len(self._head) + len(text) <= self._HEAD:
            self._head += text
            return
        if self.cut_at is None:
            self.cut_at = start
        self._append_to_tail(text)

    @property
    def left_out(self) -> int:
        """How many characters are missing between the two ends."""
        return max(0, self._after_head - self._TAIL)

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = readable((self._head[-200:] + self._tail[-200:]).rstrip()).splitlines()
        return lines[-1].strip() if lines else ""

    @property
    def ends_line(self) -> bool:
        """Whether more text begins a line."""
        return (self._tail or self._head or "\n").endswith("\n")

    def ends(self) -> tuple[str, str]:
        """Return the beginning and the end."""
        return self._head, self._tail[-self._TAIL :]

    def _append_to_tail(self, text: str) -> None:
        self._after_head += len(text)
        self._tail += text
        if len(self._tail) > 2 * self._TAIL:
            self._tail = self._tail[-self._TAIL :]
