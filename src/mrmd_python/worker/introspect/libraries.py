"""Describes objects of numpy, pandas, polars, torch and Pillow by their metadata, and reads their elements.

None of these libraries is imported here. An instance of a user's subclass is read through the library's own class if
the library can give such a view without copying. Otherwise it is treated like any other object.
"""

import math
import sys
from itertools import islice
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Sequence, Tuple

from .objects import (
    class_attribute,
    class_name,
    full_name,
    instance_dict,
    is_instance,
    is_library_instance,
    loaded_class,
    mro,
)

_PREVIEWED_COLUMNS, _MAX_LABEL_LENGTH = 8, 100
_MAX_KEYS = 1000


class Metadata(NamedTuple):
    """The metadata of a library's object."""

    label: str  # without the class name
    shape: "Optional[list[int]]" = None
    dtype: Optional[str] = None
    size: Optional[int] = None  # in bytes
    elements: "Optional[Elements]" = None  # None if they cannot be read


class Elements(NamedTuple):
    """The elements of an array along its first axis, or the columns of a table."""

    length: int
    get: "Callable[[int], Any]"
    labels: "Optional[Iterable[Any]]" = None  # the column labels


def metadata(value: object) -> Optional[Metadata]:
    """Return an object's metadata, or None if its library is not known here."""
    for cls in mro(type(value)):
        for module, describe in _DESCRIBERS.get(class_name(cls), ()):
            if loaded_class(module, class_name(cls)) is cls:
                return describe(value, cls)
    return None


def is_scalar(value: object) -> bool:
    """Return whether an object is a numpy or pandas scalar, whose own repr is short and safe."""
    cls = type(value)
    for module in ("numpy", "pandas"):
        if loaded_class(module, class_name(cls)) is cls:
            if module == "pandas":
                return class_name(cls) in ("Timestamp", "Timedelta", "Period")
            generic = loaded_class("numpy", "generic")
            return generic is not None and class_name(cls) != "void" and any(base is generic for base in mro(cls))
    pandas = instance_dict(sys.modules.get("pandas"))
    return any(value is pandas.get(name, pandas) for name in ("NaT", "NA"))


def keys(value: Any) -> "list[object]":
    """Return the keys, columns or fields possible in ``value[...]``."""
    if is_instance(value, dict):
        return list(dict.keys(value))[:_MAX_KEYS]
    if is_library_instance(value, "os", "_Environ"):
        return list(value)[:_MAX_KEYS]
    series = loaded_class("pandas", "Series")
    if series is not None and is_instance(value, series):
        return list(class_attribute(series, "index").__get__(value)[:_MAX_KEYS])
    found = metadata(value)
    if found is not None and found.elements is not None and found.elements.labels is not None:
        return list(islice(found.elements.labels, _MAX_KEYS))
    if is_library_instance(value, "numpy", "ndarray"):
        names = sys.modules["numpy"].ndarray.dtype.__get__(value).names
        return list(names or ())[:_MAX_KEYS]
    return []


def _array(value: Any, cls: Any) -> Metadata:
    array = value if type(value) is cls else cls.view(value, cls)
    shape = list(array.shape)
    kind = array.dtype.kind
    readable = bool(shape) and kind in "biufcSUmMO"
    return Metadata(
        f"{tuple(shape)} {_shortened(array.dtype)}",
        shape,
        _shortened(array.dtype),
        array.nbytes,
        Elements(shape[0], array.__getitem__) if readable else None,
    )


def _frame(value: Any, cls: Any) -> Metadata:
    frame = value if type(value) is cls else cls(value, copy=False)
    rows, columns = frame.shape

    def column(position: int) -> Any:
        return frame.iloc[:, position]

    # Not memory_usage(), which takes time for each column.
    blocks = getattr(getattr(frame, "_mgr", None), "blocks", ())
    size = sum(block.values.nbytes for block in blocks)
    return Metadata(
        _table(rows, columns, frame.columns),
        [rows, columns],
        None,
        size,
        Elements(columns, column, frame.columns),
    )


def _series(value: Any, cls: Any) -> Metadata:
    series = value if type(value) is cls or not _is_series(cls) else cls(value, copy=False)
    length = len(series)
    values = series.array if _is_series(cls) else series
    dtype = _shortened(series.dtype)
    label = f"({length},) {dtype}"
    if type(series.dtype).__module__.partition(".")[0] not in ("numpy", "pandas"):
        return Metadata(label, [length], dtype)  # a third-party extension array
    return Metadata(label, [length], dtype, int(series.nbytes), Elements(length, values.__getitem__))


def _is_series(cls: type) -> bool:
    return class_name(cls) == "Series"


def _polars_frame(value: Any, cls: Any) -> Metadata:
    rows, columns = cls.shape.fget(value)

    def column(position: int) -> Any:
        return cls.to_series(value, position)

    names = cls.columns.fget(value)
    return Metadata(
        _table(rows, columns, names),
        [rows, columns],
        None,
        None,
        Elements(columns, column, names),
    )


def _polars_series(value: Any, cls: Any) -> Metadata:
    length = cls.len(value)
    dtype = _shortened(cls.dtype.fget(value))

    def element(position: int) -> Any:
        return cls.__getitem__(value, position)

    return Metadata(f"({length},) {dtype}", [length], dtype, None, Elements(length, element))


def _lazy_frame(value: Any, cls: Any) -> Metadata:
    return Metadata("not collected")


def _tensor(value: Any, cls: Any) -> "Optional[Metadata]":
    if not full_name(type(value)).startswith("torch."):
        return None  # the `shape` of a user's subclass may run code
    shape = [int(extent) for extent in value.shape]
    dtype = _shortened(value.dtype).replace("torch.", "")
    # Elements are not read: on a GPU that would force a synchronization.
    size = value.element_size() * math.prod(shape)
    return Metadata(f"{tuple(shape)} {dtype} on {_shortened(value.device)}", shape, dtype, size)


def _image(value: Any, cls: Any) -> "Optional[Metadata]":
    stored = instance_dict(value)
    size, mode = stored.get("_size"), stored.get("_mode", stored.get("mode"))
    if type(size) is not tuple or type(mode) is not str:
        return None
    width, height = size
    return Metadata(f"{width}×{height} {mode}", [height, width])


_Describe = Callable[[Any, Any], Optional[Metadata]]
# By class name: the modules with a class of that name, and the function that describes its instances.
_DESCRIBERS: "Mapping[str, Sequence[Tuple[str, _Describe]]]" = {
    "ndarray": [("numpy", _array)],
    "DataFrame": [("pandas", _frame), ("polars", _polars_frame)],
    "Series": [("pandas", _series), ("polars", _polars_series)],
    "Index": [("pandas", _series)],
    "LazyFrame": [("polars", _lazy_frame)],
    "Tensor": [("torch", _tensor)],
    "Image": [("PIL.Image", _image)],
}


def _table(rows: int, columns: int, labels: "Iterable[Any]") -> str:
    """Return the label of a table: its size, and the first column labels if they are strings."""
    first = [label[:_MAX_LABEL_LENGTH] for label in islice(labels, _PREVIEWED_COLUMNS + 1) if type(label) is str]
    more = ["…"] if len(first) > _PREVIEWED_COLUMNS else []
    extent = f"{rows} row{'s' * (rows != 1)} × {columns} column{'s' * (columns != 1)}"
    return f"{extent}: {', '.join(first[:_PREVIEWED_COLUMNS] + more)}" if first else extent


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
