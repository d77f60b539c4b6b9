"""``sys.stdout`` and ``sys.stderr`` of the worker: text straight through to descriptors 1 and 2."""

import codecs
import io
import os
import sys
from typing import Any, Optional, TextIO, Union

_ESCAPE = "mrmd.escape"
_SHORT = 1024
"""So many characters of UTF-8 are no more than the 4096 bytes that Linux takes as one (pipe(7), PIPE_BUF)."""

# A line end, or what IPython clears a line with.
_LINE_STARTS = ("\n", "\x1b[2K\r")

_write = os.write  # a cell may put another into the module


def _escape(error: UnicodeError) -> "tuple[Union[str, bytes], int]":
    """Encode a surrogate as the byte it stands for, as those of file names do, or by its number; it is no error."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error(_ESCAPE, _escape)


class Stream(io.TextIOWrapper):
    """Writes each piece of text to its descriptor at once, so that it and a child's output keep their order.

    A short piece, as print() makes two of for each line, is one system call, past the layers of `io`: a pipe takes it
    whole or not at all. They are for all else: a long piece, which a signal may cut short and they then complete, and
    what is out of the ordinary.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._indirect = 0
        """How many have a reason to go by the layers: long pieces under way, or left there, and whoever uses them."""
        self._descriptor = descriptor
        # Whether what has been written ends a line, so far as this process knows.
        self.at_line_start = True
        super().__init__(
            io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace" if descriptor == 2 else _ESCAPE,
            newline="\n",
        )
        self._name = name

    @property
    def name(self) -> str:
        """``<stdout>`` or ``<stderr>``, as in any Python."""
        return self._name

    @property
    def buffer(self) -> Any:
        """The layer of bytes; who has it may have left some there."""
        self._indirect += 1
        return super().buffer

    def write(self, text: str) -> int:
        """Write and flush."""
        if text:
            self.at_line_start = text.endswith(_LINE_STARTS)
        if not self._indirect and type(text) is str and len(text) <= _SHORT:
            if not text:  # as IPython writes many
                return 0
            try:
                data = text.encode()
            except UnicodeEncodeError:
                return self._write_by_layers(text)
            written = _write(self._descriptor, data)
            if written < len(data):  # to a file that a cell has put there, on a full disk
                self._indirect += 1
                super().buffer.write(data[written:])
                self.flush()
            return len(text)
        return self._write_by_layers(text)

    def _write_by_layers(self, text: str) -> int:
        self._indirect += 1
        count = super().write(text)
        self.flush()
        self._indirect -= 1  # unless that was interrupted
        return count

    def reconfigure(self, **options: Any) -> None:
        """Do as TextIOWrapper does."""
        self._indirect += 1
        super().reconfigure(**options)

    def detach(self) -> Any:
        """Do as TextIOWrapper does."""
        self._indirect += 1
        return super().detach()

    def close(self) -> None:
        """Do as TextIOWrapper does."""
        self._indirect += 1
        super().close()


def install() -> None:
    """Replace the streams that the interpreter set up, which buffer because 1 and 2 are pipes."""
    sys.stdout = sys.__stdout__ = Stream(1, "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = Stream(2, "<stderr>")  # type: ignore[misc]


def session_stream(name: str) -> Stream:
    """Return the session's own stdout or stderr, whatever a cell has put in its place, and flush what is there."""
    current, original = getattr(sys, name, None), getattr(sys, f"__{name}__", None)
    if current is not original:
        _is_open(current)  # and so flushed
    if isinstance(original, Stream) and _is_open(original):
        return original
    return Stream(1 if name == "stdout" else 2, f"<{name}>")


def recover() -> None:
    """Give the next cell working streams, whatever the last one put in their place, and hold back nothing of that."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        current: Any = getattr(sys, name, None)
        original: Any = getattr(sys, f"__{name}__", None)
        if isinstance(current, Stream) and current is original and _is_open(current):
            current.at_line_start = True
            continue
        _is_open(current)  # and so flushed, whatever it is
        if not (isinstance(original, Stream) and _is_open(original)):
            original = Stream(descriptor, f"<{name}>")
            setattr(sys, f"__{name}__", original)
        original.at_line_start = True
        setattr(sys, name, original)


def _is_open(stream: "Optional[TextIO]") -> bool:
    """Flush a stream, which may be anything that a cell has put there; return whether that went well."""
    try:
        stream.flush()  # type: ignore[union-attr]
    except Exception:  # closed or detached, or its last write failed
        return False
    return True
