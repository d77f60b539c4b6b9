"""The text of a stream so far, within a bound: its first and last parts around a line that says what is left out."""

LIMIT = 256 * 1024
"""Up to so many characters the text is whole."""
PART = 32 * 1024
"""Beyond that, how many characters the first and the last part have each: it is sent again and again."""


class TextWindow:
    """Text that is appended to, and whose middle is left out once it is long."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._kept = 0
        self._head: str | None = None
        self._tail = ""
        self._left_out = 0
        self._bytes = 0

    def append(self, text: str) -> None:
        """Add text at the end."""
        self._bytes += len(text.encode())
        if self._head is None:
            self._pieces.append(text)
            self._kept += len(text)
            if self._kept <= LIMIT:
                return
            whole = "".join(self._pieces)
            self._head, text = whole[:PART], whole[PART:]
            self._pieces = []
        tail = self._tail + text
        cut = max(0, len(tail) - PART)
        self._left_out += len(tail[:cut].encode())
        self._tail = tail[cut:]

    def leave_out(self, count: int) -> None:
        """Note that `count` bytes at this place were not to be had."""
        if self._head is None:
            self._head = "".join(self._pieces)
        self._left_out += len(self._tail.encode()) + count
        self._tail = ""
        self._bytes += count

    def end(self, length: int) -> str:
        """Return about the last `length` characters, `PART` at most, after a line that says how much stands before."""
        text = str(self) if self._head is None else self._tail
        if len(self) <= length:
            return str(self)
        end = text[max(0, len(text) - length) :]
        return left_out_line(self._bytes - len(end.encode())) + end

    def ends(self, limit: int, part: int) -> str:
        """Return the text if it has up to `limit` characters, or else its first and last `part` of them."""
        if len(self) <= limit:
            return str(self)
        whole = str(self) if self._head is None else ""
        head, tail = (whole or self._head or "")[:part], (whole or self._tail)[-part:]
        return head + left_out_line(self._bytes - len(head.encode()) - len(tail.encode())) + tail

    def __len__(self) -> int:
        return self._kept if self._head is None else len(self._head) + len(self._tail)

    def __str__(self) -> str:
        if self._head is None:
            self._pieces = ["".join(self._pieces)]
            return self._pieces[0]
        return f"{self._head}{left_out_line(self._left_out)}{self._tail}" if self._left_out else self._head + self._tail


def left_out_line(count: int) -> str:
    """Return the line that stands for `count` bytes of output that are not shown."""
    return f"\n[mrmd-python: {count} bytes of output are left out here]\n"
