"""Text that is safe to show in a terminal or a log: names of directories can have any character but `/` and NUL."""

import re

# Control characters, line separators, surrogates, and those that change the direction of text. A tab does no harm.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text in one line, with escapes such as ``\\x1b`` for its control characters."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_lines(text: str) -> str:
    """Return text with such escapes in each line; lines after the first are indented: none can be forged."""
    return "\n  ".join(map(printable, text.split("\n")))
