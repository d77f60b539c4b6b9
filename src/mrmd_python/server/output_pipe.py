"""Reading what a session writes to one of its descriptors, up to the worker's marks and on."""

import asyncio
import codecs
import os
from collections.abc import Callable

# The most that a pipe holds (pipe(7), pipe-max-size). So one read takes all that it holds, and no read ends inside a
# mark, which the worker writes as a whole.
_CHUNK = 1 << 20
# Seconds between two reads. A program that prints line by line then costs one event each time, not one each line, and
# no text waits longer than MRP's 50 ms.
_SHORTEST_REST, _LONGEST_REST = 0.001, 0.04
# How many bytes a rest aims to gather: enough to make few events, too few to fill the pipe and block the program.
_GOOD_READ = _CHUNK // 2
_MARK_DIGITS = 10

# Shared by all pipes: os.read() would allocate a whole chunk each time.
_buffer = bytearray(_CHUNK)


class OutputPipe:
    """The read end of a pipe: hands decoded text to `on_text`, and stops at each mark until `go_on`."""

    def __init__(self, descriptor: int, secret: bytes, on_text: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._secret = secret
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._rest_seconds = _SHORTEST_REST
        self._listening_since = 0.0
        # The last mark, and what was read behind it if this has stopped there.
        self._mark = 0
        self._held: bytes | None = None
        self._is_open = True
        self._listen()

    def read_to(self, mark: int) -> None:
        """Hand out all that comes before a mark, which the worker has written already, and stop there."""
        while (self._held is None or self._mark != mark) and self._advance():
            pass

    def go_on(self) -> None:
        """Go on behind the mark."""
        if self._held is not None:
            self._advance()
        if self._held is None and self._is_open:
            self._listen()

    def end_text(self) -> None:
        """Hand out a character that was begun and never finished, as U+FFFD."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        if rest:
            self._on_text(rest)

    def close(self) -> None:
        """Hand out all that is left, and stop reading: nothing writes to the pipe any more."""
        while self._advance():
            pass
        self._stop_for_good()
        self.end_text()

    def _readable(self) -> None:
        if self._loop.time() - self._listening_since > _LONGEST_REST:
            self._rest_seconds = _SHORTEST_REST  # it had been silent
        data = self._read()
        self._cut(data)
        if self._is_open and self._held is None:
            self._pause()
            self._rest = self._loop.call_later(self._rest_seconds, self._listen)
            factor = 2 if len(data) < _GOOD_READ else 0.5
            self._rest_seconds = min(max(self._rest_seconds * factor, _SHORTEST_REST), _LONGEST_REST)

    def _listen(self) -> None:
        self._pause()
        self._listening_since = self._loop.time()
        self._loop.add_reader(self._descriptor, self._readable)

    def _pause(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._loop.remove_reader(self._descriptor)

    def _stop_for_good(self) -> None:
        if self._is_open:
            self._is_open = False
            self._pause()
            os.close(self._descriptor)

    def _advance(self) -> bool:
        """Hand out what is held or comes next, up to a mark; return whether there was anything."""
        data, self._held = self._held, None
        if data is None:
            data = self._read()
            if not data:
                return False
        self._cut(data)
        return True

    def _read(self) -> bytes:
        if not self._is_open:
            return b""
        try:
            count = os.readv(self._descriptor, [_buffer])
        except BlockingIOError:
            return b""
        if count == 0:
            self._stop_for_good()
        return bytes(memoryview(_buffer)[:count])

    def _cut(self, data: bytes) -> None:
        """Hand out some data up to a mark, and hold what comes behind that."""
        before, secret, behind = data.partition(self._secret)
        text = self._decoder.decode(before)
        if text:
            self._on_text(text)
        if secret:
            self._mark, self._held = int(behind[:_MARK_DIGITS]), behind[_MARK_DIGITS:]
            if self._is_open:
                self._pause()
