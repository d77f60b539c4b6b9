"""Finds where an object is defined, and the source text."""

import inspect
import linecache
import os
import re
import types
from typing import Any, NamedTuple, Optional

from ..shell import Shell
from . import kinds, objects

_MAX_LENGTH = 200_000
_MAX_CELLS = 1000  # in which a class definition is searched


class Definition(NamedTuple):
    """The location of a definition in lines of source."""

    lines: "list[str]"
    line: int  # 1-based
    file: Optional[str]  # the absolute path, or None in a cell
    is_whole: bool = False  # whether the definition is all the lines, as for a module

    def text(self) -> Optional[str]:
        """Return the source of the definition."""
        try:
            lines = self.lines if self.is_whole else inspect.getblock(self.lines[self.line - 1 :])
        except Exception:  # an error of tokenize: the file has changed
            return None
        return "".join(lines)[:_MAX_LENGTH] or None


def of(shell: Shell, value: Any) -> Optional[Definition]:
    """Return where a function, class or module is defined; None for anything else and for code in C."""
    value = kinds.undecorated(kinds.underlying(value))
    if type(value) is property and value.fget is not None:
        value = kinds.undecorated(value.fget)
    if type(value) is types.FunctionType:
        file = _file_of_function(value)
        return Definition(_lines(file), value.__code__.co_firstlineno, _file(file))
    if objects.is_instance(value, types.ModuleType):
        path = objects.instance_dict(value).get("__file__")
        is_text = type(path) is str and path.endswith(".py")
        return Definition(_lines(path), 1, _file(path), is_whole=True) if is_text else None  # type: ignore[arg-type]
    return _of_class(shell, value) if objects.is_instance(value, type) else None


def _of_class(shell: Shell, cls: type) -> Optional[Definition]:
    """Find a class in the file of its methods, or in a cell. Python does not record its line before 3.13."""
    name = objects.class_name(cls)
    for member in list(objects.class_dict(cls).values()):
        if type(member) is types.FunctionType:
            file = _file_of_function(member)
            found = _class_in(_lines(file), name, _file(file))
            if found is not None:
                return found
    if objects.class_dict(cls).get("__module__") != "__main__":
        return None
    for cell in reversed(shell.history_manager.input_hist_parsed[-_MAX_CELLS:]):
        found = _class_in(cell.splitlines(keepends=True), name, None)
        if found is not None:
            return found
    return None


def _class_in(lines: "list[str]", name: str, file: Optional[str]) -> Optional[Definition]:
    pattern = re.compile(rf"([ \t]*)class\s+{re.escape(name)}\b")
    matches = ((number, pattern.match(line)) for number, line in enumerate(lines, start=1))
    found = [(len(match[1]), number) for number, match in matches if match is not None]
    return Definition(lines, min(found)[1], file) if found else None


def _file_of_function(function: types.FunctionType) -> str:
    name = function.__code__.co_filename
    if not name.startswith("<frozen "):  # a part of the standard library that is compiled into the interpreter
        return name
    file = function.__globals__.get("__file__")
    return file if type(file) is str else name


def _lines(file: str) -> "list[str]":
    linecache.checkcache(file)  # it may have changed; IPython's cells are never stale
    return linecache.getlines(file)


def _file(name: str) -> Optional[str]:
    return os.path.abspath(name) if os.path.isfile(name) else None
