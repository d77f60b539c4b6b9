"""Completion from the code alone, by jedi: of a session that is blocked, or that does not know."""

import builtins
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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

_MOST = 1000
_DETAIL_SECONDS = 0.5
"""How long kinds and descriptions may take: each is an inference of its own."""
_MOST_DOCUMENTED = 20
_LONGEST_DOCUMENTATION = 2000
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


@dataclass(frozen=True)
class Place:
    """A place in a cell, and the code that has run before the cell."""

    code: str
    cursor: int
    """In code points."""
    context: tuple[str, ...]


def warm_up() -> None:
    """Have jedi read what it always needs, which takes long where its cache on disk is empty."""
    jedi.Script("''.").complete()


def complete(place: Place, executable: str, cwd: str) -> dict[str, Any]:
    """Return what could stand at a place: MRP's matches, and what they replace.

    Args:
        place: where.
        executable: the interpreter whose packages the code means.
        cwd: the directory whose modules it means.
    """
    text = place.code[: place.cursor]
    around = scan(text)
    word = word_before(text)
    matches: list[Match] = []
    length = len(word)
    if around.in_comment or is_foreign(text):
        length = 0
    elif around.string is None and _is_plain_name(text, around):
        matches = _names(place, word)
    else:
        matches, length = _inferred(place, executable, cwd)
    return {"matches": best(matches), "cursorStart": len(text) - length, "cursorEnd": len(text)}


def _is_plain_name(text: str, around: Scan) -> bool:
    """Return whether the end of a text is a name of which the code tells as much as inference would."""
    is_argument = around.brackets and text[around.brackets[-1]] == "("
    is_import = imported_from(text) is not None or imported_package(text) is not None
    return not (_is_member(text) or is_argument or is_import)


def _is_member(text: str) -> bool:
    return text[: len(text) - len(word_before(text))].rstrip().endswith(".")


def _names(place: Place, word: str) -> list[Match]:
    before = place.code[: place.cursor - len(word)]
    bound = bound_names("\n".join([*place.context, before, place.code[place.cursor :]]))
    built_in = {name: "class" if isinstance(value, type) else "function" for name, value in vars(builtins).items()}
    return [*of_names(bound, word), *of_keywords(word), *of_names(built_in, word, 3)]


def _inferred(place: Place, executable: str, cwd: str) -> tuple[list[Match], int]:
    """Return jedi's matches, and the length of what they replace."""
    before = "".join(f"{without_magics(cell)}\n" for cell in place.context)
    text = place.code[: place.cursor]
    line = before.count("\n") + text.count("\n") + 1
    column = len(text) - (text.rfind("\n") + 1)
    project = jedi.Project(cwd, load_unsafe_extensions=False)
    script = jedi.Script(before + without_magics(place.code), environment=_environment(executable), project=project)
    found = script.complete(line, column)[:_MOST]
    is_member = _is_member(text)
    deadline = time.monotonic() + _DETAIL_SECONDS
    matches = [_as_match(one, deadline, len(found) <= _MOST_DOCUMENTED, is_member=is_member) for one in found]
    if scan(text).string is not None:
        for one in matches:
            one["insertText"] = one["label"] = one["label"].rstrip("'\"")  # jedi closes the quotes
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
            fields["documentation"] = completion.docstring()[:_LONGEST_DOCUMENTATION] or None
    return match(name, _MEMBER_KINDS.get(kind, kind) if is_member else kind, 0 if name.endswith("=") else 1, **fields)


@lru_cache(maxsize=8)
def _environment(executable: str) -> Any:
    """Return jedi's environment of an interpreter, or the server's own where that one is broken or too old for jedi."""
    try:
        return jedi.create_environment(executable, safe=False)
    except jedi.InvalidPythonEnvironment:
        return jedi.create_environment(sys.executable, safe=False)
