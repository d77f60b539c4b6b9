"""Completes code with jedi, for a session that is blocked or does not know the names yet."""

import builtins
import sys
import time
from functools import lru_cache
from typing import Any, NamedTuple

import jedi

from mrmd_python.worker.introspect.cell_text import (
    Scan,
    bound_names,
    imported_from,
    imported_package,
    is_foreign,
    scan,
    without_magics,
    word_before,
)
from mrmd_python.worker.introspect.matches import Match, best, match, of_keywords, of_names

_MAX_MATCHES = 1000
# How long kinds and descriptions may take: each one needs an inference.
_DETAIL_SECONDS = 0.5
_MAX_DOCUMENTED = 20
_MAX_DOCUMENTATION_LENGTH = 2000
_KINDS = {
    "module": "module",
    "namespace": "module",
    "class": "class",
    "function": "function",
    "path": "value",
    "keyword": "keyword",
    "property": "property",
}
_MEMBER_KINDS = {"function": "method", "variable": "field"}


class CursorPosition(NamedTuple):
    """A position in a cell, and the code that ran before the cell."""

    code: str
    cursor: int  # in code points
    context: tuple[str, ...]


def warm_up() -> None:
    """Load what jedi always needs, which is slow if its cache on disk is empty."""
    jedi.Script("''.").complete()


def complete(position: CursorPosition, executable: str, cwd: str) -> dict[str, Any]:
    """Complete the code at a position: return MRP's matches and the range they replace.

    Args:
        position: the position.
        executable: the interpreter whose packages are used.
        cwd: the directory whose modules are used.
    """
    text = position.code[: position.cursor]
    scanned = scan(text)
    word = word_before(text)
    matches: list[Match] = []
    length = len(word)
    if scanned.in_comment or is_foreign(text):
        length = 0
    elif scanned.string is None and _is_plain_name(text, scanned):
        matches = _names(position, word)
    else:
        matches, length = _inferred(position, executable, cwd)
    return {"matches": best(matches), "cursorStart": len(text) - length, "cursorEnd": len(text)}


def _is_plain_name(text: str, scanned: Scan) -> bool:
    """Return whether the text ends with a plain name, which can be completed without inference."""
    is_argument = scanned.brackets and text[scanned.brackets[-1]] == "("
    is_import = imported_from(text) is not None or imported_package(text) is not None
    return not (_is_member(text) or is_argument or is_import)


def _is_member(text: str) -> bool:
    return text[: len(text) - len(word_before(text))].rstrip().endswith(".")


def _names(position: CursorPosition, word: str) -> list[Match]:
    before = position.code[: position.cursor - len(word)]
    bound = bound_names("\n".join([*position.context, before, position.code[position.cursor :]]))
    built_in = {name: "class" if isinstance(value, type) else "function" for name, value in vars(builtins).items()}
    return [*of_names(bound, word), *of_keywords(word), *of_names(built_in, word, 3)]


def _inferred(position: CursorPosition, executable: str, cwd: str) -> tuple[list[Match], int]:
    """Return jedi's matches, and the length of the text they replace."""
    before = "".join(f"{without_magics(cell)}\n" for cell in position.context)
    text = position.code[: position.cursor]
    line = before.count("\n") + text.count("\n") + 1
    column = len(text) - (text.rfind("\n") + 1)
    project = jedi.Project(cwd, load_unsafe_extensions=False)
    script = jedi.Script(before + without_magics(position.code), environment=_environment(executable), project=project)
    found = script.complete(line, column)[:_MAX_MATCHES]
    is_member = _is_member(text)
    deadline = time.monotonic() + _DETAIL_SECONDS
    matches = [_as_match(one, deadline, len(found) <= _MAX_DOCUMENTED, is_member=is_member) for one in found]
    if scan(text).string is not None:
        for one in matches:
            one["insertText"] = one["label"] = one["label"].rstrip("'\"")  # jedi adds the closing quote
    length = found[0].get_completion_prefix_length() if found else 0
    return [one for one in matches if not (is_member and one["kind"] == "keyword")], length


def _as_match(completion: Any, deadline: float, documented: bool, *, is_member: bool) -> Match:
    name: str = completion.name_with_symbols
    fields = {}
    kind = "variable"
    if time.monotonic() < deadline:
        kind = _KINDS.get(completion.type, "variable")
        if documented:
            fields["detail"] = completion.description
            fields["documentation"] = completion.docstring()[:_MAX_DOCUMENTATION_LENGTH] or None
    return match(name, _MEMBER_KINDS.get(kind, kind) if is_member else kind, 0 if name.endswith("=") else 1, **fields)


@lru_cache(maxsize=8)
def _environment(executable: str) -> Any:
    """Return jedi's environment of an interpreter, or the server's if that one is broken or too old for jedi."""
    try:
        return jedi.create_environment(executable, safe=False)
    except jedi.InvalidPythonEnvironment:
        return jedi.create_environment(sys.executable, safe=False)
