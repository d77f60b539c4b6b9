"""Files and folders, as strings and commands name them."""

import os
from itertools import islice

from .matches import Match, match

_MOST_ENTRIES = 10_000


def folder_length(typed: str) -> int:
    """Return how much of a path that is being typed is its folder, which stays as it is."""
    return typed.rfind("/") + 1


def matches(typed: str) -> "list[Match]":
    """Return matches for the last part of a path; hidden files only if its dot is there."""
    folder, beginning = typed[: folder_length(typed)], typed[folder_length(typed) :]
    found = []
    try:
        with os.scandir(os.path.expanduser(folder) or os.curdir) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                if entry.name.startswith(beginning) and (beginning or not entry.name.startswith(".")):
                    is_folder = entry.is_dir()
                    label = f"{entry.name}/" if is_folder else entry.name
                    found.append(match(label, "value", type="folder" if is_folder else "file"))
    except (OSError, ValueError):  # there is no such folder; a path has no NUL
        return []
    return found
