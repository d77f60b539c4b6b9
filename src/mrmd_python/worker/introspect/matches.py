"""A completion as MRP words it."""

import keyword
from typing import Any, Iterable, Mapping, Optional

Match = dict[str, Any]

_MOST_MATCHES = 1000
_SIGNS = "%'\""  # which may stand before a name
_CONSTANTS = ("False", "None", "True")


def match(label: str, kind: str, rank: int = 1, **filled: Optional[str]) -> Match:
    """Return a match; private names come after all others.

    Args:
        label: what is shown.
        kind: MRP's.
        rank: 0 to 9; the lower, the earlier.
        filled: MRP's other fields, as far as they are known.
    """
    return {
        "label": label,
        "insertText": label,
        "kind": kind,
        "detail": None,
        "documentation": None,
        "valuePreview": None,
        "type": None,
        "sortText": f"{_privacy(label.lstrip(_SIGNS))}{rank}{label.lower()}",
        **filled,
    }


def _privacy(name: str) -> int:
    return 2 if name.startswith("__") else 1 if name.startswith("_") else 0


def best_names(names: "Iterable[str]", prefix: str) -> "list[str]":
    """Return the first thousand, as `best` orders them, of the names that begin with a prefix."""
    lowered = prefix.lower()
    found = sorted((name for name in names if name.lower().startswith(lowered)), key=str.lower)
    return sorted(found, key=_privacy)[:_MOST_MATCHES]


def best(matches: "Iterable[Match]") -> "list[Match]":
    """Return the first thousand by their sortText, each label once."""
    found: "dict[str, Match]" = {}
    for one in sorted(matches, key=lambda each: str(each["sortText"])):
        found.setdefault(one["label"], one)
        if len(found) == _MOST_MATCHES:
            break
    return list(found.values())


def begins(name: str, prefix: str) -> bool:
    """Return whether a name begins with a prefix, in any case."""
    return name.lower().startswith(prefix.lower())


def of_names(kinds: "Mapping[str, str]", prefix: str, rank: int = 1) -> "list[Match]":
    """Return matches for those names that begin with a prefix; each name comes with MRP's kind of it."""
    return [match(name, kind, rank) for name, kind in kinds.items() if begins(name, prefix)]


def of_keywords(prefix: str) -> "list[Match]":
    """Return matches for the keywords that begin with a prefix."""
    return of_names({name: "constant" if name in _CONSTANTS else "keyword" for name in keyword.kwlist}, prefix, 2)
