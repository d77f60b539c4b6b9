"""Completion of code, from what the session holds."""

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
from . import importable, kinds, libraries, objects, own_names, signature
from .cell_text import (
    OpenString,
    Path,
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
from .matches import Match, begins, best, best_names, match, of_keywords, of_names
from .objects import UNKNOWN, UnknownError, is_a, is_exactly
from .render import text as rendered
from .resolve import module_in, value_of

_LONGEST_TEXT = 50_000
# With more matches, each has only the first paragraph of its documentation, and private names have none.
_MOST_DOCUMENTED = 50
_LONGEST_DOCUMENTATION = 2000
_LONGEST_PARAGRAPH = 200
_LONGEST_PREVIEW = 80
_LONGEST_KEY = 200
_MOST_FILES = 10_000

_MAGIC = re.compile(r"(?:^[ \t]*|=[ \t]*)(%{1,2}\w*)\Z", re.MULTILINE)
_FILE_COMMAND = re.compile(
    r"^[ \t]*(?:%(?:cat|cd|less|load|loadpy|ls|more|pycat|run)[ \t]|!)(?:[^\n]*[ \t=])?(\S*)\Z", re.MULTILINE
)
_DEFINITION = re.compile(r"\b(?:def|class)[ \t]+\w+[ \t]*\Z")
_GIVEN = re.compile(r"(\w+)[ \t]*=(?!=)")
_BY_LABEL = ((".", "loc"), (".", "at"))
_SCALARS = objects.types(str, bytes, int, float, bool, type(None))


def complete(shell: Shell, idle_calls: IdleCalls, code: str, cursor: int) -> "Optional[dict[str, Any]]":
    """Return what could stand at `cursor`, in code points, of `code`: MRP's matches, and the place they replace.

    None means that the session does not know, but that the code alone may tell.
    """
    cut = 0
    if cursor > _LONGEST_TEXT:  # then only what stands near counts
        cut = code.find("\n", cursor - _LONGEST_TEXT, cursor) + 1 or cursor - _LONGEST_TEXT
    completer = _Completer(shell, idle_calls, code[cursor : cursor + _LONGEST_TEXT])
    try:
        matches, start = completer.complete(code[cut:cursor])
    except UnknownError:
        return None
    return {"matches": best(matches), "cursorStart": cut + start, "cursorEnd": cursor, "source": completer.source}


class _Completer:
    """Completes the end of a text.

    Args:
        rest: the code behind it.
    """

    def __init__(self, shell: Shell, idle_calls: IdleCalls, rest: str) -> None:
        self._shell = shell
        self._idle_calls = idle_calls
        self._rest = rest
        self.source = "runtime"  # MRP's word for where the matches come from

    def complete(self, text: str) -> "tuple[list[Match], int]":
        """Return the matches, and where what they replace begins.

        Raises:
            UnknownError: the session cannot tell.
        """
        around = scan(text)
        if around.string is None:
            magic = _MAGIC.search(text)
            if magic is not None:
                return self._magics(text, magic[1]), magic.start(1)
            command = _FILE_COMMAND.search(text)
            if command is not None:
                return _files(command[1]), command.start(1) + directory_length(command[1])
        if around.in_comment or is_foreign(text):
            return [], len(text)
        if around.string is not None:
            return self._in_string(text, around, around.string)
        word = word_before(text)
        start = len(text) - len(word)
        return self._python(text[:start], word, around), start

    def _in_string(self, text: str, around: Scan, string: OpenString) -> "tuple[list[Match], int]":
        field = field_start(text, string)
        if field is not None:
            matches, start = self.complete(text[field:])
            return matches, field + start
        content = text[string.start :]
        if "\n" in content:
            return [], len(text)
        keys = self._keys(text[: string.start - len(string.quote) - len(string.prefix)], around.brackets)
        if keys is not None:
            return _keys_in_quotes(keys, content, string.quote), string.start
        return _files(content), string.start + directory_length(content)

    def _python(self, before: str, word: str, around: Scan) -> "list[Match]":
        """Return the matches for the part of a name behind `before`."""
        package = imported_from(before + word)
        if package is not None:
            return self._members(package, word)
        package = imported_package(before + word)
        if package is not None:
            modules = importable.submodules(package) if package else importable.top_level()
            return [match(name, "module") for name in modules if name.startswith(word)]
        if before.rstrip().endswith("."):
            return self._attributes(before.rstrip()[:-1], word)
        keywords = self._keywords(before, word, around.brackets)
        keys = _keys_in_brackets(self._keys(before, around.brackets) or [], word)
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
        """Return the matches for what can be imported from a module."""
        module = importable.loaded(package)
        if module is None:
            return self._members_in_source(package, word)
        submodules = importable.submodules(package)
        matches = [match(name, "module", 2) for name in submodules if name.startswith(word)]
        return [*self._attributes_of(module, word, submodules), *matches]

    def _members_in_source(self, module: Optional[str], word: str) -> "list[Match]":
        """Return the matches for the global names of a module that is not loaded, as its source binds them."""
        names = {} if module is None else importable.names_in_source(module)
        matches = of_names(names, word)
        if module is None or not matches:
            raise UnknownError  # it is not there, or makes its names as it is imported
        matches += of_names(dict.fromkeys(importable.submodules(module), "module"), word, 2)
        self.source = "static"
        return matches

    def _attributes_of(self, owner: Any, word: str, submodules: "Iterable[str]" = ()) -> "list[Match]":
        """Return the matches for the attributes of an object, with those that its own `__dir__` names."""
        found = objects.attributes(owner)
        for name in self._idle_calls.results(own_names.own_dir(owner)):
            if is_a(name, str):
                plain = str.__str__(name)
                if plain.isidentifier():
                    found.setdefault(plain, UNKNOWN)
        matches = _described(found, word, owner=owner)
        for one in matches:
            if found[one["label"]] is UNKNOWN and is_a(owner, ModuleType):
                one["kind"] = "module" if one["label"] in submodules else "variable"
        return matches

    def _names(self, before: str, word: str) -> "list[Match]":
        known = {name: value for name, value in list(self._shell.user_ns.items()) if type(name) is str}
        bound = of_names(bound_names(before + self._rest), word)
        return [*_described(known, word), *bound, *of_keywords(word), *_described(vars(builtins), word, rank=3)]

    def _keywords(self, before: str, word: str, brackets: "tuple[int, ...]") -> "list[Match]":
        """Return the matches for the parameters that may be named behind `before`."""
        if not brackets or before[brackets[-1]] != "(" or not before.rstrip().endswith(("(", ",")):
            return []
        called, arguments = before[: brackets[-1]], before[brackets[-1] + 1 :]
        path = path_before(called)
        if path is None or keyword.iskeyword(path.root) or _DEFINITION.search(called):
            return []
        defaults: "dict[str, Optional[str]]"
        try:
            found = signature.of(value_of(path, called, self._shell.user_ns)) or signature.NONE
            known = found.defaults
            defaults = {name: _preview(known[name]) if name in known else None for name in found.by_name}
        except UnknownError:
            defaults = dict.fromkeys(() if path.steps else parameters_in(before, path.root))
        given = set(_GIVEN.findall(arguments))
        return [
            match(f"{name}=", "variable", 0, detail="parameter", valuePreview=default)
            for name, default in defaults.items()
            if name not in given and begins(name, word)
        ]

    def _keys(self, before: str, brackets: "tuple[int, ...]") -> "Optional[list[Any]]":
        """Return the keys that can stand behind `before`; None if that is no subscript of a known object."""
        if not brackets or before[brackets[-1]] != "[" or not before.rstrip().endswith(("[", ",")):
            return None
        owner = before[: brackets[-1]].rstrip()
        if owner.endswith(("[", ",")) and len(brackets) > 1 and before[brackets[-2]] == "[":
            owner = before[: brackets[-2]]  # a list of columns
        path = path_before(owner)
        if path is None:
            return None
        if path.steps[-1:] and path.steps[-1] in _BY_LABEL:
            path = Path(path.start, path.root, path.steps[:-1])
        try:
            value = value_of(path, owner, self._shell.user_ns)
            keys = libraries.keys(value) or self._idle_calls.results(own_names.own_keys(value))
        except Exception:  # it is unknown, or its library cannot read it
            return None
        return [key for key in keys if is_exactly(key, _SCALARS) or _is_pair(key)]

    def _magics(self, text: str, typed: str) -> "list[Match]":
        """Return the magics; those for cells only at the beginning of one."""
        found = []
        signs = {"line": "%"} if not typed.startswith("%%") else {}
        if text.strip() == typed:
            signs["cell"] = "%%"
        for sort, sign in signs.items():
            for name, function in dict(self._shell.magics_manager.magics[sort]).items():
                if type(name) is str and name.startswith(typed.lstrip("%")):
                    documentation = (kinds.documentation(function) or "")[:_LONGEST_DOCUMENTATION].strip() or None
                    detail = f"{sort} magic"
                    found.append(
                        match(sign + name, "function", detail=detail, documentation=documentation, type="magic")
                    )
        return found


def _described(names: "Mapping[str, Any]", prefix: str, *, owner: Any = None, rank: int = 1) -> "list[Match]":
    """Return matches for those names that begin with `prefix`, in any case.

    Args:
        names: each with what it stands for or, for an attribute, with its definition.
        owner: what they are attributes of, if they are.
    """
    chosen = best_names(names, prefix)
    found = []
    bind = objects.binder(owner)
    is_member = owner is not None and not is_a(owner, ModuleType)
    documented = len(chosen) <= _MOST_DOCUMENTED
    for name in chosen:
        definition = names[name]
        one = match(name, "field", rank)
        found.append(one)
        if definition is UNKNOWN:
            continue
        kind = kinds.kind(definition, owner)
        value = definition if owner is None or kind == "property" else bind(name, definition)
        shown = objects.shown(definition, value)
        one["kind"], one["type"] = kind, objects.class_name(type(shown))
        if kind == "variable":
            one["kind"] = "constant" if name.isupper() else "field" if is_member else "variable"
        if name.startswith("_") and not documented:
            continue  # half of the time would go into these
        if kind in ("function", "method"):
            written = signature.short_text(shown)
            one["detail"] = None if written is None else name + written
        elif kind == "variable":
            one["valuePreview"] = _preview(shown)
        one["documentation"] = _documentation(definition, documented)
    return found


def _documentation(definition: Any, whole: bool) -> Optional[str]:
    text = kinds.documentation(definition)
    if text is None:
        return None
    if whole:
        return inspect.cleandoc(text)[:_LONGEST_DOCUMENTATION]
    return text[:_LONGEST_DOCUMENTATION].strip().partition("\n\n")[0][:_LONGEST_PARAGRAPH]


def _preview(value: Any) -> str:
    return rendered(value, _LONGEST_PREVIEW)[0]


def _is_pair(key: Any) -> bool:
    return type(key) is tuple and all(is_exactly(part, _SCALARS) for part in key)


def _keys_in_quotes(keys: "list[Any]", typed: str, quote: str) -> "list[Match]":
    """Return matches for the keys that are strings, within the quotes that stand already."""
    found = []
    for key in keys:
        if type(key) is str and key.startswith(typed) and len(key) <= _LONGEST_KEY:
            written = key.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
            found.append(match(key, "field", 0, insertText=written, type="str"))
    return found


def _keys_in_brackets(keys: "list[Any]", typed: str) -> "list[Match]":
    """Return matches for all keys, written out."""
    written = ((repr(key), key) for key in keys)
    return [
        match(text, "field", 0, type=objects.class_name(type(key)))
        for text, key in written
        if text.startswith(typed) and len(text) <= _LONGEST_KEY
    ]


def _files(typed: str) -> "list[Match]":
    """Return matches for the last part of a path; hidden files only if its dot is there."""
    directory, beginning = typed[: directory_length(typed)], typed[directory_length(typed) :]
    found = []
    try:
        with os.scandir(os.path.expanduser(directory) or os.curdir) as entries:
            for entry in islice(entries, _MOST_FILES):
                if entry.name.startswith(beginning) and (beginning or not entry.name.startswith(".")):
                    is_directory = entry.is_dir()
                    label = f"{entry.name}/" if is_directory else entry.name
                    found.append(match(label, "value", type="folder" if is_directory else "file"))
    except (OSError, ValueError):  # there is no such directory; a path has no NUL
        return []
    return found


def directory_length(typed: str) -> int:
    """Return how much of a path that is being typed is its directory, which stays as it is."""
    return typed.rfind("/") + 1
