"""The worker's ``sys.stdout`` and ``sys.stderr``, which write to descriptors 1 and 2 without a buffer."""

import codecs
import io
import os
import sys
import threading
from contextlib import suppress
from select import PIPE_BUF
from typing import Any, Union

from .sigint import release_leaked

_ESCAPE = "mrmd.escape"
# A newline, or the sequence with which IPython clears a line.
_LINE_STARTS = (b"\n", b"\x1b[2K\r")

_write = os.write  # a cell may replace it in the module


def _escape(error: UnicodeError) -> "tuple[Union[str, bytes], int]":
    """Encode a surrogate as the byte it stands for, as in file names, else as an escape sequence."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error(_ESCAPE, _escape)

# Held during a long write, so that threads do not mix their text. Reentrant, because a signal handler may print.
_long_write = threading.RLock()


def _renew_lock() -> None:
    global _long_write
    _long_write = threading.RLock()  # the thread that held the old one does not exist in a forked child


os.register_at_fork(after_in_child=_renew_lock)


class _Descriptor(io.FileIO):
    """The file that a stream writes to, in place of the usual buffer.

    Without a buffer, the output of print(), C code and child processes stays in order, and a fork copies no unwritten
    text.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name = name
        self._descriptor = descriptor
        self._last: Any = b"\n"

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        size = len(data)
        written = 0
        if size <= PIPE_BUF:  # such a write to a pipe is atomic (pipe(7)), and needs no lock
            if size:
                self._last = data
            try:
                written = _write(self._descriptor, data)
            except BlockingIOError:
                pass
            if written == size:
                return size
        view = memoryview(data).cast("B")
        self._last = bytes(view[-8:])
        rest = view[written:]
        with _long_write:
            while rest:
                try:
                    rest = rest[_write(self._descriptor, rest) :]
                except BlockingIOError:  # the cell or a child process such as node has made the pipe non-blocking
                    os.set_blocking(self._descriptor, True)
        return len(view)

    @property
    def at_line_start(self) -> bool:
        """Whether the last text that this process wrote ended a line."""
        return bytes(self._last[-8:]).endswith(_LINE_STARTS)

    @at_line_start.setter
    def at_line_start(self, value: bool) -> None:
        self._last = b"\n" if value else b"-"

    def isatty(self) -> bool:
        """Return True unless NO_COLOR is set: clients show colors and progress bars, like a terminal."""
        return not os.environ.get("NO_COLOR")

    def close(self) -> None:
        """Do nothing: a TextIOWrapper that a cell makes of this would close it when it is garbage-collected."""


class Stream(io.TextIOWrapper):
    """A standard stream of the session."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._file = _Descriptor(descriptor, f"<{name}>")
        errors = "backslashreplace" if name == "stderr" else _ESCAPE
        buffer: Any = self._file
        super().__init__(buffer, encoding="utf-8", errors=errors, newline="\n", write_through=True)

    @property
    def at_line_start(self) -> bool:
        """Whether the last text that this process wrote ended a line."""
        return self._file.at_line_start

    @at_line_start.setter
    def at_line_start(self, value: bool) -> None:
        self._file.at_line_start = value


_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_session_streams: "dict[str, Stream]" = {}


def session_stream(name: str) -> Stream:
    """Return the session's stdout or stderr. If a cell has replaced it in `sys`, flush the replacement first."""
    if not _works(_session_streams.get(name)):  # a cell has detached its buffer
        _session_streams[name] = Stream(_DESCRIPTORS[name], name)
    stream = _session_streams[name]
    current: Any = getattr(sys, name, None)
    if current is not stream:
        with suppress(Exception):
            current.flush()
    return stream


def install() -> None:
    """Make Python write to the session's streams."""
    for name in _DESCRIPTORS:
        setattr(sys, name, session_stream(name))
        setattr(sys, f"__{name}__", session_stream(name))


def repair() -> None:
    """After a cell, release the lock if it is still held, and replace streams that do not work.

    A stream that a cell has put into `sys` stays, if it works.
    """
    release_leaked(_long_write)
    for name in (*_DESCRIPTORS, *(f"__{name}__" for name in _DESCRIPTORS)):
        if not _works(getattr(sys, name, None)):
            setattr(sys, name, session_stream(name.strip("_")))
    for name in _DESCRIPTORS:
        session_stream(name).at_line_start = True


def _works(stream: Any) -> bool:
    """Return whether text can be written to an object."""
    try:
        stream.write("")
        stream.flush()
    except Exception:  # None, closed, detached or not a stream
        return False
    return True
