"""Reads the signature of a callable without running its code."""

import functools
import inspect
import re
from types import FunctionType, MethodDescriptorType, MethodType, WrapperDescriptorType
from typing import Any, Mapping, NamedTuple, Optional

from . import kinds, objects
from .objects import class_attribute, is_instance, type_in
from .render import text

_KINDS = inspect.Parameter
_MAX_DEPTH = 20
_MAX_LENGTH = 300
_MAX_VALUE_LENGTH = 60
_UNBOUND_IN_C = objects.type_ids(MethodDescriptorType, WrapperDescriptorType)
_CO_VARARGS, _CO_VARKEYWORDS = 4, 8  # Include/cpython/code.h
# The bound parameter of a function in C: https://docs.python.org/3/howto/clinic.html
_BOUND_IN_C = re.compile(r"\$\w+(, /)?(, )?")


class Signature(NamedTuple):
    """A signature. inspect.Signature takes ten times as long to create."""

    # The parameters as written, without defaults and annotations: ["a", "/", "b", "*", "c", "**rest"].
    layout: "list[str]"
    defaults: "Mapping[str, Any]"
    annotations: "Mapping[str, Any]"  # including "return"

    @property
    def keywords(self) -> "list[str]":
        """The parameters that can be passed by keyword."""
        start = self.layout.index("/") + 1 if "/" in self.layout else 0
        return [name for name in self.layout[start:] if not name.startswith("*")]


NO_PARAMETERS = Signature([], {}, {})


def of(value: Any) -> Optional[Signature]:
    """Return the signature of a callable, or None if it has none or is not callable."""
    try:
        return _of_any(value, 0)
    except (ValueError, TypeError):  # a function in C without a signature
        return None


def full_text(value: Any) -> Optional[str]:
    """Return ``(a, b=1)``, with defaults and annotations, or None if there is no signature."""
    text_in_c = _c_text(value)
    if text_in_c is not None:
        return text_in_c
    signature = of(value)
    if signature is None:
        return None
    annotations = signature.annotations
    returned = f" -> {_annotation(annotations['return'])}" if "return" in annotations else ""
    written = f"({', '.join(_with_default(signature, each) for each in signature.layout)}){returned}"
    return written if len(written) <= _MAX_LENGTH else f"{written[: _MAX_LENGTH - 1]}…"


def short_text(value: Any) -> Optional[str]:
    """Return ``(a, b)`` for a function, or None if there is no signature. Much faster than `full_text`."""
    if type_in(value, objects.FUNCTIONS_IN_C):
        return _c_text(value)
    signature = of(value) if type_in(value, objects.FUNCTIONS) else None
    return None if signature is None else f"({', '.join(signature.layout)})"


def _c_text(value: Any) -> Optional[str]:
    """Return the `__text_signature__` of a function in C, without what is bound."""
    if not type_in(value, objects.FUNCTIONS_IN_C):
        return None
    written = value.__text_signature__
    if type(written) is not str:
        return None
    written = " ".join(written.split())
    if type_in(value, _UNBOUND_IN_C):
        return written.replace("$", "")
    return _BOUND_IN_C.sub("", written)


def _of_any(value: Any, depth: int) -> Optional[Signature]:
    if depth > _MAX_DEPTH:
        return None
    kind = type(value)
    if kind is MethodType:
        return _without_first(_of_any(value.__func__, depth + 1))
    value = kinds.undecorated(value)
    if type(value) is FunctionType:
        return _of_function(value)
    if kinds.unwrapped(value) is not value:
        return _of_any(value.__func__, depth + 1)
    if is_instance(value, type):
        return _of_class(value, depth)
    if is_instance(value, functools.partial):
        return _of_any(functools.partial.func.__get__(value), depth + 1)
    if type_in(value, objects.FUNCTIONS_IN_C) or objects.is_callable_in_c(value):
        return _from_inspect(inspect.signature(value))
    call = class_attribute(kind, "__call__")
    return _without_first(_of_any(call, depth + 1)) if type(call) is FunctionType else None


def _of_function(function: FunctionType) -> Signature:
    own = function.__dict__.get("__signature__")
    if type(own) is inspect.Signature:
        return _from_inspect(own)
    code, names = function.__code__, function.__code__.co_varnames
    count = code.co_argcount
    end = count + code.co_kwonlyargcount
    rest = end + bool(code.co_flags & _CO_VARARGS)
    layout = list(names[:count])
    if code.co_posonlyargcount:
        layout.insert(code.co_posonlyargcount, "/")
    if rest > end or end > count:
        layout.append(f"*{names[end]}" if rest > end else "*")
    layout += names[count:end]
    if code.co_flags & _CO_VARKEYWORDS:
        layout.append(f"**{names[rest]}")
    defaults = function.__defaults__ or ()
    by_name = dict(zip(names[count - len(defaults) : count], defaults))
    return Signature(layout, {**by_name, **(function.__kwdefaults__ or {})}, function.__annotations__)


def _of_class(cls: type, depth: int) -> Optional[Signature]:
    for name in ("__init__", "__new__"):
        maker = class_attribute(cls, name)
        inner = kinds.unwrapped(maker)
        if type(inner) is FunctionType:
            return _without_first(_of_any(inner, depth + 1))
    if "__module__" not in objects.class_dict(cls):  # only in classes of Python itself
        return _from_inspect(inspect.signature(cls))
    is_built_in_c = any(class_attribute(cls, name) is not object.__dict__[name] for name in ("__init__", "__new__"))
    return None if is_built_in_c else NO_PARAMETERS


def _without_first(signature: Optional[Signature]) -> Optional[Signature]:
    """Return a signature without its first parameter, which the instance or class fills."""
    if signature is None or not signature.layout or signature.layout[0].startswith("*"):
        return signature
    layout = signature.layout[1:]
    return signature._replace(layout=layout[1:] if layout[:1] == ["/"] else layout)


def _from_inspect(signature: inspect.Signature) -> Signature:
    layout: "list[str]" = []
    defaults, annotations = {}, {}
    before = None
    for parameter in signature.parameters.values():
        kind = parameter.kind
        if before is _KINDS.POSITIONAL_ONLY and kind is not before:
            layout.append("/")
        if kind is _KINDS.KEYWORD_ONLY and before not in (_KINDS.KEYWORD_ONLY, _KINDS.VAR_POSITIONAL):
            layout.append("*")
        stars = "*" if kind is _KINDS.VAR_POSITIONAL else "**" if kind is _KINDS.VAR_KEYWORD else ""
        layout.append(stars + parameter.name)
        before = kind
        if parameter.default is not _KINDS.empty:
            defaults[parameter.name] = parameter.default
        if parameter.annotation is not _KINDS.empty:
            annotations[parameter.name] = parameter.annotation
    if before is _KINDS.POSITIONAL_ONLY:
        layout.append("/")
    if signature.return_annotation is not _KINDS.empty:
        annotations["return"] = signature.return_annotation
    return Signature(layout, defaults, annotations)


def _with_default(signature: Signature, written: str) -> str:
    # Defaults and annotations are rendered as short text: their repr could run any code.
    name = written.lstrip("*")
    annotated = name in signature.annotations
    if annotated:
        written += f": {_annotation(signature.annotations[name])}"
    if name in signature.defaults:
        written += f"{' = ' if annotated else '='}{text(signature.defaults[name], _MAX_VALUE_LENGTH)[0]}"
    return written


def _annotation(annotation: Any) -> str:
    if is_instance(annotation, str):
        return str.__str__(annotation)
    if is_instance(annotation, type):
        return objects.full_name(annotation)
    module = objects.class_dict(type(annotation)).get("__module__")
    # The repr of typing's objects is safe, except for classes in them whose metaclass defines __repr__.
    is_known = module in ("typing", "types")
    return repr(annotation).replace("typing.", "") if is_known else text(annotation, _MAX_VALUE_LENGTH)[0]
