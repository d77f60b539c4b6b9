"""Renders any object as short text, without running its code and in bounded time."""

import collections
import datetime
import enum
import pathlib
import re
import types
from itertools import islice
from typing import Any, Callable, Iterable, Mapping, Tuple

from . import libraries, objects

_MAX_DEPTH = 6
_SHORT_INTEGERS = 10**18
_MAX_INTEGER_BITS = 1000  # converting to decimal takes quadratic time
_MAX_ATTRIBUTES = 100
# Time zones whose repr runs no user code, besides ZoneInfo.
_TIME_ZONES = objects.type_ids(type(None), datetime.timezone)

Write = Callable[["Writer", Any], None]


def is_leaf(value: Any) -> bool:
    """Return whether a value's repr() is quick, short and Python's own."""
    kind = type(value)
    return (
        (kind is int and -_SHORT_INTEGERS < value < _SHORT_INTEGERS) or kind is float or kind is bool or value is None
    )


class LimitReachedError(Exception):
    """The text has reached its limit."""


class Writer:
    """Builds the text."""

    def __init__(self, room: int, writer_of: "Callable[[object], Write]") -> None:
        self.pieces: "list[str]" = []
        self.truncated = False  # whether something was nested too deeply or could not be read
        self.room = room  # the number of characters left
        self._writer_for = writer_of
        # By class, with the class, so that its id is not reused: most containers have many values of few classes.
        self._writers: "dict[int, Tuple[type, Write]]" = {}
        self._open: "list[object]" = []  # the containers being written, outermost first

    @property
    def depth(self) -> int:
        """The number of nested objects being written."""
        return len(self._open)

    def put(self, piece: str) -> None:
        """Add text.

        Raises:
            LimitReachedError: the text is too long.
        """
        self.pieces.append(piece)
        self.room -= len(piece)
        if self.room < 0:
            raise LimitReachedError

    def write(self, value: object) -> None:
        """Add an object."""
        depth = len(self._open)
        if depth < _MAX_DEPTH and is_leaf(value):  # for speed: most values are
            self.put(repr(value))
            return
        if depth >= _MAX_DEPTH or self._is_open(value):
            self.truncated = True
            self.put("...")
            return
        self._open.append(value)
        cls = type(value)
        try:
            if id(cls) not in self._writers:
                self._writers[id(cls)] = cls, self._writer_for(value)
            self._writers[id(cls)][1](self, value)
        except LimitReachedError:
            raise
        except Exception:  # the object is half-initialized, or changed by another thread
            self.truncated = True
            self.put(f"<{objects.class_name(type(value))}, unreadable>")
        finally:
            self._open.pop()

    def _is_open(self, value: object) -> bool:
        # Not any(): it takes twice as long.
        for container in self._open:  # noqa: SIM110
            if container is value:
                return True
        return False

    def write_all(self, start: str, items: "Iterable[object]", end: str) -> None:
        """Add objects, separated by commas."""
        self.put(start)
        between = ""
        for item in items:
            if is_leaf(item) and len(self._open) < _MAX_DEPTH:  # for speed, as in write()
                self.put(f"{between}{item!r}")
            else:
                self.put(between)
                self.write(item)
            between = ", "
        self.put(end)

    def write_named(self, start: str, items: "Iterable[Tuple[str, object]]", end: str) -> None:
        """Add ``name=object`` for each item, separated by commas."""
        self.put(start)
        for number, (name, item) in enumerate(items):
            self.put(f"{', ' if number else ''}{name}=")
            self.write(item)
        self.put(end)


def text(value: object, limit: int) -> "Tuple[str, bool]":
    """Return an object as text of at most `limit` characters, and whether the text is complete."""
    if _has_own_repr(value, limit):
        own = repr(value)
        if len(own) <= limit:
            return own, True
    writer = Writer(limit, _writer_for)
    try:
        writer.write(value)
    except LimitReachedError:
        return "".join(writer.pieces)[: max(0, limit - 1)] + "…", False
    return "".join(writer.pieces), not writer.truncated


def _has_own_repr(value: Any, limit: int) -> bool:
    """Return whether a value's repr() is quick and what a Writer would write: a short string, or a list of leaves."""
    kind = type(value)
    if kind is str:
        return len(value) <= limit
    return (kind is list or kind is tuple) and len(value) <= limit and all(map(is_leaf, value))


def repr_is_complete(value: object) -> bool:
    """Return whether an object's text shows all of it, as for some built-in classes."""
    return id(type(value)) in _EXACT


def _string(writer: Writer, value: Any) -> None:
    kind = str if objects.is_instance(value, str) else bytes if objects.is_instance(value, bytes) else bytearray
    writer.put(repr(kind.__getitem__(value, slice(0, writer.room + 1))))


def _integer(writer: Writer, value: Any) -> None:
    bits = int.bit_length(value)
    writer.put(int.__repr__(value) if bits <= _MAX_INTEGER_BITS else f"<int of {bits} bits>")


def _float(writer: Writer, value: Any) -> None:
    writer.put(float.__repr__(value))


def _plain(writer: Writer, value: Any) -> None:
    writer.put(repr(value))


def _range(writer: Writer, value: "range") -> None:
    writer.write_all("range(", [value.start, value.stop, value.step][: 2 if value.step == 1 else 3], ")")


def _slice(writer: Writer, value: "slice") -> None:
    writer.write_all("slice(", (value.start, value.stop, value.step), ")")


def _fraction(writer: Writer, value: Any) -> None:
    writer.write_all("Fraction(", (value.numerator, value.denominator), ")")


def _datetime(writer: Writer, value: Any) -> None:
    # The repr of a datetime includes that of its time zone.
    zone = value.tzinfo
    is_safe = objects.type_in(zone, _TIME_ZONES) or type(zone) is objects.loaded_class("zoneinfo", "ZoneInfo")
    writer.put(repr(value if is_safe else value.replace(tzinfo=None)))


def _memoryview(writer: Writer, value: memoryview) -> None:
    writer.put(f"<memory of {value.nbytes} bytes>")


def _list(writer: Writer, value: Any) -> None:
    name = "" if type(value) is list else objects.class_name(type(value))
    writer.write_all(f"{name}([" if name else "[", list.__iter__(value), "])" if name else "]")


def _tuple(writer: Writer, value: Any) -> None:
    length = tuple.__len__(value)
    name = "" if type(value) is tuple else objects.class_name(type(value))
    fields = objects.class_dict(type(value)).get("_fields") if name else None  # of a named tuple
    if type(fields) is tuple and len(fields) == length:
        writer.write_named(f"{name}(", zip(fields, tuple.__iter__(value)), ")")
    else:
        end = ",)" if length == 1 else ")"
        writer.write_all(f"{name}((" if name else "(", tuple.__iter__(value), f"{end})" if name else end)


def _set(writer: Writer, value: Any) -> None:
    kind: Any = set if objects.is_instance(value, set) else frozenset
    start, end = ("{", "}") if kind.__len__(value) else ("", "")
    if type(value) is not set or not start:
        start, end = f"{objects.class_name(type(value))}({start}", f"{end})"
    writer.write_all(start, kind.__iter__(value), end)


def _deque(writer: Writer, value: Any) -> None:
    writer.write_all(f"{objects.class_name(type(value))}([", collections.deque.__iter__(value), "])")


def _dict(writer: Writer, value: Any) -> None:
    name = "" if type(value) is dict else objects.class_name(type(value))
    writer.put(f"{name}({{" if name else "{")
    for number, (key, item) in enumerate(dict.items(value)):
        if number:
            writer.put(", ")
        writer.write(key)
        writer.put(": ")
        writer.write(item)
    writer.put("})" if name else "}")


def _module(writer: Writer, value: object) -> None:
    own = objects.instance_dict(value)
    name, file = own.get("__name__"), own.get("__file__")
    writer.put(f"<module {name!r}" if type(name) is str else "<module")
    writer.put(f" from {file!r}>" if type(file) is str else ">")


def _function(writer: Writer, value: types.FunctionType) -> None:
    writer.put(f"<function {value.__qualname__.rpartition('<locals>.')[2]}>")


def _method(writer: Writer, value: types.MethodType) -> None:
    function = value.__func__
    is_plain = type(function) is types.FunctionType
    name = function.__qualname__.rpartition("<locals>.")[2] if is_plain else objects.class_name(type(function))
    writer.put(f"<method {name}>")


def _class(writer: Writer, value: type) -> None:
    writer.put(f"<class {objects.full_name(value)!r}>")


def _generator(writer: Writer, value: Any) -> None:
    code = next(getattr(value, name) for name in ("gi_code", "cr_code", "ag_code") if hasattr(value, name))
    writer.put(f"<{objects.class_name(type(value))} {code.co_name}>")


def _enum_member(writer: Writer, value: object) -> None:
    stored = objects.instance_dict(value)
    writer.put(f"<{objects.class_name(type(value))}.{stored['_name_']}: ")
    writer.write(stored["_value_"])
    writer.put(">")


def _exception(writer: Writer, value: object) -> None:
    arguments = objects.class_dict(BaseException)["args"].__get__(value)
    writer.write_all(f"{objects.class_name(type(value))}(", arguments, ")")


def _scalar(writer: Writer, value: object) -> None:
    writer.put(str(value))


def _fallback(writer: Writer, value: object) -> None:
    metadata = libraries.metadata(value)
    if metadata is not None:
        _library_object(writer, value, metadata)
    else:
        _instance(writer, value)


def _library_object(writer: Writer, value: object, metadata: libraries.Metadata) -> None:
    elements = metadata.elements
    title = f"{objects.class_name(type(value))} {metadata.label}"
    if elements is None or elements.labels is not None:
        writer.put(f"<{title}>")
    else:
        start = f"{title} [" if writer.depth == 1 else "["
        writer.write_all(start, (elements.get(position) for position in range(elements.length)), "]")


def _instance(writer: Writer, value: object) -> None:
    """Write an object of any other class, by its stored attributes."""
    stored = dict(islice(objects.stored_attributes(value), _MAX_ATTRIBUTES))
    fields = _declared_fields(type(value))
    if fields:
        shown = ((name, stored[name]) for name in fields if name in stored)
        writer.write_named(f"{objects.class_name(type(value))}(", shown, ")")
        return
    public = [(name, item) for name, item in stored.items() if not name.startswith("_")]
    title = f"<{objects.full_name(type(value))} object"
    if writer.depth == 1 and public:
        writer.write_named(f"{title}: ", public, ">")
    else:
        writer.put(f"{title}>")


def _declared_fields(cls: type) -> "list[str]":
    """Return the names of the fields that a dataclass, an attrs class or a pydantic model declares."""
    for mark in ("__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__"):
        declared = objects.class_attribute(cls, mark)
        if type(declared) is dict:
            return [name for name in declared if type(name) is str]
        if objects.is_instance(declared, tuple):
            return [objects.attribute(field, "name").value for field in tuple.__iter__(declared)]
    return []


def _writer_for(value: object) -> Write:
    """Return the function that writes values of a value's class."""
    cls = type(value)
    exact = _EXACT.get(id(cls))
    if exact is not None:
        return exact
    if objects.is_subclass(type(cls), enum.EnumMeta):
        return _enum_member
    for base in objects.mro(cls):
        found = _WITH_SUBCLASSES.get(id(base))
        if found is not None:
            return found
    name = objects.class_name(cls)
    module, writer = _EXACT_IF_LOADED.get(name, ("", _fallback))
    if objects.loaded_class(module, name) is cls:
        return writer
    return _scalar if libraries.is_scalar(value) else _fallback


def _by_identity(writers: "Mapping[Write, Tuple[type, ...]]") -> "Mapping[int, Write]":
    # By id, because a metaclass may define its own __hash__.
    return {id(cls): writer for writer, classes in writers.items() for cls in classes}


# Classes whose subclasses are rendered differently.
_EXACT = _by_identity(
    {
        _plain: (
            *(bool, complex, type(None), type(Ellipsis), type(NotImplemented), re.Pattern),
            *(datetime.date, datetime.timedelta, datetime.timezone),
            *(pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())),
            *(types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType),
            *(types.MethodDescriptorType, types.ClassMethodDescriptorType),
        ),
        _range: (range,),
        _slice: (slice,),
        _datetime: (datetime.datetime, datetime.time),
        _memoryview: (memoryview,),
        _function: (types.FunctionType,),
        _method: (types.MethodType,),
        _generator: (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType),
    }
)
# The same for classes of modules that few sessions load: by name, the module and the writer.
_EXACT_IF_LOADED: "Mapping[str, Tuple[str, Write]]" = {
    "Decimal": ("decimal", _plain),
    "Fraction": ("fractions", _fraction),
    "UUID": ("uuid", _plain),
    "ZoneInfo": ("zoneinfo", _plain),
}
# Classes whose subclasses are read with the methods of these classes, even if they override them.
_WITH_SUBCLASSES = _by_identity(
    {
        _string: (str, bytes, bytearray),
        _integer: (int,),
        _float: (float,),
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
