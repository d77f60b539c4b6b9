"""The signature of a callable as text, without running code of its own."""

import functools
import inspect
import types
from typing import Any, Optional

from . import static
from .text import text

_LONGEST = 300
_DEEPEST = 20
_IN_C = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
)


def of(value: Any) -> Optional[str]:
    """Return ``(a, b=1)`` and so on for a callable that shows its parameters, None for anything else."""
    try:
        return _written_within(_signature(value, 0))
    except (ValueError, TypeError, static.NotStoredError):  # written in C without a signature, or not callable
        return None


def of_method(function: Any) -> Optional[str]:
    """Return the signature of a function as that of a method, less the parameter that the instance fills."""
    try:
        return _written_within(_bound(_signature(function, 0)))
    except (ValueError, TypeError, static.NotStoredError):
        return None


def _signature(value: Any, depth: int) -> "Optional[inspect.Signature]":
    if depth > _DEEPEST:
        return None
    kind = type(value)
    if kind is types.FunctionType:
        return _of_function(value)
    if kind is types.MethodType:
        return _bound(_signature(value.__func__, depth + 1))
    if any(kind is cls for cls in _IN_C):
        return inspect.signature(value)
    if kind in (staticmethod, classmethod):
        inner = _signature(value.__func__, depth + 1)
        return inner if kind is staticmethod else _bound(inner)
    if static.is_a(value, functools.partial):
        return _signature(functools.partial.func.__get__(value), depth + 1)
    if static.is_a(value, type):
        return _of_class(value, depth)
    call = static.defined(kind, "__call__")
    return _bound(_signature(call, depth + 1)) if type(call) is types.FunctionType else None


def _of_function(function: "types.FunctionType") -> "inspect.Signature":
    function = static.undecorated(function)
    own = function.__dict__.get("__signature__")
    return own if type(own) is inspect.Signature else inspect.signature(function, follow_wrapped=False)


def _of_class(cls: type, depth: int) -> "Optional[inspect.Signature]":
    for name in ("__init__", "__new__"):
        maker = static.defined(cls, name)
        inner = maker.__func__ if type(maker) is staticmethod else maker
        if type(inner) is types.FunctionType:
            return _bound(_signature(inner, depth + 1))
    if "__module__" not in static.class_dict(cls):  # as only classes of Python itself
        return inspect.signature(cls)
    makes_itself = any(static.defined(cls, name) is not object.__dict__[name] for name in ("__init__", "__new__"))
    return None if makes_itself else inspect.Signature()


def _bound(signature: "Optional[inspect.Signature]") -> "Optional[inspect.Signature]":
    """Return a signature less its first parameter, which the instance or the class fills."""
    if signature is None:
        return None
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _written_within(signature: "Optional[inspect.Signature]") -> Optional[str]:
    if signature is None:
        return None
    written = _written(signature)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 1]}…"


def _written(signature: "inspect.Signature") -> str:
    """Return it as Python writes it, but with the short text of defaults and annotations in place of their repr."""
    pieces: "list[str]" = []
    kinds = inspect.Parameter
    before = None
    for parameter in signature.parameters.values():
        if before is kinds.POSITIONAL_ONLY and parameter.kind is not kinds.POSITIONAL_ONLY:
            pieces.append("/")
        if parameter.kind is kinds.KEYWORD_ONLY and before not in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL):
            pieces.append("*")
        pieces.append(_parameter(parameter))
        before = parameter.kind
    if before is kinds.POSITIONAL_ONLY:
        pieces.append("/")
    returned = signature.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {_annotation(returned)}"
    return f"({', '.join(pieces)}){arrow}"


def _parameter(parameter: "inspect.Parameter") -> str:
    stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
    annotated = parameter.annotation is not inspect.Parameter.empty
    written: str = stars + parameter.name + (f": {_annotation(parameter.annotation)}" if annotated else "")
    if parameter.default is not inspect.Parameter.empty:
        written += f"{' = ' if annotated else '='}{text(parameter.default, 60)[0]}"
    return written


def _annotation(annotation: Any) -> str:
    if static.is_a(annotation, str):
        return str.__str__(annotation)
    if static.is_a(annotation, type):
        return static.full_name(annotation)
    module = static.class_dict(type(annotation)).get("__module__")
    # What typing makes writes itself and the classes in it, which have a __repr__ of theirs only by a metaclass.
    return repr(annotation).replace("typing.", "") if module in ("typing", "types") else text(annotation, 60)[0]
