"""Completes code from the session's live objects."""

import builtins
import inspect
import keyword
import os
import re
from itertools import islice
from types import ModuleType
from typing import Any, Iterable, Mapping, Optional

from ..idle_calls import IdleCalls
from ..shell import Shell
from . import custom_dir, importable, kinds, libraries, objects, signature
from .cell_text import (
    DottedPath,
    OpenString,
    Scan,
    bound_names,
    field_start,
    imported_from,
    imported_package,
    is_foreign,
    parameters_in,
    path_before,
    scan,
    word_before,
)
from .matches import Match, best, best_names, has_prefix, match, of_keywords, of_names
from .objects import UNKNOWN, UnknownError, is_instance, type_in
from .render import text as render_text
from .resolve import module_in, value_of

_MAX_TEXT_LENGTH = 50_000
# If there are more matches, each has only the first paragraph of its documentation, and private names have none.
_MAX_DOCUMENTED = 50
_MAX_DOCUMENTATION_LENGTH = 2000
_MAX_PARAGRAPH_LENGTH = 200
_MAX_PREVIEW_LENGTH = 80
_MAX_KEY_LENGTH = 200
_MAX_FILES = 10_000

_MAGIC = re.compile(r"(?:^[ \t]*|=[ \t]*)(%{1,2}\w*)\Z", re.MULTILINE)
_FILE_COMMAND = re.compile(
    r"^[ \t]*(?:%(?:cat|cd|less|load|loadpy|ls|more|pycat|run)[ \t]|!)(?:[^\n]*[ \t=])?(\S*)\Z", re.MULTILINE
)
_DEFINITION = re.compile(r"\b(?:def|class)[ \t]+\w+[ \t]*\Z")
_KEYWORD_ARGUMENT = re.compile(r"(\w+)[ \t]*=(?!=)")
_LABEL_INDEXERS = ((".", "loc"), (".", "at"))
_SCALARS = objects.type_ids(str, bytes, int, float, bool, type(None))


def complete(shell: Shell, idle_calls: IdleCalls, code: str, cursor: int) -> "Optional[dict[str, Any]]":
    """Complete `code` at `cursor` (in code points): return MRP's matches and the range they replace.

    Return None if the session's objects are not enough, but the code alone may be.
    """
    cut = 0
    if cursor > _MAX_TEXT_LENGTH:  # only the code near the cursor counts
        cut = code.find("\n", cursor - _MAX_TEXT_LENGTH, cursor) + 1 or cursor - _MAX_TEXT_LENGTH
    completer = _Completer(shell, idle_calls, code[cursor : cursor + _MAX_TEXT_LENGTH])
    try:
        matches, start = completer.complete(code[cut:cursor])
    except UnknownError:
        return None
    return {"matches": best(matches), "cursorStart": cut + start, "cursorEnd": cursor, "source": completer.source}


class _Completer:
    """Completes the end of a text.

    Args:
        rest: the code after the text.
    """

    def __init__(self, shell: Shell, idle_calls: IdleCalls, rest: str) -> None:
        self._shell = shell
        self._idle_calls = idle_calls
        self._rest = rest
        self.source = "runtime"  # MRP's `source` of the matches

    def complete(self, text: str) -> "tuple[list[Match], int]":
        """Return the matches, and the index where the text they replace begins.

        Raises:
            UnknownError: the session's objects are not enough.
        """
        scanned = scan(text)
        if scanned.string is None:
            magic = _MAGIC.search(text)
            if magic is not None:
                return self._magics(text, magic[1]), magic.start(1)
            command = _FILE_COMMAND.search(text)
            if command is not None:
                return _files(command[1]), command.start(1) + directory_length(command[1])
        if scanned.in_comment or is_foreign(text):
            return [], len(text)
        if scanned.string is not None:
            return self._in_string(text, scanned, scanned.string)
        word = word_before(text)
        start = len(text) - len(word)
        return self._python(text[:start], word, scanned), start

    def _in_string(self, text: str, scanned: Scan, string: OpenString) -> "tuple[list[Match], int]":
        field = field_start(text, string)
        if field is not None:
            matches, start = self.complete(text[field:])
            return matches, field + start
        content = text[string.start :]
        if "\n" in content:
            return [], len(text)
        keys = self._keys(text[: string.start - len(string.quote) - len(string.prefix)], scanned.brackets)
        if keys is not None:
            return _keys_in_quotes(keys, content, string.quote), string.start
        return _files(content), string.start + directory_length(content)

    def _python(self, before: str, word: str, scanned: Scan) -> "list[Match]":
        """Return the matches for `word`, the part of a name after `before`."""
        package = imported_from(before + word)
        if package is not None:
            return self._members(package, word)
        package = imported_package(before + word)
        if package is not None:
            modules = importable.submodules(package) if package else importable.top_level()
            return [match(name, "module") for name in modules if name.startswith(word)]
        if before.rstrip().endswith("."):
            return self._attributes(before.rstrip()[:-1], word)
        keywords = self._keywords(before, word, scanned.brackets)
        keys = _keys_in_brackets(self._keys(before, scanned.brackets) or [], word)
        return [*keywords, *keys, *self._names(before, word)]

    def _attributes(self, expression: str, word: str) -> "list[Match]":
        if expression.endswith(("'", '"')):
            return self._attributes_of("", word)
        path = path_before(expression)
        if path is None:
            raise UnknownError
        try:
            value = value_of(path, expression, self._shell.user_ns)
        except UnknownError:
            return self._members_in_source(module_in(path, expression), word)
        return self._attributes_of(value, word, importable.submodules_of(value))

    def _members(self, package: str, word: str) -> "list[Match]":
        """Return the matches for the names that can be imported from a module."""
        module = importable.loaded(package)
        if module is None:
            return self._members_in_source(package, word)
        submodules = importable.submodules(package)
        matches = [match(name, "module", 2) for name in submodules if name.startswith(word)]
        return [*self._attributes_of(module, word, submodules), *matches]

    def _members_in_source(self, module: Optional[str], word: str) -> "list[Match]":
        """Return the matches for the global names of a module that is not loaded, read from its source."""
        names = {} if module is None else importable.names_in_source(module)
        matches = of_names(names, word)
        if module is None or not matches:
            raise UnknownError  # no such module, or it creates its names at import
        matches += of_names(dict.fromkeys(importable.submodules(module), "module"), word, 2)
        self.source = "static"
        return matches

    def _attributes_of(self, owner: Any, word: str, submodules: "Iterable[str]" = ()) -> "list[Match]":
        """Return the matches for the attributes of an object, including names that only its own `__dir__` knows."""
        found = objects.attributes(owner)
        for name in self._idle_calls.results(custom_dir.dir_call(owner)):
            if is_instance(name, str):
                plain = str.__str__(name)
                if plain.isidentifier():
                    found.setdefault(plain, UNKNOWN)
        matches = _matches_of(found, word, owner=owner)
        for one in matches:
            if found[one["label"]] is UNKNOWN and is_instance(owner, ModuleType):
                one["kind"] = "module" if one["label"] in submodules else "variable"
        return matches

    def _names(self, before: str, word: str) -> "list[Match]":
        known = {name: value for name, value in list(self._shell.user_ns.items()) if type(name) is str}
        bound = of_names(bound_names(before + self._rest), word)
        return [*_matches_of(known, word), *bound, *of_keywords(word), *_matches_of(vars(builtins), word, rank=3)]

    def _keywords(self, before: str, word: str, brackets: "tuple[int, ...]") -> "list[Match]":
        """Return the matches for the keyword arguments possible after `before`."""
        if not brackets or before[brackets[-1]] != "(" or not before.rstrip().endswith(("(", ",")):
            return []
        called, arguments = before[: brackets[-1]], before[brackets[-1] + 1 :]
        path = path_before(called)
        if path is None or keyword.iskeyword(path.root) or _DEFINITION.search(called):
            return []
        defaults: "dict[str, Optional[str]]"
        try:
            found = signature.of(value_of(path, called, self._shell.user_ns)) or signature.NO_PARAMETERS
            values = found.defaults
            defaults = {name: _preview(values[name]) if name in values else None for name in found.keywords}
        except UnknownError:
            defaults = dict.fromkeys(() if path.steps else parameters_in(before, path.root))
        given = set(_KEYWORD_ARGUMENT.findall(arguments))
        return [
            match(f"{name}=", "variable", 0, detail="parameter", valuePreview=default)
            for name, default in defaults.items()
            if name not in given and has_prefix(name, word)
        ]

    def _keys(self, before: str, brackets: "tuple[int, ...]") -> "Optional[list[Any]]":
        """Return the keys possible after `before`, or None if that is not a subscript of a known object."""
        if not brackets or before[brackets[-1]] != "[" or not before.rstrip().endswith(("[", ",")):
            return None
        owner = before[: brackets[-1]].rstrip()
        if owner.endswith(("[", ",")) and len(brackets) > 1 and before[brackets[-2]] == "[":
            owner = before[: brackets[-2]]  # a list of columns
        path = path_before(owner)
        if path is None:
            return None
        if path.steps[-1:] and path.steps[-1] in _LABEL_INDEXERS:
            path = DottedPath(path.start, path.root, path.steps[:-1])
        try:
            value = value_of(path, owner, self._shell.user_ns)
            keys = libraries.keys(value) or self._idle_calls.results(custom_dir.keys_call(value))
        except Exception:  # the object is unknown, or its library cannot read it
            return None
        return [key for key in keys if type_in(key, _SCALARS) or _is_pair(key)]

    def _magics(self, text: str, typed: str) -> "list[Match]":
        """Return the magics; cell magics only at the beginning of a cell."""
        found = []
        prefixes = {"line": "%"} if not typed.startswith("%%") else {}
        if text.strip() == typed:
            prefixes["cell"] = "%%"
        for kind, prefix in prefixes.items():
            for name, function in dict(self._shell.magics_manager.magics[kind]).items():
                if type(name) is str and name.startswith(typed.lstrip("%")):
                    documentation = (kinds.documentation(function) or "")[:_MAX_DOCUMENTATION_LENGTH].strip() or None
                    detail = f"{kind} magic"
                    found.append(
                        match(prefix + name, "function", detail=detail, documentation=documentation, type="magic")
                    )
        return found


def _matches_of(names: "Mapping[str, Any]", prefix: str, *, owner: Any = None, rank: int = 1) -> "list[Match]":
    """Return matches for the names that begin with `prefix`, in any case.

    Args:
        names: names with their values or, for attributes, their definitions.
        owner: the object whose attributes they are, or None.
    """
    selected = best_names(names, prefix)
    found = []
    bind = objects.binder(owner)
    is_member = owner is not None and not is_instance(owner, ModuleType)
    documented = len(selected) <= _MAX_DOCUMENTED
    for name in selected:
        definition = names[name]
        one = match(name, "field", rank)
        found.append(one)
        if definition is UNKNOWN:
            continue
        kind = kinds.kind(definition, owner)
        value = definition if owner is None or kind == "property" else bind(name, definition)
        subject = objects.subject(definition, value)
        one["kind"], one["type"] = kind, objects.class_name(type(subject))
        if kind == "variable":
            one["kind"] = "constant" if name.isupper() else "field" if is_member else "variable"
        if name.startswith("_") and not documented:
            continue  # documenting these would take half of the time
        if kind in ("function", "method"):
            parameters = signature.short_text(subject)
            one["detail"] = None if parameters is None else name + parameters
        elif kind == "variable":
            one["valuePreview"] = _preview(subject)
        one["documentation"] = _documentation(definition, documented)
    return found


def _documentation(definition: Any, whole: bool) -> Optional[str]:
    text = kinds.documentation(definition)
    if text is None:
        return None
    if whole:
        return inspect.cleandoc(text)[:_MAX_DOCUMENTATION_LENGTH]
    return text[:_MAX_DOCUMENTATION_LENGTH].strip().partition("\n\n")[0][:_MAX_PARAGRAPH_LENGTH]


def _preview(value: Any) -> str:
    return render_text(value, _MAX_PREVIEW_LENGTH)[0]


def _is_pair(key: Any) -> bool:
    return type(key) is tuple and all(type_in(part, _SCALARS) for part in key)


def _keys_in_quotes(keys: "list[Any]", typed: str, quote: str) -> "list[Match]":
    """Return matches for string keys, inside quotes that are already typed."""
    found = []
    for key in keys:
        if type(key) is str and key.startswith(typed) and len(key) <= _MAX_KEY_LENGTH:
            written = key.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
            found.append(match(key, "field", 0, insertText=written, type="str"))
    return found


def _keys_in_brackets(keys: "list[Any]", typed: str) -> "list[Match]":
    """Return matches for all keys, as literals."""
    written = ((repr(key), key) for key in keys)
    return [
        match(text, "field", 0, type=objects.class_name(type(key)))
        for text, key in written
        if text.startswith(typed) and len(text) <= _MAX_KEY_LENGTH
    ]


def _files(typed: str) -> "list[Match]":
    """Return matches for the last part of a path. Hidden files match only after a typed dot."""
    directory, beginning = typed[: directory_length(typed)], typed[directory_length(typed) :]
    found = []
    try:
        with os.scandir(os.path.expanduser(directory) or os.curdir) as entries:
            for entry in islice(entries, _MAX_FILES):
                if entry.name.startswith(beginning) and (beginning or not entry.name.startswith(".")):
                    is_directory = entry.is_dir()
                    label = f"{entry.name}/" if is_directory else entry.name
                    found.append(match(label, "value", type="directory" if is_directory else "file"))
    except (OSError, ValueError):  # no such directory, or a NUL in the path
        return []
    return found


def directory_length(typed: str) -> int:
    """Return the length of a path's directory, which completion leaves as it is."""
    return typed.rfind("/") + 1
