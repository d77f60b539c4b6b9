"""MRP's completion matches."""

import keyword
from typing import Any, Iterable, Mapping, Optional

Match = dict[str, Any]

_MAX_MATCHES = 1000
_PREFIX_CHARACTERS = "%'\""  # may come before a name
_CONSTANTS = ("False", "None", "True")


def match(label: str, kind: str, rank: int = 1, **fields: Optional[str]) -> Match:
    """Return a match. Private names are sorted after all others.

    Args:
        label: the displayed text.
        kind: MRP's kind.
        rank: 0 to 9; lower ranks come first.
        fields: MRP's other fields, where known.
    """
    return {
        "label": label,
        "insertText": label,
        "kind": kind,
        "detail": None,
        "documentation": None,
        "valuePreview": None,
        "type": None,
        "sortText": f"{_privacy_rank(label.lstrip(_PREFIX_CHARACTERS))}{rank}{label.lower()}",
        **fields,
    }


def _privacy_rank(name: str) -> int:
    return 2 if name.startswith("__") else 1 if name.startswith("_") else 0


def best_names(names: "Iterable[str]", prefix: str) -> "list[str]":
    """Return the names that begin with a prefix: the first thousand, in the order of `best`."""
    lowered = prefix.lower()
    found = sorted((name for name in names if name.lower().startswith(lowered)), key=str.lower)
    return sorted(found, key=_privacy_rank)[:_MAX_MATCHES]


def best(matches: "Iterable[Match]") -> "list[Match]":
    """Return the first thousand matches by sortText, each label once."""
    found: "dict[str, Match]" = {}
    for one in sorted(matches, key=lambda each: str(each["sortText"])):
        found.setdefault(one["label"], one)
        if len(found) == _MAX_MATCHES:
            break
    return list(found.values())


def has_prefix(name: str, prefix: str) -> bool:
    """Return whether a name begins with a prefix, ignoring case."""
    return name.lower().startswith(prefix.lower())


def of_names(kinds: "Mapping[str, str]", prefix: str, rank: int = 1) -> "list[Match]":
    """Return matches for the names that begin with a prefix; `kinds` maps names to MRP's kinds."""
    return [match(name, kind, rank) for name, kind in kinds.items() if has_prefix(name, prefix)]


def of_keywords(prefix: str) -> "list[Match]":
    """Return matches for the keywords that begin with a prefix."""
    return of_names({name: "constant" if name in _CONSTANTS else "keyword" for name in keyword.kwlist}, prefix, 2)
