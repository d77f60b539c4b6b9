"""Keys, columns and fields in the brackets behind an object."""

from typing import Any, Mapping, Optional

from ..idle_calls import IdleCalls
from ..live_objects import labels, own_keys, type_name
from .cell_names import current_value
from .cell_text import Path, path_before
from .matches import Match, match

_BY_LABEL = ((".", "loc"), (".", "at"))
_SCALARS = (str, bytes, int, float, bool, type(None))
_LONGEST_LABEL = 200


def labels_at(
    namespace: "Mapping[str, Any]", idle_calls: IdleCalls, before: str, brackets: "tuple[int, ...]"
) -> "Optional[list[object]]":
    """Return what can be said behind `before`; None if that is no subscript of a known object.

    Args:
        namespace: the globals.
        idle_calls: asks an object for its keys, if the session is idle.
        before: the cell up to the key that is being typed.
        brackets: where the brackets are that are open there.
    """
    if not brackets or before[brackets[-1]] != "[" or not before.rstrip().endswith(("[", ",")):
        return None
    owner = before[: brackets[-1]].rstrip()
    if owner.endswith(("[", ",")) and len(brackets) > 1 and before[brackets[-2]] == "[":
        owner = before[: brackets[-2]]  # a list of columns
    path = path_before(owner)
    if path is None:
        return None
    if path.steps[-1:] and path.steps[-1] in _BY_LABEL:
        path = Path(path.root, path.steps[:-1])
    try:
        value = current_value(path, owner, namespace)
        found = labels(value) or idle_calls.results(own_keys(value))
    except Exception:  # unknown, or the code of a library that tells its keys
        return None
    return [label for label in found if type(label) in _SCALARS or _is_pair(label)]


def _is_pair(label: Any) -> bool:
    return type(label) is tuple and all(type(part) in _SCALARS for part in label)


def in_quotes(found: "list[object]", typed: str, quote: str) -> "list[Match]":
    """Return matches for the labels that are strings, within the quotes that stand already."""
    matches = []
    for label in found:
        if type(label) is str and label.startswith(typed) and len(label) <= _LONGEST_LABEL:
            written = label.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
            matches.append(match(label, "field", 0, insertText=written, type="str"))
    return matches


def in_brackets(found: "list[object]", typed: str) -> "list[Match]":
    """Return matches for all labels, written out."""
    written = ((repr(label), label) for label in found)
    return [
        match(text, "field", 0, type=type_name(label))
        for text, label in written
        if text.startswith(typed) and len(text) <= _LONGEST_LABEL
    ]
