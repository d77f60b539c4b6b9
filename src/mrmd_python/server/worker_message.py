"""What a worker may say. A cell can write to its worker's socket itself, so each message is checked as it comes."""

import json
from collections.abc import Mapping
from typing import Any

Message = dict[str, Any]

_MAYBE_TEXT = (str, type(None))
_MAYBE_OBJECT = (dict, type(None))
_FIELDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "hello": {"pythonVersion": (str,)},
    "fallback": {"pythonVersion": (list,)},
    "failed": {"message": (str,)},
    "running": {},
    "done": {"success": (bool,), "variables": (int,)},
    "display": {"data": (dict,), "metadata": (dict,)},
    "clear_output": {"wait": (bool,)},
    "stdin_request": {"number": (int,), "prompt": (str,), "password": (bool,)},
    "stdin_over": {},
    "ready": {},
    "answer": {"answer": _MAYBE_OBJECT},
}
"""Of each `op`: the fields that must be there, and their types."""
_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "mark": (int,),
    "displayId": (str,),
    "update": (bool,),
    "executionCount": (int,),
    "duration": (int, float),
    "result": _MAYBE_TEXT,
    "error": _MAYBE_OBJECT,
    "rich": _MAYBE_OBJECT,
    "imports": (list,),
    "nextInput": (str,),
}
"""Fields that may be there, and their types."""


def parse(data: bytes | bytearray) -> Message:
    """Return a message.

    Raises:
        ValueError: it is none.
    """
    try:
        message: Any = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    required = _FIELDS.get(message["op"]) if isinstance(message, dict) and isinstance(message.get("op"), str) else None
    if required is None:
        raise ValueError("it is no message")
    optional = {name: kinds for name, kinds in _OPTIONAL.items() if name in message}
    for name, kinds in {**required, **optional}.items():
        if name not in message or not isinstance(message[name], kinds):
            raise ValueError(f"its {name!r} is missing or of the wrong type")
    rich = message.get("rich")
    if rich is not None and not (isinstance(rich.get("data"), dict) and isinstance(rich.get("metadata"), dict)):
        raise ValueError("its 'rich' has no data or no metadata")
    found: Message = message
    return found
