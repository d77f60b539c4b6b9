"""Names that need no session to be known."""

import builtins
import keyword

from .cell_names import bound_names
from .matches import Match, match, of_variables

_CONSTANTS = ("False", "None", "True")


def of_code(code: str, word: str) -> "list[Match]":
    """Return matches for the names that `code` binds and that begin with `word`, in any case."""
    lowered = word.lower()
    return [match(name, kind) for name, kind in bound_names(code).items() if name.lower().startswith(lowered)]


def of_language(word: str) -> "list[Match]":
    """Return matches for the keywords and built-in names that begin with `word`, in any case."""
    lowered = word.lower()
    keywords = [
        match(name, "constant" if name in _CONSTANTS else "keyword", 2)
        for name in keyword.kwlist
        if name.lower().startswith(lowered)
    ]
    return [*keywords, *of_variables(vars(builtins), word, 3)]
