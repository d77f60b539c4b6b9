"""MRP's `accumulated`: every text event carries the text of its stream so far.

Sending all of a stream with every event would cost the square of its length. So long text is sent without its middle,
and there is a budget for what is sent again: over budget, only some of the events carry the text so far.
"""

from collections.abc import Iterable

# Up to this length, the text of a stream is kept whole.
_LIMIT = 256 * 1024
# Beyond that, how many characters are kept at its start and at its end.
_PART = 32 * 1024
# How many characters may be sent again beyond those sent for the first time.
_BUDGET = 8 * 1024
# The same two lengths for the `result` event. They are smaller, since the client has received all of the text before.
_RESULT_LIMIT = 64 * 1024
_RESULT_PART = 8 * 1024


class AccumulatedText:
    """The text of each stream that one client has received so far, and the budget for sending it again."""

    def __init__(self, streams: Iterable[str]) -> None:
        self._texts = {stream: _BoundedText() for stream in streams}
        self._budget = _BUDGET

    def append(self, stream: str, text: str) -> None:
        """Add text at the end of a stream."""
        self._texts[stream].append(text)

    def skip(self, stream: str, count: int) -> None:
        """Note that the next `count` bytes of a stream have been dropped from the log."""
        self._texts[stream].skip(count)

    def for_result(self, stream: str) -> str:
        """Return the text of a stream for the `result` event, without its middle if it is long."""
        return self._texts[stream].both_ends(_RESULT_LIMIT, _RESULT_PART)

    @property
    def over_budget(self) -> bool:
        """Whether there is a stream whose text is longer than the rest of the budget."""
        return self._budget < max(map(len, self._texts.values()))

    def so_far(self, stream: str, text: str, *, is_last: bool) -> str:
        """Return the stream so far, of which `text` is the newest part.

        Over budget, return only the newest part if a later event of this batch carries the whole stream.
        """
        accumulated = self._texts[stream]
        sent = str(accumulated) if is_last or self._budget >= len(accumulated) else accumulated.end(len(text))
        self._budget = min(_BUDGET, self._budget + len(text) - len(sent))
        return sent


class _BoundedText:
    """The text of one stream. Once it is long, only its start and its end are kept."""

    def __init__(self) -> None:
        # Text that is kept whole is in pieces, long text in a head and a tail.
        self._pieces: list[str] = []
        self._pieces_length = 0
        self._head: str | None = None
        self._tail = ""
        # Counts of bytes.
        self._omitted = 0
        self._total = 0

    def append(self, text: str) -> None:
        self._total += len(text.encode())
        if self._head is None:
            self._pieces.append(text)
            self._pieces_length += len(text)
            if self._pieces_length <= _LIMIT:
                return
            whole = "".join(self._pieces)
            self._head, text = whole[:_PART], whole[_PART:]
            self._pieces = []
        tail = self._tail + text
        cut = max(0, len(tail) - _PART)
        self._omitted += len(tail[:cut].encode())
        self._tail = tail[cut:]

    def skip(self, count: int) -> None:
        if self._head is None:
            self._head = "".join(self._pieces)
        self._omitted += len(self._tail.encode()) + count
        self._tail = ""
        self._total += count

    def end(self, length: int) -> str:
        """Return the last `length` characters, or as many of them as are kept, after a line with the number omitted."""
        if len(self) <= length:
            return str(self)
        text = str(self) if self._head is None else self._tail
        end = text[max(0, len(text) - length) :]
        return omission_line(self._total - len(end.encode())) + end

    def both_ends(self, limit: int, part: int) -> str:
        """Return the text if it has up to `limit` characters, else its first and last `part` characters."""
        if len(self) <= limit:
            return str(self)
        whole = str(self) if self._head is None else ""
        head, tail = (whole or self._head or "")[:part], (whole or self._tail)[-part:]
        return head + omission_line(self._total - len(head.encode()) - len(tail.encode())) + tail

    def __len__(self) -> int:
        return self._pieces_length if self._head is None else len(self._head) + len(self._tail)

    def __str__(self) -> str:
        if self._head is None:
            self._pieces = ["".join(self._pieces)]
            return self._pieces[0]
        return f"{self._head}{omission_line(self._omitted)}{self._tail}" if self._omitted else self._head + self._tail


def omission_line(count: int) -> str:
    """Return the line that replaces `count` bytes of omitted output."""
    return f"\n[mrmd-python: {count} bytes of output are left out here]\n"
