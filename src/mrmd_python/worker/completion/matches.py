"""A completion as MRP words it, made from a name and the object behind it."""

import inspect
import re
from types import FunctionType, ModuleType
from typing import Any, Collection, Iterable, Mapping, Optional

from ..live_objects import FUNCTIONS, UNKNOWN, is_callable_in_c, is_of, is_property, type_name
from ..static import is_a

Match = dict[str, Any]

_MOST_MATCHES = 1000
_MOST_DOCUMENTED = 50
"""Beyond so many matches each has the first paragraph of its documentation only."""
_LONGEST_DOCUMENTATION = 2000
_LONGEST_PARAGRAPH = 200
_LONGEST_PREVIEW = 80
_CO_VARARGS, _CO_VARKEYWORDS = 4, 8  # Include/cpython/code.h
_CONTAINERS = (dict, list, tuple, set, frozenset, bytes, bytearray)


def match(label: str, kind: str, rank: int = 1, **filled: Optional[str]) -> Match:
    """Return a match; private names come after all others.

    Args:
        label: what is shown.
        kind: MRP's.
        rank: 0 to 9; the lower, the earlier.
        filled: MRP's other fields, as far as they are known.
    """
    name = label.lstrip("%'\"")
    private = 2 if name.startswith("__") else 1 if name.startswith("_") else 0
    fields = dict.fromkeys(("detail", "documentation", "valuePreview", "type"))
    sort_text = f"{private}{rank}{label.lower()}"
    return {"label": label, "insertText": label, "kind": kind, **fields, "sortText": sort_text, **filled}


def best(matches: Iterable[Match]) -> "list[Match]":
    """Return the first thousand by their sortText, each label once."""
    found: "dict[str, Match]" = {}
    for one in sorted(matches, key=lambda each: str(each["sortText"])):
        found.setdefault(one["label"], one)
        if len(found) == _MOST_MATCHES:
            break
    return list(found.values())


def of_attributes(
    names: Mapping[str, object], prefix: str, owner: object, submodules: Collection[str] = ()
) -> "list[Match]":
    """Return matches for those attributes of `owner` that begin with `prefix`, in any case."""
    in_module = is_a(owner, ModuleType)
    found = best(match(name, "") for name in _beginning(names, prefix))
    documented = len(found) <= _MOST_DOCUMENTED
    for one in found:
        value = names[one["label"]]
        if value is UNKNOWN and in_module:
            one["kind"] = "module" if one["label"] in submodules else "variable"
        else:
            one.update(described(one["label"], value, documented, member=not in_module))
    return found


def of_variables(names: Mapping[str, object], prefix: str, rank: int) -> "list[Match]":
    """Return matches for those global names that begin with `prefix`, in any case."""
    found = best(match(name, "", rank) for name in _beginning(names, prefix))
    documented = len(found) <= _MOST_DOCUMENTED
    for one in found:
        one.update(described(one["label"], names[one["label"]], documented, member=False))
    return found


def _beginning(names: Iterable[str], prefix: str) -> "list[str]":
    lowered = prefix.lower()
    return [name for name in names if name.lower().startswith(lowered)]


def described(name: str, value: Any, documented: bool, *, member: bool) -> Match:
    """Return the fields of a match that tell of its value.

    Args:
        name: its name.
        value: the value or, in a class, the descriptor.
        documented: whether to give more than the first paragraph of the documentation.
        member: whether it is an attribute of a class or of an object.
    """
    if value is UNKNOWN:
        return {"kind": "field"}
    bare = value.__func__ if type(value) in (staticmethod, classmethod) else value
    fields: Match = {"kind": _kind(name, bare, member), "type": type_name(bare)}
    if fields["kind"] in ("function", "method"):
        fields["detail"] = _signature(name, bare)
    elif fields["kind"] in ("variable", "field", "constant"):
        fields["valuePreview"] = preview(bare)
    text = _documentation(bare)
    if text is not None:
        fields["documentation"] = (
            inspect.cleandoc(text)[:_LONGEST_DOCUMENTATION]
            if documented
            else text.strip().partition("\n\n")[0][:_LONGEST_PARAGRAPH]
        )
    return fields


def _kind(name: str, value: Any, member: bool) -> str:
    if is_a(value, type):
        return "class"
    if type(value) in FUNCTIONS or is_callable_in_c(value):
        return "method" if member else "function"
    if is_property(value):
        return "property"
    if is_a(value, ModuleType):
        return "module"
    if name.isupper():
        return "constant"
    return "field" if member else "variable"


def _signature(name: str, function: Any) -> Optional[str]:
    """Return how a function is called, without its defaults, whose repr could be anything."""
    if type(function) is FunctionType:
        code = function.__code__
        names = list(code.co_varnames)
        positional, keyword_only = code.co_argcount, code.co_kwonlyargcount
        parameters = names[:positional]
        rest = names[positional + keyword_only :]
        if code.co_flags & _CO_VARARGS:
            parameters.append(f"*{rest.pop(0)}")
        elif keyword_only:
            parameters.append("*")
        parameters += names[positional : positional + keyword_only]
        if code.co_flags & _CO_VARKEYWORDS:
            parameters.append(f"**{rest[0]}")
        return f"{name}({', '.join(parameters)})"
    text = getattr(function, "__text_signature__", None) if type(function) in FUNCTIONS else None
    if type(text) is not str:
        return None
    return name + re.sub(r"\$(self|module|type)(, /)?(, )?", "", " ".join(text.split()))


def _documentation(value: Any) -> Optional[str]:
    if is_a(value, type):
        text = type.__dict__["__dict__"].__get__(value).get("__doc__")
    elif type(value) in FUNCTIONS or is_a(value, ModuleType) or type(value) is property or is_callable_in_c(value):
        text = getattr(value, "__doc__", None)
    else:
        return None
    return text if type(text) is str else None


def preview(value: Any) -> Optional[str]:
    """Return a few characters about a value: a scalar's repr, a container's size; None for what has no quick one."""
    cls = type(value)
    if value is None or cls in (bool, float, complex):
        return repr(value)
    if cls is int:
        bits = value.bit_length()
        return repr(value) if bits < 200 else f"an integer of {bits} bits"
    if cls is str:
        text = repr(value[:_LONGEST_PREVIEW])
        return text if len(text) <= _LONGEST_PREVIEW else f"{text[: _LONGEST_PREVIEW - 1]}…"
    if cls in _CONTAINERS:
        count = len(value)
        return f"{cls.__name__}, {count} item{'s' if count != 1 else ''}"
    if is_of(value, "numpy", "ndarray") and cls.__name__ == "ndarray":
        return f"{value.dtype.name} {value.shape}"
    if is_of(value, "pandas", "DataFrame") and cls.__name__ == "DataFrame":
        return "{} rows, {} columns".format(*value.shape)
    return None
