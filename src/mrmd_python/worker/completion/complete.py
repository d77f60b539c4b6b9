"""Completion of code, from what the session holds."""

import re
from dataclasses import dataclass
from typing import Any, Optional

from ..idle_calls import IdleCalls
from ..live_objects import FUNCTIONS, UNKNOWN, UnknownValueError, attributes, own_dir
from ..shell import Shell
from ..static import is_a
from . import arguments, importable, names, paths, subscripts
from .cell_names import current_value
from .cell_text import (
    OpenString,
    Scan,
    imported_from,
    imported_package,
    is_foreign,
    path_before,
    replacement_field,
    scan,
    word_before,
)
from .matches import Match, best, match, of_attributes, of_variables

_LONGEST_TEXT = 50_000
_MAGIC = re.compile(r"(?:^[ \t]*|=[ \t]*)(%{1,2}\w*)\Z", re.MULTILINE)
_FILE_COMMAND = re.compile(
    r"^[ \t]*(?:%(?:cat|cd|less|load|loadpy|ls|more|pycat|run)[ \t]|!)(?:[^\n]*[ \t=])?(\S*)\Z", re.MULTILINE
)


@dataclass(frozen=True)
class Session:
    """What completion looks at."""

    shell: Shell
    idle_calls: IdleCalls

    def attributes(self, value: object, prefix: str) -> "dict[str, object]":
        """Return the attributes of a value, and those that its own `__dir__` names and that begin with `prefix`."""
        found = attributes(value)
        lowered = prefix.lower()
        for name in self.idle_calls.results(own_dir(value)):
            if is_a(name, str):
                name = str.__str__(name)
                if name.lower().startswith(lowered) and name.isidentifier():
                    found.setdefault(name, UNKNOWN)
        return found


def complete(session: Session, code: str, cursor: int) -> "Optional[dict[str, Any]]":
    """Return what could stand at `cursor`, in code points, of `code`: MRP's matches, and the place they replace.

    None means that the session does not know, but that the code alone may tell.
    """
    cut = 0
    if cursor > _LONGEST_TEXT:  # then only what stands near counts
        cut = code.find("\n", cursor - _LONGEST_TEXT, cursor) + 1 or cursor - _LONGEST_TEXT
    try:
        matches, start = _matches(session, code[cut : cursor + _LONGEST_TEXT], code[cut:cursor])
    except UnknownValueError:
        return None
    return {"matches": best(matches), "cursorStart": cut + start, "cursorEnd": cursor}


def _matches(session: Session, code: str, text: str) -> "tuple[list[Match], int]":
    """Return the matches for the end of `text`, and where what they replace begins."""
    around = scan(text)
    if around.string is None:
        magic = _MAGIC.search(text)
        if magic is not None:
            return _magics(session.shell, text, magic[1]), magic.start(1)
        file = _FILE_COMMAND.search(text)
        if file is not None:
            return paths.matches(file[1]), file.start(1) + paths.folder_length(file[1])
    if around.in_comment or is_foreign(text):
        return [], len(text)
    if around.string is not None:
        return _in_string(session, code, text, around, around.string)
    return _python(session, code, text, around), len(text) - len(word_before(text))


def _in_string(session: Session, code: str, text: str, around: Scan, string: OpenString) -> "tuple[list[Match], int]":
    content = text[string.start :]
    if "f" in string.prefix or "t" in string.prefix:
        field = replacement_field(content)
        if field is not None:
            expression = content[field:]
            matches, start = _matches(session, expression, expression)
            return matches, start + string.start + field
    if "\n" in content:
        return [], len(text)
    before = text[: string.start - len(string.quote) - len(string.prefix)]
    labels = subscripts.labels_at(session.shell.user_ns, session.idle_calls, before, around.brackets)
    if labels is not None:
        return subscripts.in_quotes(labels, content, string.quote), string.start
    return paths.matches(content), string.start + paths.folder_length(content)


def _python(session: Session, code: str, text: str, around: Scan) -> "list[Match]":
    """Return the matches for the part of a name that `text` ends with.

    Raises:
        UnknownValueError: the session cannot tell.
    """
    word = word_before(text)
    before = text[: len(text) - len(word)]
    package = imported_from(text)
    if package is not None:
        return _importable_from(session, package, word)
    package = imported_package(text)
    if package is not None:
        return _modules(package, word)
    if before.rstrip().endswith("."):
        return _attributes(session, before.rstrip()[:-1], word)
    keywords = arguments.keywords(session.shell.user_ns, before, word, around.brackets)
    labels = subscripts.labels_at(session.shell.user_ns, session.idle_calls, before, around.brackets)
    return [*keywords, *subscripts.in_brackets(labels or [], word), *_names(session.shell, code, before, word)]


def _attributes(session: Session, expression: str, word: str) -> "list[Match]":
    if expression.endswith(("'", '"')):
        return of_attributes(attributes(""), word, "")
    path = path_before(expression)
    if path is None:
        raise UnknownValueError
    value = current_value(path, expression, session.shell.user_ns)
    return of_attributes(session.attributes(value, word), word, value, importable.submodules_of(value))


def _names(shell: Shell, code: str, before: str, word: str) -> "list[Match]":
    known = {name: value for name, value in list(shell.user_ns.items()) if type(name) is str}
    rest = before + code[len(before) + len(word) :]
    return [*of_variables(known, word, 1), *names.of_code(rest, word), *names.of_language(word)]


def _modules(package: str, word: str) -> "list[Match]":
    found = importable.submodules(package) if package else importable.top_level()
    return [match(name, "module") for name in found if name.startswith(word)]


def _importable_from(session: Session, package: str, word: str) -> "list[Match]":
    module = importable.loaded(package)
    if module is None:
        raise UnknownValueError  # its source tells
    submodules = importable.submodules(package)
    matches = [match(name, "module", 2) for name in submodules if name.startswith(word)]
    return [*of_attributes(session.attributes(module, word), word, module, submodules), *matches]


def _magics(shell: Shell, text: str, typed: str) -> "list[Match]":
    """Return the magics; those for cells only at the beginning of one."""
    found = []
    signs = {"line": "%"} if not typed.startswith("%%") else {}
    if text.strip() == typed:
        signs["cell"] = "%%"
    for sort, sign in signs.items():
        for name, function in dict(shell.magics_manager.magics[sort]).items():
            if type(name) is str and name.startswith(typed.lstrip("%")):
                documentation = function.__doc__ if type(function) in FUNCTIONS else None
                found.append(
                    match(
                        sign + name,
                        "function",
                        detail=f"{sort} magic",
                        documentation=documentation[:2000].strip() if type(documentation) is str else None,
                        type="magic",
                    )
                )
    return found
