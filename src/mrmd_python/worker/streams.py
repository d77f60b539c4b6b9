"""``sys.stdout`` and ``sys.stderr`` of the worker: text straight through to descriptors 1 and 2."""

import codecs
import io
import sys
from typing import Optional, TextIO, Union

_ESCAPE = "mrmd.escape"


def _escape(error: UnicodeError) -> "tuple[Union[str, bytes], int]":
    """Encode a surrogate as the byte it stands for, as those of file names do, or by its number; it is no error."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


codecs.register_error(_ESCAPE, _escape)


class Stream(io.TextIOWrapper):
    """Writes each piece of text to its descriptor at once, so that it and a child's output keep their order.

    The buffer below stays empty but for a write that a signal cut short, which it then completes.
    """

    def __init__(self, descriptor: int, name: str) -> None:
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

    def write(self, text: str) -> int:
        """Write and flush."""
        written = super().write(text)
        self.flush()
        return written


def install() -> None:
    """Replace the streams that the interpreter set up, which buffer because 1 and 2 are pipes."""
    sys.stdout = sys.__stdout__ = Stream(1, "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = Stream(2, "<stderr>")  # type: ignore[misc]


def recover() -> None:
    """Give the next cell working streams, whatever the last one put in their place, and hold back nothing of that."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        current, original = getattr(sys, name, None), getattr(sys, f"__{name}__", None)
        if isinstance(current, Stream) and current is original and _is_open(current):
            continue
        _is_open(current)  # and so flushed, whatever it is
        if not (isinstance(original, Stream) and _is_open(original)):
            original = Stream(descriptor, f"<{name}>")
            setattr(sys, f"__{name}__", original)
        setattr(sys, name, original)


def _is_open(stream: "Optional[TextIO]") -> bool:
    """Flush a stream, which may be anything that a cell has put there; return whether that went well."""
    try:
        stream.flush()  # type: ignore[union-attr]
    except Exception:  # closed or detached, or its last write failed
        return False
    return True
