"""Which name stands in code at a cursor, and what it means in a session, found without running any code."""

import builtins
import io
import keyword
import re
import tokenize
from dataclasses import dataclass
from typing import Optional

from . import static
from .parts import NoSuchPartError, parts_of
from .shell import Shell

_NAME = r"[^\W\d]\w*"
_SUBSCRIPT = r"""\[\s*(?:'[^'\\\n]*'|"[^"\\\n]*"|-?\d{1,18})\s*\]"""
_PATH = re.compile(rf"(?<![\w.]){_NAME}(?:[ \t]*\.[ \t]*{_NAME}|{_SUBSCRIPT})*")
_STEP = re.compile(rf"{_NAME}|{_SUBSCRIPT}")
_MAGIC = re.compile(rf"(?<!\w)%%?({_NAME})")
_LONGEST_TOKENIZED = 500_000
_SHELL_LINE = re.compile(r"^[ \t]*!.*$", re.MULTILINE)
_BUILTINS = builtins.__dict__


@dataclass(frozen=True)
class Found:
    """What a name means."""

    name: str
    """As it stands in the code."""
    value: object
    owner: object = None
    """The object whose attribute it is."""


def at_cursor(shell: Shell, code: str, cursor: int) -> Optional[Found]:
    """Return what the name that `cursor`, in code points, is at means; None if there is none or it is unknown."""
    if _is_in_text(code, cursor):
        return None
    start = code.rfind("\n", 0, cursor) + 1
    line = code[start:].partition("\n")[0]
    column = cursor - start
    for match in _MAGIC.finditer(line):
        if match.start() <= column <= match.end():
            magic = shell.find_magic(match[1], "cell" if match[0].startswith("%%") else "line")
            if magic is not None:
                return Found(match[0], magic)
    for match in _PATH.finditer(line):
        if match.start() <= column <= match.end():
            steps = [step for step in _STEP.finditer(line, match.start(), match.end()) if step.start() <= column]
            return _resolve(shell, line[match.start() : steps[-1].end()], [step[0] for step in steps])
    return None


def called_at_cursor(shell: Shell, code: str, cursor: int) -> Optional[Found]:
    """Return what is being called where `cursor` stands among the arguments."""
    opened: "list[int]" = []
    for position, text in _tokens(code):
        if position >= cursor:
            break
        if text in ("(", "[", "{"):
            opened.append(position)
        elif text in (")", "]", "}") and opened:
            opened.pop()
    for bracket in reversed(opened):
        before = code[:bracket].rstrip(" \t")
        if code[bracket] == "(" and before and (before[-1].isidentifier() or before[-1].isdigit()):
            found = at_cursor(shell, code, len(before))
            if found is not None and not keyword.iskeyword(found.name):
                return found
    return None


def is_argument_name(code: str, cursor: int) -> bool:
    """Return whether `cursor` is at a name that ``=`` follows, which among arguments names a parameter."""
    return re.match(r"\w*\s*=(?!=)", code[cursor:]) is not None


def _resolve(shell: Shell, name: str, steps: "list[str]") -> Optional[Found]:
    first, *rest = steps
    if first in shell.user_ns:
        value = shell.user_ns[first]
    elif first in _BUILTINS:
        value = _BUILTINS[first]
    else:
        return None
    owner: object = None
    try:
        for step in rest:
            owner, value = value, _item(value, step) if step.startswith("[") else _attribute(value, step)
    except (NoSuchPartError, static.NotStoredError):
        return None
    return Found(name, value, owner)


def _item(value: object, subscript: str) -> object:
    text = subscript.strip("[] \t")
    parts = parts_of(value)
    if parts is None:
        raise NoSuchPartError(text)
    return parts.find(text[1:-1] if text[0] in "'\"" else int(text))


def _attribute(value: object, name: str) -> object:
    try:
        return static.fetch(value, name)
    except static.NotStoredError:
        parts = parts_of(value)  # a column of a table
        if parts is None:
            raise
        return parts.find(name)


def _is_in_text(code: str, cursor: int) -> bool:
    """Return whether a place is inside a comment or a string without expressions in it."""
    for position, text in _tokens(code):
        if position < cursor <= position + len(text):
            quoted = re.match(r"([a-zA-Z]*)['\"]", text)
            in_string = quoted is not None and "f" not in quoted[1].lower() and cursor < position + len(text)
            return in_string or text.startswith("#")
    return False


def _tokens(code: str) -> "list[tuple[int, str]]":
    """Return the place and the text of each token, as far as the code can be read; none if it is very long."""
    if len(code) > _LONGEST_TOKENIZED:
        return []
    code = _SHELL_LINE.sub(lambda match: " " * len(match[0]), code)
    lines = [0]
    for line in code.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    found: "list[tuple[int, str]]" = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            found.append((lines[token.start[0] - 1] + token.start[1], token.string))
    except (tokenize.TokenError, SyntaxError, IndexError, ValueError):
        pass  # it is being written, or there is half a character or a NUL in it
    return found
