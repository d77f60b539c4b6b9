"""Short text for any object, which runs no code of the object's and takes no longer for a large one."""

import collections
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import types
import uuid
import zoneinfo
from itertools import islice
from typing import Any, Mapping, Tuple

from . import libraries, static
from .writer import FullError, Write, Writer

_LONGEST_INTEGER = 1000
"""In bits; a longer one takes quadratic time to be written in decimal."""
_MOST_ATTRIBUTES = 100
_ZONES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)
"""Of time: those whose repr is known."""


def text(value: object, limit: int) -> "Tuple[str, bool]":
    """Return an object as text of at most `limit` characters, and whether that is all of it."""
    writer = Writer(limit, _writer_of)
    try:
        writer.write(value)
    except FullError:
        return "".join(writer.pieces)[: max(0, limit - 1)] + "…", False
    return "".join(writer.pieces), not writer.has_left_out


def is_told_whole(value: object) -> bool:
    """Return whether an object is of a class of Python's own of which the text says all."""
    return id(type(value)) in _EXACT


def _string(writer: Writer, value: Any) -> None:
    kind = str if static.is_a(value, str) else bytes if static.is_a(value, bytes) else bytearray
    writer.put(repr(kind.__getitem__(value, slice(0, writer.room + 1))))


def _integer(writer: Writer, value: Any) -> None:
    bits = int.bit_length(value)
    writer.put(int.__repr__(value) if bits <= _LONGEST_INTEGER else f"<int of {bits} bits>")


def _floating(writer: Writer, value: Any) -> None:
    writer.put(float.__repr__(value))


def _plain(writer: Writer, value: Any) -> None:
    writer.put(repr(value))


def _range(writer: Writer, value: "range") -> None:
    writer.write_all("range(", [value.start, value.stop, value.step][: 2 if value.step == 1 else 3], ")")


def _slice(writer: Writer, value: "slice") -> None:
    writer.write_all("slice(", (value.start, value.stop, value.step), ")")


def _fraction(writer: Writer, value: "fractions.Fraction") -> None:
    writer.write_all("Fraction(", (value.numerator, value.denominator), ")")


def _moment(writer: Writer, value: Any) -> None:
    # The repr of a moment has that of its zone in it.
    writer.put(repr(value if any(type(value.tzinfo) is zone for zone in _ZONES) else value.replace(tzinfo=None)))


def _memory(writer: Writer, value: memoryview) -> None:
    writer.put(f"<memory of {value.nbytes} bytes>")


def _list(writer: Writer, value: Any) -> None:
    name = "" if type(value) is list else static.class_name(type(value))
    writer.write_all(f"{name}([" if name else "[", list.__iter__(value), "])" if name else "]")


def _tuple(writer: Writer, value: Any) -> None:
    length = tuple.__len__(value)
    name = "" if type(value) is tuple else static.class_name(type(value))
    fields = static.class_dict(type(value)).get("_fields") if name else None  # of a named tuple
    if type(fields) is tuple and len(fields) == length:
        writer.write_named(f"{name}(", zip(fields, tuple.__iter__(value)), ")")
    else:
        end = ",)" if length == 1 else ")"
        writer.write_all(f"{name}((" if name else "(", tuple.__iter__(value), f"{end})" if name else end)


def _set(writer: Writer, value: Any) -> None:
    kind: Any = set if static.is_a(value, set) else frozenset
    start, end = ("{", "}") if kind.__len__(value) else ("", "")
    if type(value) is not set or not start:
        start, end = f"{static.class_name(type(value))}({start}", f"{end})"
    writer.write_all(start, kind.__iter__(value), end)


def _deque(writer: Writer, value: Any) -> None:
    writer.write_all(f"{static.class_name(type(value))}([", collections.deque.__iter__(value), "])")


def _dict(writer: Writer, value: Any) -> None:
    name = "" if type(value) is dict else static.class_name(type(value))
    writer.put(f"{name}({{" if name else "{")
    for number, (key, item) in enumerate(dict.items(value)):
        if number:
            writer.put(", ")
        writer.write(key)
        writer.put(": ")
        writer.write(item)
    writer.put("})" if name else "}")


def _module(writer: Writer, value: object) -> None:
    own = static.instance_dict(value)
    name, file = own.get("__name__"), own.get("__file__")
    writer.put(f"<module {name!r}" if type(name) is str else "<module")
    writer.put(f" from {file!r}>" if type(file) is str else ">")


def _function(writer: Writer, value: types.FunctionType) -> None:
    writer.put(f"<function {value.__qualname__.rpartition('<locals>.')[2]}>")


def _method(writer: Writer, value: types.MethodType) -> None:
    function = value.__func__
    name = function.__name__ if type(function) is types.FunctionType else "?"
    writer.put(f"<method {name} of {static.full_name(type(value.__self__))} object>")


def _class(writer: Writer, value: type) -> None:
    writer.put(f"<class {static.full_name(value)!r}>")


def _running(writer: Writer, value: Any) -> None:
    code = next(getattr(value, name) for name in ("gi_code", "cr_code", "ag_code") if hasattr(value, name))
    writer.put(f"<{static.class_name(type(value))} {code.co_name}>")


def _member(writer: Writer, value: object) -> None:
    stored = static.instance_dict(value)
    writer.put(f"<{static.class_name(type(value))}.{stored['_name_']}: ")
    writer.write(stored["_value_"])
    writer.put(">")


def _exception(writer: Writer, value: object) -> None:
    arguments = static.class_dict(BaseException)["args"].__get__(value)
    writer.write_all(f"{static.class_name(type(value))}(", arguments, ")")


def _any(writer: Writer, value: object) -> None:
    told = libraries.metadata(value)
    if told is not None:
        _library_object(writer, value, told)
    elif libraries.is_scalar(value):
        writer.put(str(value))
    else:
        _instance(writer, value)


def _library_object(writer: Writer, value: object, told: libraries.Metadata) -> None:
    elements = told.elements
    what = f"{static.class_name(type(value))} {told.label}"
    if elements is None or elements.labels is not None:
        writer.put(f"<{what}>")
    else:
        start = f"{what} [" if writer.depth == 1 else "["
        writer.write_all(start, (elements.get(position) for position in range(elements.length)), "]")


def _instance(writer: Writer, value: object) -> None:
    """Write an object of a class that is not known here, by what it stores."""
    stored = dict(islice(static.attributes(value), _MOST_ATTRIBUTES))
    fields = _declared_fields(type(value))
    if fields:
        shown = ((name, stored[name]) for name in fields if name in stored)
        writer.write_named(f"{static.class_name(type(value))}(", shown, ")")
        return
    public = [(name, item) for name, item in stored.items() if not name.startswith("_")]
    what = f"<{static.full_name(type(value))} object"
    if writer.depth == 1 and public:
        writer.write_named(f"{what}: ", public, ">")
    else:
        writer.put(f"{what}>")


def _declared_fields(cls: type) -> "list[str]":
    """Return the names of the fields that a dataclass, an attrs class or a pydantic model declares."""
    for mark in ("__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__"):
        try:
            declared = static.defined(cls, mark)
        except static.NotStoredError:
            continue
        if type(declared) is dict:
            return [name for name in declared if type(name) is str]
        if static.is_a(declared, tuple):
            return [static.fetch(field, "name") for field in tuple.__iter__(declared)]
    return []


def _writer_of(value: object) -> Write:
    cls = type(value)
    exact = _EXACT.get(id(cls))
    if exact is not None:
        return exact
    if static.is_below(type(cls), enum.EnumMeta):
        return _member
    for base in static.mro(cls):
        found = _WITH_SUBCLASSES.get(id(base))
        if found is not None:
            return found
    return _any


def _by_identity(writers: "Mapping[Write, Tuple[type, ...]]") -> "Mapping[int, Write]":
    # By id: a class may have a metaclass with a __hash__ of its own.
    return {id(cls): writer for writer, classes in writers.items() for cls in classes}


_EXACT = _by_identity(
    {
        _plain: (
            *(bool, complex, type(None), type(Ellipsis), type(NotImplemented), re.Pattern, decimal.Decimal),
            *(datetime.date, datetime.timedelta, datetime.timezone, zoneinfo.ZoneInfo, uuid.UUID),
            *(pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())),
            *(types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType),
            *(types.MethodDescriptorType, types.ClassMethodDescriptorType),
        ),
        _range: (range,),
        _slice: (slice,),
        _moment: (datetime.datetime, datetime.time),
        _fraction: (fractions.Fraction,),
        _memory: (memoryview,),
        _function: (types.FunctionType,),
        _method: (types.MethodType,),
        _running: (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType),
    }
)
"""What looks so only in instances of the very class."""
_WITH_SUBCLASSES = _by_identity(
    {
        _string: (str, bytes, bytearray),
        _integer: (int,),
        _floating: (float,),
        _list: (list,),
        _tuple: (tuple,),
        _set: (set, frozenset),
        _deque: (collections.deque,),
        _dict: (dict,),
        _module: (types.ModuleType,),
        _class: (type,),
        _exception: (BaseException,),
    }
)
"""What is read through the built-in class whatever a subclass has made of it."""
