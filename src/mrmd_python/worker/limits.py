"""Limits the text in a cell's outcome: the output has all of it, and the server keeps many outcomes."""

from typing import Any

# As for MRP's `accumulated`: text of up to LIMIT characters is kept whole, of longer text the first and last PART.
LIMIT = 256 * 1024
PART = 32 * 1024


def limit_outcome(outcome: "dict[str, Any]") -> "dict[str, Any]":
    """Return an outcome with its result and its error's texts shortened."""
    limited = {**outcome, "result": limit_text(outcome["result"])}
    rich, error = outcome["rich"], outcome["error"]
    if rich is not None:
        data = {mime: limit_text(value) if mime == "text/plain" else value for mime, value in rich["data"].items()}
        limited["rich"] = {**rich, "data": data}
    if error is not None:
        traceback = _limit_lines(error["traceback"])
        limited["error"] = {**error, "message": limit_text(error["message"]), "traceback": traceback}
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
