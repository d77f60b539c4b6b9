"""Reads what a session writes to stdout or stderr, and stops at the worker's marks."""

import asyncio
import codecs
import mmap
import os
from collections.abc import Callable

from mrmd_python.server.pace import LONGEST_WAIT_SECONDS

# The most that a pipe holds (pipe(7), pipe-max-size). So one read empties the pipe, and never ends inside a mark, which
# the worker writes atomically.
_CHUNK = 1 << 20
# The pause between two reads, in seconds, so that a program that prints line by line makes one event for many lines. It
# stays within the 50 ms that MRP allows between text and its event.
_MIN_PAUSE, _MAX_PAUSE = 0.001, 0.04
# The number of bytes to collect in a pause: enough for few events, too few to fill the pipe and block the program.
_GOOD_READ = _CHUNK // 2
_MARK_DIGITS = 10

# Shared by all pipes: os.read() would allocate a whole chunk each time. It takes memory only once it is written to.
_buffer = mmap.mmap(-1, _CHUNK)


class OutputPipe:
    """The read end of a pipe: passes decoded text to `on_text`, and stops at each mark until `resume`.

    It reads more slowly while `is_too_fast` says so: the pipe fills, and the program waits.
    """

    def __init__(
        self, descriptor: int, secret: bytes, on_text: Callable[[str], None], is_too_fast: Callable[[], bool]
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._secret = secret
        self._on_text = on_text
        self._is_too_fast = is_too_fast
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pause_seconds = _MIN_PAUSE
        self._listening_since = 0.0
        self._is_listening = False
        # The last mark and, while stopped there, the data after it.
        self._mark = 0
        self._held: bytes | None = None
        self._is_open = True
        self._listen()

    def read_to(self, mark: int) -> None:
        """Pass on all text before a mark, which the worker has already written, and stop there."""
        while (self._held is None or self._mark != mark) and self._advance():
            pass

    def resume(self) -> None:
        """Continue after the mark."""
        if self._held is not None:
            self._advance()
        if self._held is None and self._is_open:
            self._listening_since = self._loop.time()
            if not self._is_listening:
                self._listen()

    def end_text(self) -> None:
        """Pass on an incomplete character at the end, as U+FFFD."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        if rest:
            self._on_text(rest)

    def close(self) -> None:
        """Pass on what is left, and close the pipe, to which nothing writes any more."""
        while self._advance():
            pass
        self._close()
        self.end_text()

    def _readable(self) -> None:
        if self._held is not None:
            self._stop_listening()
            return
        if self._loop.time() - self._listening_since > _MAX_PAUSE:
            self._pause_seconds = _MIN_PAUSE  # nothing was written for a while
        data = self._read()
        self._pass_on(data)
        if self._is_open and self._held is None:
            self._stop_listening()
            self._timer = self._loop.call_later(self._pause_seconds, self._listen_in_time, self._loop.time())
            factor = 2 if len(data) < _GOOD_READ else 0.5
            self._pause_seconds = min(max(self._pause_seconds * factor, _MIN_PAUSE), _MAX_PAUSE)

    def _listen_in_time(self, since: float) -> None:
        if self._is_too_fast() and self._loop.time() - since < LONGEST_WAIT_SECONDS:
            self._timer = self._loop.call_later(_MAX_PAUSE, self._listen_in_time, since)
        else:
            self._listen()

    def _listen(self) -> None:
        self._stop_listening()
        self._listening_since = self._loop.time()
        self._is_listening = True
        self._loop.add_reader(self._descriptor, self._readable)

    def _stop_listening(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_listening = False
        self._loop.remove_reader(self._descriptor)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._stop_listening()
            os.close(self._descriptor)

    def _advance(self) -> bool:
        """Pass on held data or the next read, up to a mark; return whether there was any."""
        data, self._held = self._held, None
        if data is None:
            data = self._read()
            if not data:
                return False
        self._pass_on(data)
        return True

    def _read(self) -> bytes:
        if not self._is_open:
            return b""
        try:
            count = os.readv(self._descriptor, [_buffer])
        except BlockingIOError:
            return b""
        if count == 0:
            self._close()
        return bytes(memoryview(_buffer)[:count])

    def _pass_on(self, data: bytes) -> None:
        """Pass on data up to a mark, and hold what comes after the mark."""
        before, secret, after = data.partition(self._secret)
        text = self._decoder.decode(before)
        if text:
            self._on_text(text)
        if secret:
            # It goes on listening: mostly nothing follows before the message that the mark is for.
            self._mark, self._held = int(after[:_MARK_DIGITS]), after[_MARK_DIGITS:]
