"""Limits the text in a cell's outcome: the output has all of it, and the server keeps many outcomes."""

from typing import Any

# As for MRP's `accumulated`: text of up to LIMIT characters is kept whole, of longer text the first and last PART.
LIMIT = 256 * 1024
PART = 32 * 1024


def limit_outcome(outcome: "dict[str, Any]") -> "dict[str, Any]":
    """Return an outcome with its result and its error's texts shortened."""
    limited = {**outcome, "result": limit_text(outcome["result"])}
    error = outcome["error"]
    if error is not None:
        tracebacks = {name: _limit_lines(error[name]) for name in ("traceback", "ansiTraceback") if name in error}
        limited["error"] = {**error, "message": limit_text(error["message"]), **tracebacks}
    return limited


def limit_text(text: Any) -> Any:
    """Return the ends of a long text around a line that says how much is left out; anything else unchanged."""
    if not isinstance(text, str) or len(text) <= LIMIT:
        return text
    left_out = len(text) - 2 * PART
    return f"{text[:PART]}\n[mrmd-python: {left_out} characters are left out here]\n{text[-PART:]}"


def _limit_lines(lines: "list[str]") -> "list[str]":
    if sum(len(line) + 1 for line in lines) <= LIMIT:
        return lines
    return str(limit_text("\n".join(lines))).split("\n")
