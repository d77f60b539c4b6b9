"""Completion of code, from what the session holds."""

import re
from typing import Any, Optional

from ..live_objects import FUNCTIONS, UNKNOWN, UnknownValueError, attributes
from ..shell import Shell
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


def complete(shell: Shell, code: str, cursor: int) -> "Optional[dict[str, Any]]":
    """Return what could stand at `cursor`, in code points, of `code`: MRP's matches, and the place they replace.

    None means that the session does not know, but that the code alone may tell.
    """
    cut = 0
    if cursor > _LONGEST_TEXT:  # then only what stands near counts
        cut = code.find("\n", cursor - _LONGEST_TEXT, cursor) + 1 or cursor - _LONGEST_TEXT
    try:
        matches, start = _matches(shell, code[cut : cursor + _LONGEST_TEXT], code[cut:cursor])
    except UnknownValueError:
        return None
    return {"matches": best(matches), "cursorStart": cut + start, "cursorEnd": cursor}


def _matches(shell: Shell, code: str, text: str) -> "tuple[list[Match], int]":
    """Return the matches for the end of `text`, and where what they replace begins."""
    around = scan(text)
    if around.string is None:
        magic = _MAGIC.search(text)
        if magic is not None:
            return _magics(shell, text, magic[1]), magic.start(1)
        file = _FILE_COMMAND.search(text)
        if file is not None:
            return paths.matches(file[1]), file.start(1) + paths.folder_length(file[1])
    if around.in_comment or is_foreign(text):
        return [], len(text)
    if around.string is not None:
        return _in_string(shell, code, text, around, around.string)
    return _python(shell, code, text, around), len(text) - len(word_before(text))


def _in_string(shell: Shell, code: str, text: str, around: Scan, string: OpenString) -> "tuple[list[Match], int]":
    content = text[string.start :]
    if "f" in string.prefix or "t" in string.prefix:
        field = replacement_field(content)
        if field is not None:
            expression = content[field:]
            matches, start = _matches(shell, expression, expression)
            return matches, start + string.start + field
    if "\n" in content:
        return [], len(text)
    before = text[: string.start - len(string.quote) - len(string.prefix)]
    labels = subscripts.labels_at(shell.user_ns, before, around.brackets)
    if labels is not None:
        return subscripts.in_quotes(labels, content, string.quote), string.start
    return paths.matches(content), string.start + paths.folder_length(content)


def _python(shell: Shell, code: str, text: str, around: Scan) -> "list[Match]":
    """Return the matches for the part of a name that `text` ends with.

    Raises:
        UnknownValueError: the session cannot tell.
    """
    word = word_before(text)
    before = text[: len(text) - len(word)]
    package = imported_from(text)
    if package is not None:
        return _importable_from(package, word)
    package = imported_package(text)
    if package is not None:
        return _modules(package, word)
    if before.rstrip().endswith("."):
        return _attributes(shell, before.rstrip()[:-1], word)
    keywords = arguments.keywords(shell.user_ns, before, word, around.brackets)
    labels = subscripts.labels_at(shell.user_ns, before, around.brackets)
    return [*keywords, *subscripts.in_brackets(labels or [], word), *_names(shell, code, before, word)]


def _attributes(shell: Shell, expression: str, word: str) -> "list[Match]":
    if expression.endswith(("'", '"')):
        return of_attributes(attributes(""), word, "")
    path = path_before(expression)
    if path is None:
        raise UnknownValueError
    value = current_value(path, expression, shell.user_ns)
    return of_attributes(attributes(value), word, value)


def _names(shell: Shell, code: str, before: str, word: str) -> "list[Match]":
    known = {name: value for name, value in list(shell.user_ns.items()) if type(name) is str}
    rest = before + code[len(before) + len(word) :]
    return [*of_variables(known, word, 1), *names.of_code(rest, word), *names.of_language(word)]


def _modules(package: str, word: str) -> "list[Match]":
    found = importable.submodules(package) if package else importable.top_level()
    return [match(name, "module") for name in found if name.startswith(word)]


def _importable_from(package: str, word: str) -> "list[Match]":
    module = importable.loaded(package)
    submodules = [match(name, "module", 2) for name in importable.submodules(package) if name.startswith(word)]
    if module is None:
        raise UnknownValueError  # its source tells
    found = {name: value for name, value in attributes(module).items() if value is not UNKNOWN}
    return [*of_attributes(found, word, module), *submodules]


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
