"""Reading what a session writes to one of its descriptors, and cutting it where the worker's marks say."""

import asyncio
import codecs
import os
from collections.abc import Callable

_CHUNK = 1 << 20  # the most a pipe holds (pipe(7), pipe-max-size)
_SHORTEST_REST, _LONGEST_REST = 0.001, 0.04
"""Seconds between two reads. A program that prints line by line then costs one event each time, not one each line, and
no text waits for longer than MRP's 50 ms."""
_GOOD_READ = _CHUNK // 2
"""How much a rest aims to gather: enough to make few events, too little to fill the pipe and block the program."""
_MARK_DIGITS = 10


class OutputPipe:
    """The read end of a pipe: hands decoded text to `on_text`, and stops at each mark until `resume`."""

    def __init__(
        self, descriptor: int, secret: bytes, on_text: Callable[[str], None], on_mark: Callable[[], None]
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._secret = secret
        self._on_text = on_text
        self._on_mark = on_mark
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = b""
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._rest_seconds = _SHORTEST_REST
        self._listening_since = 0.0
        self.at_mark: int | None = None
        """The mark that the output has reached, which `resume` leaves behind."""
        self._closed = False
        self._listen()

    def _readable(self) -> None:
        if self._loop.time() - self._listening_since > _LONGEST_REST:
            self._rest_seconds = _SHORTEST_REST  # it had been silent
        read = self._read_once()
        if not self._closed and self.at_mark is None:
            self._loop.remove_reader(self._descriptor)
            self._rest = self._loop.call_later(self._rest_seconds, self._listen)
            factor = 2 if read < _GOOD_READ else 0.5
            self._rest_seconds = min(max(self._rest_seconds * factor, _SHORTEST_REST), _LONGEST_REST)

    def _listen(self) -> None:
        self._rest = None
        self._listening_since = self._loop.time()
        self._loop.add_reader(self._descriptor, self._readable)

    def _read_once(self) -> int:
        """Read what is there, a chunk at most; return how many bytes it was."""
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self.close()
            return 0
        self._pending += data
        self._cut()
        return len(data)

    def read_to_mark(self) -> None:
        """Read on until the next mark, which the worker has written already."""
        while self.at_mark is None and not self._closed and self._read_once():
            pass

    def resume(self) -> None:
        """Go on behind the mark."""
        self.at_mark = None
        if not self._closed:
            self._cut()
        if not self._closed and self.at_mark is None and self._rest is None:
            self._listen()

    def end_text(self) -> None:
        """Give out a character that was begun and never finished, as U+FFFD."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        if rest:
            self._on_text(rest)

    def _cut(self) -> None:
        """Emit the pending bytes up to a mark, or all but what may be the beginning of one."""
        length = len(self._secret) + _MARK_DIGITS
        start = self._find_mark()
        if start < 0:
            keep = _overlap(self._pending, self._secret)
            self._emit(self._pending[: len(self._pending) - keep])
            self._pending = self._pending[len(self._pending) - keep :]
        elif len(self._pending) - start >= length:
            self._emit(self._pending[:start])
            self.at_mark = int(self._pending[start + len(self._secret) : start + length])
            self._pending = self._pending[start + length :]
            self._stop_reading()
            self._on_mark()

    def _find_mark(self) -> int:
        """Return where a mark is, or the beginning of one that is not whole yet, or -1."""
        start = self._pending.find(self._secret)
        while start >= 0:
            number = self._pending[start + len(self._secret) :][:_MARK_DIGITS]
            if not number.strip(b"0123456789"):
                break
            start = self._pending.find(self._secret, start + 1)  # a cell has found out the secret
        return start

    def _emit(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._on_text(text)

    def _stop_reading(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """Give out what is held back as the possible beginning of a mark, and stop reading for good."""
        if not self._closed:
            self._closed = True
            self._stop_reading()
            os.close(self._descriptor)
            self._emit(self._pending)
            self._pending = b""


def _overlap(data: bytes, secret: bytes) -> int:
    """Return how many bytes at the end of `data` are the beginning of `secret`."""
    start = data.rfind(secret[:1], max(0, len(data) - len(secret) + 1))
    while start >= 0:
        if secret.startswith(data[start:]):
            return len(data) - start
        start = data.rfind(secret[:1], max(0, len(data) - len(secret) + 1), start)
    return 0
