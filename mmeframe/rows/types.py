"""MLflow's column types, and how one value of each is checked and converted: the same for every way in.

A type is text: MLflow's name of it (``double``, ``string`` ...), ``any``, or, of an array, a map or an object, MLflow's
own description as JSON. ``TYPES`` says all that is to be known of the plain ones; ``rows.schema`` converts whole
columns of them, by the same rules.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = [
    "EXACT",
    "TYPES",
    "PlainType",
    "RefusedError",
    "converter",
    "instant",
    "is_compound",
    "is_missing",
    "nullable",
    "shown",
    "strange",
    "type_text",
    "unreadable",
]

# Whole numbers are exact as doubles below this.
EXACT = 2**53
# pandas takes "now" and "today" for ISO 8601, too. Missing times are written in several ways.
_ISO = re.compile(r"\d|(NaT|nan|)$")

Convert = Callable[[Any], Any]


class RefusedError(Exception):
    """Why a value, or a column, cannot have its declared type: what it holds, never the value itself."""


def type_text(kind: Any) -> str:
    """The text of one of MLflow's types."""
    if hasattr(kind, "name"):
        return str(kind.name)
    described = kind.to_dict()
    return "any" if described["type"] == "any" else json.dumps(described, sort_keys=True, separators=(",", ":"))


def is_compound(kind: str) -> bool:
    """Whether a type is an array, a map or an object."""
    return kind.startswith("{")


def nullable(kind: str) -> bool:
    """Whether a type has a null: numpy has none for whole numbers and booleans."""
    return kind not in TYPES or TYPES[kind].has_null


@lru_cache(maxsize=256)
def shown(kind: str) -> str:
    """A type as messages show it: ``array(double)``, ``object(a: string, b: long)``."""
    return _shown(json.loads(kind)) if is_compound(kind) else kind


def _shown(kind: Mapping[str, Any]) -> str:
    name = kind["type"]
    if name == "array":
        return f"array({_shown(kind['items'])})"
    if name == "map":
        return f"map({_shown(kind['values'])})"
    if name == "object":
        return f"object({', '.join(f'{key}: {_shown(it)}' for key, it in kind['properties'].items())})"
    return str(name)


@lru_cache(maxsize=256)
def converter(kind: str) -> Convert:
    """What converts one value to a type. It raises RefusedError for a value that is of no such type.

    Arrays become lists, maps and objects dicts, as in JSON, however they were sent. Their values are Python's own,
    but for times, and numbers of 32 bits: MLflow takes numpy's.
    """
    convert = _converter(json.loads(kind) if is_compound(kind) else {"type": kind})

    def converted(value: Any) -> Any:
        try:
            return convert(value)
        except RefusedError:
            raise
        except Exception as error:
            raise unreadable(error) from error

    return converted


def unreadable(error: Exception) -> RefusedError:
    """Why values cannot be converted that raise when they are looked at, as objects of a caller's own may do."""
    return RefusedError(f"it holds values that cannot be read ({type(error).__name__})")


def _converter(kind: Mapping[str, Any]) -> Convert:
    name = kind["type"]
    if name == "array":
        return _array(_or_null(kind["items"]), _shown(kind))
    if name == "map":
        return _map(_or_null(kind["values"]), _shown(kind))
    if name == "object":
        known = {key: (_converter(it), it.get("required", True)) for key, it in kind["properties"].items()}
        return _object(known, _shown(kind))
    if name == "any":
        return _anything
    return TYPES[name].convert if name in TYPES else _unknown(name)


def _or_null(kind: Mapping[str, Any]) -> Convert:
    """Items may be null where their type has one."""
    convert, null = _converter(kind), np.nan if kind["type"] in ("float", "double") else None
    if not nullable(kind["type"]):
        return convert
    return lambda value: null if is_missing(value) else convert(value)


def is_missing(value: Any) -> bool:
    """Whether one cell is null: None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.generic | Decimal) and value != value


def _array(item: Convert, wanted: str) -> Convert:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and not value.ndim):
            raise RefusedError(f"it holds {_kind_of(value)}, not {wanted}")
        return [item(it) for it in value]

    return convert


def _map(item: Convert, wanted: str) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        pairs = _pairs(value, wanted)
        return {key: item(it) for key, it in pairs.items()}

    return convert


def _object(known: Mapping[str, tuple[Convert, bool]], wanted: str) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        # Arrow's objects have a null for what one of them leaves out.
        given = {key: it for key, it in _pairs(value, wanted).items() if not is_missing(it)}
        if lacking := [key for key, (_, required) in known.items() if required and key not in given]:
            raise RefusedError(f"it lacks {lacking[0]!r} of {wanted}")
        if more := [key for key in given if key not in known]:
            raise RefusedError(f"it has {len(more)} names that {wanted} does not declare")
        return {key: convert(given[key]) for key, (convert, _) in known.items() if key in given}

    return convert


def _pairs(value: Any, wanted: str) -> Mapping[str, Any]:
    """A map's or an object's content; Arrow's maps are lists of pairs."""
    if isinstance(value, list | np.ndarray) and all(isinstance(it, tuple) and len(it) == 2 for it in value):
        value = dict(value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise RefusedError(f"it holds {_kind_of(value)}, not {wanted}")
    return value


def _unknown(name: str) -> Convert:
    def convert(value: Any) -> Any:
        del value
        raise RefusedError(f"{name} is a type that is not supported")

    return convert


def _number(value: Any, wanted: str) -> Any:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating | Decimal):
        raise RefusedError(f"it holds {_kind_of(value)}, not {wanted}")
    return value


def _double(value: Any) -> float:
    try:
        return float(_number(value, "double"))
    except OverflowError:
        raise RefusedError("a value is out of range") from None


def _float(value: Any) -> np.float32:
    wide = _double(value)
    with np.errstate(over="ignore"):
        narrow = np.float32(wide)
    if np.isinf(narrow) and not np.isinf(wide):
        raise RefusedError("a value is out of range")
    return narrow


def _whole(name: str, kind: Any) -> Convert:
    limit = 2 ** (31 if kind is np.int32 else 63)

    def convert(value: Any) -> Any:
        number = _number(value, name)
        # Not its int yet, which may have a billion digits.
        if number != number or (abs(number) <= limit and number != int(number)):
            raise RefusedError("a value is not a whole number")
        if isinstance(number, float | np.floating) and abs(float(number)) >= EXACT:
            raise RefusedError("a value has more digits than a float holds: send integers")
        if not -limit <= number < limit:
            raise RefusedError("a value is out of range")
        return kind(int(number))

    return convert


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise RefusedError(f"it holds {_kind_of(value)}, not boolean")
    return bool(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"it holds {_kind_of(value)}, not string")
    return str(value)


def _bytes(value: Any) -> bytes:
    """Bytes; as text, which is how JSON and CSV hold them, they are base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise RefusedError(f"it holds {_kind_of(value)}, not binary")
    try:
        # MLflow writes a line break after each 76 letters, and at the end.
        return base64.b64decode("".join(value.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("it holds text that is not base64") from None


def instant(text: str) -> str:
    """Text that may be a time in ISO 8601: not one that is read relative to the clock."""
    if not _ISO.match(text):
        raise RefusedError("it holds text that is no ISO 8601 timestamp")
    return text


def _datetime(value: Any) -> Any:
    """One time, as a column of one would hold it."""
    import pandas as pd

    if not isinstance(value, str | np.datetime64) and not hasattr(value, "isoformat"):
        raise RefusedError(f"it holds {_kind_of(value)}, not datetime")
    try:
        read = pd.to_datetime([instant(value) if isinstance(value, str) else value], format="ISO8601", utc=True)
    except pd.errors.OutOfBoundsDatetime:
        raise RefusedError("a value is out of range") from None
    except (ValueError, TypeError):
        raise RefusedError("it holds text that is no ISO 8601 timestamp") from None
    return read.tz_localize(None).as_unit("ns")[0].to_datetime64()


def _anything(value: Any) -> Any:
    """Lists, dicts and Python's own numbers, as they are within declared types; other values as they are."""
    if isinstance(value, np.ndarray | np.bool_ | np.integer | np.floating):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_anything(it) for it in value]
    return {key: _anything(it) for key, it in value.items()} if isinstance(value, Mapping) else value


def _kind_of(value: Any) -> str:
    for kinds, name in _KINDS:
        if isinstance(value, kinds):
            return name
    return f"{type(value).__name__} values"


def strange(value: Any) -> str | None:
    """What is wrong with a cell that is no data: an object of a type that says nothing, or half a character."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "text that is no Unicode: half a character"
    elif isinstance(value, Decimal) and value.is_snan():
        return "a signalling NaN"
    elif not (isinstance(value, _DATA) or is_missing(value) or hasattr(value, "isoformat")):
        return f"{type(value).__name__} values"
    return None


_KINDS: tuple[tuple[Any, str], ...] = (
    ((bool, np.bool_), "booleans"),
    ((int, float, Decimal, np.number), "numbers"),
    (str, "text"),
    ((bytes, bytearray), "bytes"),
    ((list, tuple, np.ndarray), "lists"),
    (Mapping, "objects"),
    (type(None), "nulls"),
)

_DATA: tuple[type, ...] = (
    *(bool, int, float, complex, Decimal, np.generic, timedelta),
    *(bytes, bytearray, memoryview, list, tuple, np.ndarray, Mapping),
)


@dataclass(frozen=True, slots=True)
class PlainType:
    """What is to be known of a plain type.

    convert: one value. numpy, arrow: their names of it, for a column; empty where cells are Python's objects. has_null:
    whether numpy's type has one. samples: values of made-up columns, in each try: one may be nonsense to an honest
    model, which then takes another.
    """

    convert: Convert
    numpy: str = ""
    arrow: str = ""
    has_null: bool = True
    samples: Sequence[Sequence[Any]] = ()


_WHOLE, _FLOATING = ((0, 1, 7), (1, 2, 3), (50, 100, 200)), ((0.0, 1.0, 0.5), (1.0, 2.0, 3.0), (50.0, 100.0, 200.0))
_TEXTS = (("a", "b", "c"), ("1", "2", "3"), ("2024-01-01", "2024-01-02", "2024-01-03"))
_NOON = datetime(2024, 1, 1, 12)  # noqa: DTZ001 - MLflow's datetime columns are naive

# One table: a type is added here, and to the names that a config may write (``plugin.conf.ColumnType``).
TYPES: Mapping[str, PlainType] = {
    "boolean": PlainType(_boolean, "bool", "bool", has_null=False, samples=((False, True, True),)),
    "integer": PlainType(_whole("integer", np.int32), "int32", "int32", has_null=False, samples=_WHOLE),
    "long": PlainType(_whole("long", int), "int64", "int64", has_null=False, samples=_WHOLE),
    "float": PlainType(_float, "float32", "float32", samples=_FLOATING),
    "double": PlainType(_double, "float64", "float64", samples=_FLOATING),
    "string": PlainType(_string, "", "string", samples=_TEXTS),
    "datetime": PlainType(_datetime, "datetime64[ns]", "timestamp[ns]", samples=((_NOON, _NOON, _NOON),)),
    "binary": PlainType(_bytes, samples=((b"a", b"b", b"c"),)),
}
