"""Completion by inference, for what no live object tells: jedi, where the venv has it."""

import os
import sys
import time
from contextlib import contextmanager
from itertools import islice
from types import FrameType, FunctionType
from typing import Any, Iterable, Iterator, Mapping

from ..live_objects import in_class, is_a
from .cell_text import without_magics
from .matches import Match, match

_MOST = 1000
_SECONDS = 1.5
"""How long inference may take: beyond that the server's own is the better one."""
_KIND_SECONDS = 0.15
"""How long the kinds of matches may take: each is an inference of its own."""
_KINDS = {
    "module": "module",
    "namespace": "module",
    "class": "class",
    "function": "function",
    "path": "value",
    "keyword": "keyword",
    "property": "property",
}
_MOST_HELD = 100
_HOOKS = ("__class__", "__dir__", "__getattr__", "__getattribute__")


class TookTooLong(BaseException):
    """Inference was given up. It is no Exception, so that nothing on its way handles it."""


def inferred(code: str, cursor: int, namespace: "Mapping[str, Any]") -> "list[Match]":
    """Return what jedi proposes for the name before `cursor`.

    Raises:
        TookTooLong: it had not come to an end in time.
    """
    try:
        import jedi
        import parso
    except ImportError:
        return []
    before = code[:cursor]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1)
    known = {name: value for name, value in list(namespace.items()) if _is_harmless(value)}
    own = tuple(os.path.dirname(str(package.__file__)) + os.sep for package in (jedi, parso))
    try:
        with _deadline(time.monotonic() + _SECONDS, own):
            script = jedi.Interpreter(without_magics(code), [known])
            # The person's properties are not to run: the option's name in jedi 0.20, and in older ones.
            for option in ("allow_unsafe_executions", "allow_descriptor_getattr"):
                setattr(script._inference_state, option, False)
            found = script.complete(line, column)[:_MOST]
            kinds_end = time.monotonic() + _KIND_SECONDS
            return [_as_match(one, time.monotonic() < kinds_end) for one in found]
    except Exception:  # jedi's own, on code it was not made for; a RecursionError for one
        return []


def _as_match(completion: Any, in_time: bool) -> Match:
    name: str = completion.name_with_symbols
    kind = _KINDS.get(completion.type, "variable") if in_time else "variable"
    if kind == "module" and not completion.infer():
        kind = "property"  # jedi takes for a module what it does not look at
    return match(name, kind, 0 if name.endswith("=") else 1)


def _is_harmless(value: object) -> bool:
    """Return whether jedi can look at a value without running what the person's classes have put in its way."""
    held: "Iterable[object]" = ()
    if is_a(value, dict):
        held = list(dict.values(value))  # type: ignore[arg-type]
    elif is_a(value, list):
        held = list.copy(value)  # type: ignore[arg-type]
    elif is_a(value, tuple):
        held = tuple.__iter__(value)  # type: ignore[arg-type]
    return not _has_hooks(value) and not any(map(_has_hooks, islice(held, _MOST_HELD)))


def _has_hooks(value: object) -> bool:
    hooks = (in_class(value, name) for name in _HOOKS)
    return any(
        type(hook) is property or (type(hook) is FunctionType and hook.__module__ == "__main__") for hook in hooks
    )


@contextmanager
def _deadline(end: float, own: "tuple[str, ...]") -> "Iterator[None]":
    """Raise TookTooLong in this thread once `end` has come, in jedi's own code or in what it has run of the person's.

    A trace function is called in the thread that has set it, and may raise (sys.settrace); no signal or timer does
    that in a thread that is not the main one.
    """

    def check(frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > end:
            raise TookTooLong
        return None if frame.f_code.co_filename.startswith(own) else check

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
