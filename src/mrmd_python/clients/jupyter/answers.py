"""The runtime's answers to queries, as Jupyter's replies.

https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrmd_python.server.api.code import Completeness, Completion, HistoryEntry
    from mrmd_python.server.api.introspection import Inspection

# A runtime has one history. Front ends number the histories of kernels.
HISTORY_NUMBER = 1


def completion(found: Completion | None, cursor: int) -> dict[str, Any]:
    """Return the reply to a request for completions at a cursor."""
    start, end = (cursor, cursor) if found is None else (found["cursorStart"], found["cursorEnd"])
    matches = [] if found is None else found["matches"]
    types = [
        {"start": start, "end": end, "text": match["insertText"], "type": match["kind"], "signature": match["detail"]}
        for match in matches
    ]
    return {
        "status": "ok",
        "matches": [match["insertText"] for match in matches],
        "cursor_start": start,
        "cursor_end": end,
        # What IPython calls it, and front ends read: the symbols beside the matches.
        "metadata": {"_jupyter_types_experimental": types},
    }


def inspection(found: Inspection | None) -> dict[str, Any]:
    """Return the reply to a request to describe an object."""
    if found is None or not found["found"]:
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}
    return {"status": "ok", "found": True, "data": {"text/plain": description(found)}, "metadata": {}}


def description(found: Inspection) -> str:
    """Return what is known of an object, as text."""
    signature = found["signature"] and f"{found['name']}{found['signature']}"
    fields = {
        "Signature": signature,
        "Type": found["type"],
        "Value": None if signature else found["value"],
        "File": found["file"],
    }
    lines = [f"{f'{heading}:':<11}{text}" for heading, text in fields.items() if text]
    texts = {"Source": found["sourceCode"], "Docstring": found["docstring"]}
    return "\n".join([*lines, *(f"{heading}:\n{text}" for heading, text in texts.items() if text)])


def completeness(found: Completeness | None) -> dict[str, Any]:
    """Return the reply to the question whether code is complete."""
    if found is None:
        return {"status": "unknown"}
    indent = {"indent": found["indent"]} if found["status"] == "incomplete" else {}
    return {"status": found["status"], **indent}


def history(entries: Sequence[HistoryEntry], *, output: bool) -> dict[str, Any]:
    """Return the reply to a request for history; with `output`, of pairs, as the runtime keeps no output."""
    found = [
        (HISTORY_NUMBER, each["historyIndex"], (each["code"], None) if output else each["code"]) for each in entries
    ]
    return {"status": "ok", "history": found}
