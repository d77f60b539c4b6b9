"""``sys.stdout`` and ``sys.stderr`` of the worker: text that goes to descriptors 1 and 2 at once."""

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
# A line end, or what IPython clears a line with.
_LINE_STARTS = (b"\n", b"\x1b[2K\r")

_write = os.write  # a cell may replace it in the module


def _escape(error: UnicodeError) -> "tuple[Union[str, bytes], int]":
    """Encode a surrogate as the byte it stands for, as those of file names do, or by its number."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error(_ESCAPE, _escape)

# Keeps the long writes of threads apart. Reentrant, because a signal handler may print in the middle of one.
_long_write = threading.RLock()


def _renew_lock() -> None:
    global _long_write
    _long_write = threading.RLock()  # the thread that held the old one does not exist in a forked child


os.register_at_fork(after_in_child=_renew_lock)


class _Descriptor(io.FileIO):
    """What a stream writes to, in place of the usual buffer.

    It buffers nothing, so that print(), C code and children keep their order, and so that neither a fork nor a signal
    handler finds a write half done.
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
        if size <= PIPE_BUF:  # a pipe takes it as one piece (pipe(7)), so that it needs no lock
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
                except BlockingIOError:  # a child, as node does, or a cell has made the pipe non-blocking
                    os.set_blocking(self._descriptor, True)
        return len(view)

    @property
    def at_line_start(self) -> bool:
        """Whether what this process has written ends a line."""
        return bytes(self._last[-8:]).endswith(_LINE_STARTS)

    @at_line_start.setter
    def at_line_start(self, value: bool) -> None:
        self._last = b"\n" if value else b"-"

    def isatty(self) -> bool:
        """Return whether to show what a terminal can: clients show colors and moving progress bars as well."""
        return not os.environ.get("NO_COLOR")

    def close(self) -> None:
        """Do nothing: a TextIOWrapper that a cell puts around this closes it when it is collected."""


class Stream(io.TextIOWrapper):
    """A standard stream of the session."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._below = _Descriptor(descriptor, f"<{name}>")
        errors = "backslashreplace" if name == "stderr" else _ESCAPE
        buffer: Any = self._below
        super().__init__(buffer, encoding="utf-8", errors=errors, newline="\n", write_through=True)

    @property
    def at_line_start(self) -> bool:
        """Whether what this process has written ends a line."""
        return self._below.at_line_start

    @at_line_start.setter
    def at_line_start(self, value: bool) -> None:
        self._below.at_line_start = value


_DESCRIPTORS = {"stdout": 1, "stderr": 2}
_session_streams: "dict[str, Stream]" = {}


def session_stream(name: str) -> Stream:
    """Return the session's own stdout or stderr, whatever a cell has put in its place, and flush what is there."""
    if not _works(_session_streams.get(name)):  # a cell has detached its buffer
        _session_streams[name] = Stream(_DESCRIPTORS[name], name)
    stream = _session_streams[name]
    current: Any = getattr(sys, name, None)
    if current is not stream:
        with suppress(Exception):
            current.flush()
    return stream


def install() -> None:
    """Have Python write to the session's streams."""
    for name in _DESCRIPTORS:
        setattr(sys, name, session_stream(name))
        setattr(sys, f"__{name}__", session_stream(name))


def repair() -> None:
    """Release a lock that the last cell has left held, and replace streams that it has left unusable.

    Other replacements of streams are the user's own, and stay.
    """
    release_leaked(_long_write)
    for name in (*_DESCRIPTORS, *(f"__{name}__" for name in _DESCRIPTORS)):
        if not _works(getattr(sys, name, None)):
            setattr(sys, name, session_stream(name.strip("_")))
    for name in _DESCRIPTORS:
        session_stream(name).at_line_start = True


def _works(stream: Any) -> bool:
    """Return whether text can be written to what may be any object."""
    try:
        stream.write("")
        stream.flush()
    except Exception:  # None, closed, detached, no stream at all, or its file is gone
        return False
    return True
