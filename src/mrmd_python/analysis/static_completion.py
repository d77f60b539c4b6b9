"""Completion from the code alone, by jedi: of a session that is busy, or that does not know."""

import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jedi

from mrmd_python.worker.completion import names, paths
from mrmd_python.worker.completion.cell_text import (
    imported_from,
    imported_package,
    is_foreign,
    scan,
    without_magics,
    word_before,
)
from mrmd_python.worker.completion.matches import Match, best, match

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
        cwd: the folder whose modules it means.
    """
    text = place.code[: place.cursor]
    around = scan(text)
    matches: list[Match] = []
    start = len(text) - len(word_before(text))
    if around.string is not None:
        content = text[around.string.start :]
        is_key = text[: around.string.start - len(around.string.quote)].rstrip().endswith("[")
        matches = [] if is_key else paths.matches(content)
        start = around.string.start + paths.folder_length(content)
    elif not (around.in_comment or is_foreign(text)):
        is_member = text[:start].rstrip().endswith(".")
        is_argument = around.brackets and text[around.brackets[-1]] == "("
        if is_member or is_argument or imported_from(text) is not None or imported_package(text) is not None:
            matches = _inferred(place, executable, cwd, is_member=is_member)
        else:
            code = "\n".join([*place.context, text[:start], place.code[place.cursor :]])
            matches = [*names.of_code(code, text[start:]), *names.of_language(text[start:])]
    return {"matches": best(matches), "cursorStart": start, "cursorEnd": len(text)}


def _inferred(place: Place, executable: str, cwd: str, *, is_member: bool) -> list[Match]:
    before = "".join(f"{without_magics(cell)}\n" for cell in place.context)
    text = place.code[: place.cursor]
    line = before.count("\n") + text.count("\n") + 1
    column = len(text) - (text.rfind("\n") + 1)
    project = jedi.Project(cwd, load_unsafe_extensions=False)
    script = jedi.Script(before + without_magics(place.code), environment=_environment(executable), project=project)
    found = script.complete(line, column)[:_MOST]
    deadline = time.monotonic() + _DETAIL_SECONDS
    described = [_as_match(one, deadline, len(found) <= _MOST_DOCUMENTED, is_member=is_member) for one in found]
    return [one for one in described if not (is_member and one["kind"] == "keyword")]


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
