"""Normalisation of routing keys: one rule, used when a router is built and when rows are routed.

A value's canonical form is text: ``7``, ``7.0``, ``Decimal("7.00")`` and ``np.int64(7)`` are ``"7"``; text is itself
(``"02108"`` stays ``"02108"``, ``"7.0"`` is not ``"7"``); bools are ``"True"`` and ``"False"``; timestamps are
ISO; None, NaN and NaT are missing. Integer columns never become text: they are looked up as integers.

A whole float is a key only where its type holds every whole number of that size: below 2**53 in float64. A larger one
may have been another number, as 2**53 + 1 is 2**53 once a null beside it has made its column floats.
"""

from __future__ import annotations

import bisect
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]
    Codes = int | np.ndarray[Any, np.dtype[np.int32]]

__all__ = [
    "MISSING",
    "NA_WORDS",
    "UNKNOWN",
    "KeyIndex",
    "canonical",
    "changed_by_csv",
    "csv_form",
    "csv_hazard",
    "csv_twins",
    "factorized",
    "is_whole",
    "normalised",
    "one_per_row",
]

UNKNOWN = -1
MISSING = -2

# Integers that span no more than this are looked up in a table.
_DENSE = 65_536
# A product with an odd number that nobody else knows, and the way back.
_MIX = secrets.randbits(64) | 1
_UNMIX = pow(_MIX, -1, 2**64)
# Of 64 bits, in texts that are hashed by these.
_WORDS = 8
# Texts that meet in one of Arrow's hash tables.
_PIECE = 2048
# Entries of a dictionary that are made in the time of one search.
_SEARCHES = 16
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
# Numbers of Python: those of numpy's own description are made anew at each look.
_LEAST, _MOST = -(2**63), 2**63 - 1
# What pandas.read_csv turns into NaN by default, in the spellings that a key could have.
NA_WORDS = frozenset(
    ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)


def is_whole(text: str) -> bool:
    """Whether ``text`` is how an integer is written (``"7"``, ``"-3"``; not ``"07"``, ``"7.0"``, ``"-0"``)."""
    # No int64 has more than 20 letters, and Python refuses to read very long ones.
    short = len(text) <= 20 and text != "-0" and _WHOLE.fullmatch(text) is not None
    return short and _LEAST <= int(text) <= _MOST


def canonical(value: Any, exact: bool = True) -> str | None:
    """The canonical text of one key value, None if it is missing.

    exact: whether whole floats that may be rounded are refused; else they have a text that no whole number has: 1e+16.
    Raises BadInputError for those, and for what is no scalar: the text of a list would be a key that nobody declared.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is float or kind is np.float64:
        return _of_float(value, float, exact)
    if value is None:
        return None
    try:
        return str(value) if kind is int or kind is np.int64 else _of_object(value, exact)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"a routing key is one that has no text: {kind.__name__}.") from error


def _of_object(value: Any, exact: bool) -> str | None:
    kind = type(value)
    if value is np.ma.masked:
        return None
    if isinstance(value, np.datetime64 | np.timedelta64):
        if np.isnat(value):
            return None
        import pandas as pd

        return canonical(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, np.floating):
        return _of_float(value, kind, exact)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return canonical(value[()], exact)
    if isinstance(value, np.generic):
        return canonical(value.item(), exact)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if not _is_value(value):
        raise BadInputError(f"a routing key must be one value, not {kind.__name__}.")
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if hasattr(value, "as_py"):
        # A scalar of Arrow, whose own text tells 7.0 from 7.
        return canonical(value.as_py(), exact)
    # What str() shows of a member may be its name.
    if isinstance(value, Enum):
        return canonical(value.value, exact)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return _of_float(float(value), float, exact)
    if isinstance(value, int) and kind is not bool:
        return int.__repr__(value)
    if value != value:
        return None
    if kind is timedelta:
        # As those of pandas and numpy are written.
        return canonical(np.timedelta64(value))
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _is_value(value: Any) -> bool:
    """Whether a text says what it is: no list, no bytes, and no object whose text is its place in memory."""
    kind = type(value)
    if isinstance(value, str | int | float | Decimal):
        return True
    own: Any = object.__str__
    return kind.__str__ is not own and not isinstance(value, bytes | bytearray | Iterable)


def _of_float(value: Any, kind: Any, exact: bool) -> str | None:
    if value != value:  # NaN
        return None
    if not value.is_integer():
        return repr(float(value))
    if abs(value) < _exact_below(kind):
        return str(int(value))
    if exact:
        raise _rounded(kind)
    return repr(float(value))


@cache
def _exact_below(kind: Any) -> float:
    """The whole numbers below this are all exact in a type of floats."""
    return float(2.0 ** (np.finfo(kind).nmant + 1))


def _rounded(kind: Any) -> BadInputError:
    name, bits = np.dtype(kind).name, np.finfo(kind).nmant + 1
    return BadInputError(
        f"a routing key is a whole number that came as {name}, which is exact only below 2**{bits}.",
        hint="Send it as text or as an integer. Beside an empty cell JSON, CSV and Spark make floats of whole numbers: "
        "send that column as text.",
    )


def _of_decimal(value: Decimal) -> str | None:
    """As files and databases hold money: 7.00 has the digits of its column, and is 7."""
    if value.is_nan():
        return None
    if not value.is_finite():
        return repr(float(value))
    # 1E+999999999 has a billion digits.
    if value.adjusted() < 400 and value == int(value):
        return str(int(value))
    text = repr(float(value))
    if text != "inf" and Decimal(text) == value:
        return text
    # It has more digits than a double, and is no key of one.
    return str(value.normalize(Context(len(value.as_tuple().digits), Emin=MIN_EMIN, Emax=MAX_EMAX)))


def csv_form(text: str) -> str | None:
    """What a CSV reader makes of this key: another key's text, "" for a missing value, None if it survives as it is."""
    if text in NA_WORDS:
        return ""
    if text.lower() in ("true", "false"):
        return None if text in ("True", "False") else text.capitalize()
    # To Python these are numbers, to readers they are not.
    if "_" in text or not text.isascii():
        return None
    form: str | None
    if _DIGITS.fullmatch(text):
        # Readers keep more than 64 bits as text.
        form = str(int(text)) if -(2**63) <= int(text) < 2**64 else text
    else:
        try:
            form = canonical(float(text), exact=False)
        except ValueError:
            return None
    return None if form == text else form


_DIGITS = re.compile(r"[+-]?[0-9]{1,400}")


def csv_hazard(text: str) -> str | None:
    """What a CSV reader would make of this key instead, for messages; None if it survives as it is."""
    form = csv_form(text)
    if not form:
        return None if form is None else "a missing value"
    return f"the boolean {form}" if form in ("True", "False") else f"the number {float(text):g}"


def csv_twins(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Keys, each with another one of these that a CSV reader makes of it: that one would get its rows."""
    known = frozenset(keys)
    return [(key, form) for key in keys if (form := csv_form(key)) is not None and form in known]


def changed_by_csv(raw: Any, forms: Collection[str]) -> set[str]:
    """Those of the forms (see ``csv_form``) that values have which a reader may have made of a text.

    Numbers and booleans, and NaN (""). Text is as it was sent, and None and pandas.NA are made of none.
    """
    import pandas as pd

    raw = _arrayed(raw.remove_unused_categories().categories if isinstance(raw, pd.Categorical) else raw)
    cells: Any = raw if getattr(raw, "ndim", 0) else [raw]
    if len(cells) > 1 and cells.dtype != np.dtype(object):
        positions, found = factorized(cells)
        # NaN is one of them.
        cells = [*found, *([cells[positions.argmin()]] if (positions == -1).any() else [])]
    return {
        canonical(cell, exact=False) or ""
        for cell in cells
        if not (isinstance(cell, str) or cell is None or cell is pd.NA)
    }.intersection(forms)


def one_per_row(raw: Any, n_rows: int) -> Any:
    """Raw keys as one scalar for all rows, or as a 1-D numpy or pandas array with one for each; no index is looked at.

    raw: such a scalar or array, a Series, a list, or what becomes an array: a column of Arrow or of another library.
    Raises TypeError for anything else, as a generator is, whose text would be the key of all rows; ValueError for
    another length.
    """
    if type(raw) is not np.ndarray:
        raw = _arrayed(raw)
    dimensions = getattr(raw, "ndim", 0)
    if dimensions == 0:
        return raw
    if dimensions > 1:
        raise TypeError(f"keys of {dimensions} dimensions")
    if len(raw) != n_rows:
        raise ValueError(f"{len(raw)} key values for {n_rows} rows")
    return raw


def _arrayed(raw: Any) -> Any:
    kind = type(raw)
    if raw is None or isinstance(raw, np.generic) or kind.__name__ in ("NAType", "NaTType") or _is_value(raw):
        return raw
    if isinstance(raw, np.ma.MaskedArray):
        cells = np.ma.getdata(raw).astype(object)
        cells[np.ma.getmaskarray(raw)] = None
        return cells
    import pandas as pd

    if isinstance(raw, pd.Series | pd.Index):
        return raw.to_numpy() if isinstance(raw.dtype, np.dtype) else raw.array
    if isinstance(raw, pd.api.extensions.ExtensionArray):
        return raw
    if isinstance(raw, Sequence) and not isinstance(raw, bytes | bytearray | memoryview):
        return np.fromiter(raw, object, len(raw))
    if kind.__module__ == "pyarrow.lib" and hasattr(raw, "type"):
        # numpy would make floats of whole numbers beside a null.
        return pd.Series(raw, dtype=pd.ArrowDtype(raw.type)).array
    if hasattr(raw, "__array__") and not hasattr(raw, "columns"):
        return np.asarray(raw)
    raise TypeError(f"a {kind.__name__}, which is neither one value nor an array with one for each row")


def normalised(raw: Any, n_rows: int, exact: bool = True) -> pd.Categorical:
    """Raw key values as a category of canonical texts, one per row; missing values have no category.

    raw: what ``one_per_row`` takes. exact: see ``canonical``. The work is done once per distinct value.
    Raises BadInputError for what is no scalar, TypeError and ValueError as ``one_per_row`` does.
    """
    import pandas as pd

    raw = one_per_row(raw, n_rows)
    if np.ndim(raw) == 0:
        text = canonical(raw, exact)
        codes = np.full(n_rows, -1 if text is None else 0, np.int32)
        return pd.Categorical.from_codes(codes, pd.Index([] if text is None else [text], dtype=object), validate=False)
    positions, distinct = _distinct(raw)
    texts = np.array([*(canonical(value, exact) for value in distinct), None], object)
    # Values that differ may have one text: 7 and 7.0 are one key.
    merged, known = pd.factorize(texts)
    return pd.Categorical.from_codes(merged.take(positions), pd.Index(known, dtype=object), validate=False)


def _distinct(raw: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Sequence[Any]]:
    """Position of each row's value among distinct ones, -1 for a missing one."""
    import pandas as pd

    raw = _plain(raw)
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return np.asarray(raw.codes, np.intp), list(_floats_as_such(raw.categories))
    if _singly(raw):
        return np.arange(len(raw)), list(raw)
    positions, distinct = factorized(raw)
    return positions, list(distinct)


def factorized(values: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any]:
    """``pandas.factorize`` of a column, in time linear in its rows whatever they hold.

    The hashes of pandas and of Arrow are public, so that a request can be made of values that all collide, and would
    take time quadratic in them. Python's hashes of texts are seeded; those of wide integers, which are not, are kept
    away from hash tables (see ``_uniform``).

    values: a one-dimensional numpy or pandas array. Returns, as pandas does, the position of each row's value among
    the distinct ones, -1 for a missing one; and those, in the order in which they appear.
    """
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf" and dtype.itemsize == 8:
        # Zero has two forms.
        words = values + 0.0 if dtype.kind == "f" else values
        positions, found = _words(words.view(np.uint64))
        return (positions, found.view(dtype)) if dtype.kind != "f" else _without(positions, values, np.isnan(values))
    if dtype.kind in "mM" and not isinstance(dtype, pd.ArrowDtype):
        return _without(_words(np.asarray(values.view(np.int64)).view(np.uint64))[0], values, pd.isna(values))
    if dtype.kind in "iuf" and isinstance(values, pd.api.extensions.ExtensionArray) and values.dtype.na_value is pd.NA:
        known = ~np.asarray(values.isna())
        positions = np.full(len(values), -1, np.intp)
        positions[known], found = factorized(values[known].to_numpy(getattr(dtype, "numpy_dtype", None)))
        return positions, found
    if _in_arrow(dtype):
        return _texts(values)
    return pd.factorize(values)


def _words(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any]:
    """Numbers of 64 bits, mixed before they are hashed."""
    import pandas as pd

    positions, found = pd.factorize(values * np.uint64(_MIX))
    return positions, found * np.uint64(_UNMIX)


def _without(
    positions: np.ndarray[Any, np.dtype[np.intp]], values: Any, missing: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any]:
    """The same with -1 for what is missing, and the distinct ones of the values themselves."""
    first = _first_rows(positions)
    kept = ~missing.take(first)
    numbers = np.where(kept, np.cumsum(kept) - 1, -1)
    return numbers.take(positions), values.take(first[kept])


def _first_rows(positions: np.ndarray[Any, np.dtype[np.intp]]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The row in which each distinct value appears first."""
    first = np.empty(positions.max(initial=-1) + 1, np.intp)
    first[positions[::-1]] = np.arange(len(positions))[::-1]
    return first


def _in_arrow(dtype: Any) -> bool:
    """Whether these are texts that Arrow holds."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(dtype, pd.StringDtype):
        return dtype.storage == "pyarrow"
    kind = getattr(dtype, "pyarrow_dtype", None)
    return kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _short_texts(values: Any, column: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any] | None:
    """Texts of up to 64 bytes, by a hash with a secret that is checked; None for longer ones, or if two have one."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lengths = np.asarray(pc.fill_null(pc.binary_length(column), -1), np.int64)
    words = -(-max(lengths.max(initial=0), 1) // 8)
    if words > _WORDS:
        return None
    padded = pc.ascii_rpad(pc.fill_null(column, "").cast(pa.large_string()), width=words * 8, padding="\0")
    table = np.frombuffer(padded.buffers()[2], np.uint64, len(column) * words).reshape(-1, words)
    hashes = lengths.view(np.uint64) * np.uint64(_MIX)
    for word in table.T:
        hashes = (hashes ^ (hashes >> np.uint64(32)) ^ word) * np.uint64(_MIX)
    positions, _ = pd.factorize(hashes)
    of_row = _first_rows(positions).take(positions)
    if (lengths != lengths.take(of_row)).any() or (table != table.take(of_row, axis=0)).any():
        return None
    return _without(positions, values, lengths < 0)


def _texts(values: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any]:
    """Texts of Arrow, a few at a time: each piece has a hash table of its own, and Python's has the distinct ones."""
    import pyarrow as pa

    column = pa.array(values)
    if (found := _short_texts(values, column)) is not None:
        return found
    known: dict[str, int] = {}
    positions = np.empty(len(column), np.intp)
    for start in range(0, len(column), _PIECE):
        piece = column.slice(start, _PIECE)
        piece = (piece.combine_chunks() if isinstance(piece, pa.ChunkedArray) else piece).dictionary_encode()
        table = [known.setdefault(text, len(known)) for text in piece.dictionary.to_pylist()]
        codes = piece.indices.fill_null(len(table)).to_numpy()
        positions[start : start + len(piece)] = np.array([*table, -1], np.intp).take(codes)
    return positions, np.array([*known], object)


def _plain(raw: Any) -> Any:
    """Without what has nothing to do with the rows: categories that none has, which could be no keys."""
    import pandas as pd

    if not isinstance(raw.dtype, pd.CategoricalDtype):
        return _floats_as_such(raw)
    kinds = raw.categories.dtype
    safe = kinds.kind != "f" and (kinds != np.dtype(object) or _uniform(np.asarray(raw.categories)))
    return raw if safe else raw.remove_unused_categories()


def _floats_as_such(values: Any) -> Any:
    """Floats as a numpy array of their own width, which says which of them are exact; others as they are."""
    dtype = values.dtype
    if isinstance(values, np.ndarray) or dtype.kind != "f":
        return values
    width = getattr(dtype, "numpy_dtype", None)
    return np.asarray(values) if width is None else values.to_numpy(width, na_value=np.nan)


def _singly(raw: Any) -> bool:
    """Whether values must be looked at one by one."""
    if not isinstance(raw, np.ndarray):
        # Arrow has no hash table of objects and maps.
        return bool(getattr(getattr(raw.dtype, "pyarrow_dtype", None), "num_fields", 0))
    # 1, 1.0 and True are one value to a hash table, but not one key; and pandas makes doubles of longer floats.
    return not _uniform(raw) if raw.dtype == np.dtype(object) else raw.dtype.kind == "f" and raw.dtype.itemsize > 8


class KeyIndex:
    """Declared values of one key part, sorted, and the code of each: its place among them.

    Made of arrays, which may lie in a file: nothing is copied, decoded or hashed before a value is asked for.
    Immutable but for what is remembered of values that were asked for; safe to share between threads.

    text: the values' UTF-8, one after another. ends: shape (n + 1,), where each ends, after a 0. whole: shape (n,), the
    values as integers, if every one is whole. forms: what CSV readers make of those that they change, a line of UTF-8
    for each.
    """

    def __init__(self, text: Array, ends: Array, whole: Array | None = None, forms: Array | None = None) -> None:
        # What it is made of, by name.
        made = {"text": text, "ends": ends, "whole": whole, "forms": forms}
        self.arrays: Mapping[str, Array] = {name: array for name, array in made.items() if array is not None}
        self._text, self._ends, self._whole = text.data, ends.data, whole
        # See ``csv_form``.
        self.csv_forms = frozenset() if forms is None else frozenset(bytes(forms).decode().splitlines())
        # Whether every declared value is a whole number, so that a column of them is read as integers.
        self.integer = whole is not None
        # Codes by value: of those that were asked for, and in the end of all.
        self._codes: dict[str, int] = {}
        self._searched = 0
        self._ints: pd.Index | None = None
        self._int_codes = np.empty(0, np.int32)
        self._lowest = 0

    @classmethod
    def of(cls, values: Collection[str]) -> KeyIndex:
        """The index of values that differ."""
        ordered = sorted(values)
        texts = [_raw(value) for value in ordered]
        ends = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        if ordered and all(map(is_whole, ordered)):
            return cls(np.frombuffer(b"".join(texts), np.uint8), ends, np.array([*map(int, ordered)], np.int64))
        forms = sorted({form for text in ordered if (form := csv_form(text)) is not None})
        lines = np.frombuffer("".join(f"{form}\n" for form in forms).encode(), np.uint8) if forms else None
        return cls(np.frombuffer(b"".join(texts), np.uint8), ends, None, lines)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, code: int) -> str:
        """The value with a code. Raises IndexError."""
        if not 0 <= code < len(self):
            raise IndexError(code)
        return str(self._at(code), "utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def _at(self, code: int) -> bytes:
        return bytes(self._text[self._ends[code] : self._ends[code + 1]])

    def declared(self, values: Sequence[str | None]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Codes of declared values, which are canonical already; ``MISSING`` for None."""
        found = self._all()
        return np.fromiter((MISSING if value is None else found[value] for value in values), np.int32, len(values))

    def code(self, value: Any) -> int:
        """The code of one value; ``UNKNOWN`` or ``MISSING`` if it has none."""
        text = canonical(value)
        # An empty text is no key: files without types have nothing else for a missing one.
        if not text:
            return MISSING
        code = self._codes.get(text)
        return self._find(text) if code is None else code

    def _find(self, text: str) -> int:
        """By bisection; when that was done so often that a dictionary had cost no more, there is one."""
        codes = self._codes
        if len(codes) == len(self):
            # All of them. Asked again: another thread may have filled it since this text was looked for.
            return codes.get(text, UNKNOWN)
        self._searched += 1
        if self._searched * _SEARCHES > len(self):
            return self._all().get(text, UNKNOWN)
        raw = _raw(text)
        code = bisect.bisect_left(range(len(self)), raw, key=self._at)
        if code == len(self) or self._at(code) != raw:
            return UNKNOWN
        self._codes[text] = code
        return code

    def _all(self) -> dict[str, int]:
        """Every value's code."""
        if len(self._codes) < len(self):
            text, ends = bytes(self._text), self._ends.tolist()
            values = (str(text[start:end], "utf-8", "surrogatepass") for start, end in pairwise(ends))
            self._codes = {value: code for code, value in enumerate(values)}
        return self._codes

    def codes(self, raw: Any, n_rows: int) -> Codes:
        """Codes of raw key values: an int for a scalar, else an int32 array of shape (n_rows,).

        raw: what ``one_per_row`` takes. Raises as it does, and BadInputError as ``canonical`` does.
        """
        raw = one_per_row(raw, n_rows)
        if np.ndim(raw) == 0:
            return self.code(raw)
        if n_rows == 1:
            return np.array([self.code(_floats_as_such(raw)[0])], np.int32)
        return self._array_codes(_plain(raw))

    def _array_codes(self, raw: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
        import pandas as pd

        dtype = raw.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            table = np.array([self.code(value) for value in _floats_as_such(raw.categories)] + [MISSING], np.int32)
            return table.take(np.asarray(raw.codes))
        if isinstance(dtype, np.dtype):
            if dtype.kind == "b":
                return np.where(raw, self.code(True), self.code(False)).astype(np.int32)
            if dtype.kind in "iu":
                return self._integers(raw)
        if _singly(raw):
            return np.fromiter((self.code(value) for value in raw), np.int32, len(raw))
        if dtype.kind == "f":
            return self._floats(raw)
        if _in_arrow(dtype) and len(raw) * _SEARCHES > len(self):
            return self._texts(raw)
        positions, uniques = factorized(raw)
        table = np.array([self.code(value) for value in uniques] + [MISSING], np.int32)
        return np.asarray(table.take(positions), np.int32)

    def _integers(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        import pandas as pd

        if raw.dtype.kind == "u" and raw.dtype.itemsize == 8 and len(raw) and raw.max() > _MOST:
            return np.fromiter((self.code(value) for value in raw.tolist()), np.int32, len(raw))
        if self._ints is None:
            self._ints = self._index_integers()
        raw = raw.astype(np.int64, copy=False)
        if not len(self._ints):
            # The codes of integers that lie close together are in a table: no search.
            places = raw - self._lowest
            last = len(self._int_codes) - 1
            if len(raw) and (places.min() < 0 or places.max() > last):
                places[(places < 0) | (places > last)] = last
            return self._int_codes.take(places)
        return self._int_codes.take(self._ints.get_indexer(pd.Index(raw)))

    def _index_integers(self) -> pd.Index:
        """The declared integers, to be searched; empty where ``_int_codes`` is a table that begins at the lowest."""
        import pandas as pd

        if self._whole is not None:
            values, codes = self._whole, np.arange(len(self), dtype=np.int32)
        else:
            whole = [(int(value), code) for value, code in self._all().items() if is_whole(value)]
            values = np.array([value for value, _ in whole], np.int64)
            codes = np.array([code for _, code in whole], np.int32)
        lowest, highest = (int(values.min()), int(values.max())) if len(values) else (0, -1)
        if highest - lowest >= max(8 * len(values), _DENSE):
            self._int_codes = np.append(codes, np.int32(UNKNOWN))
            return pd.Index(values)
        self._lowest = lowest
        table = np.full(highest - lowest + 2, UNKNOWN, np.int32)
        table[values - lowest] = codes
        self._int_codes = table
        return pd.Index([])

    def _texts(self, raw: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Texts of Arrow, looked up in a table of what is declared: no caller chooses what is in it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = pa.array(raw)
        whole = pa.LargeStringArray.from_buffers(len(self), *map(pa.py_buffer, (self._ends, self._text)))
        found = pc.index_in(column, value_set=whole.cast(column.type))
        # Where nothing was written there is no key.
        missing = pc.fill_null(pc.equal(pc.binary_length(column), 0), True)
        codes = pc.if_else(missing, pa.scalar(MISSING, pa.int32()), pc.fill_null(found, UNKNOWN))
        return np.asarray(codes, np.int32)

    def _floats(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        kind, bound = raw.dtype, _exact_below(raw.dtype)
        raw = raw.astype(np.float64, copy=False)
        missing = np.isnan(raw)
        whole = np.zeros(len(raw), bool)
        np.equal(np.floor(raw), raw, out=whole, where=~missing)
        whole &= (raw > -bound) & (raw < bound)
        codes = np.full(len(raw), UNKNOWN, np.int32)
        codes[whole] = self._integers(raw[whole].astype(np.int64))
        rest = ~(whole | missing)
        if rest.any():
            others = raw[rest]
            if ((np.abs(others) >= bound) & np.isfinite(others)).any():
                raise _rounded(kind)
            if not self.integer:
                codes[rest] = np.fromiter((self.code(value) for value in others.tolist()), np.int32, len(others))
        codes[missing] = MISSING
        return codes


def _raw(text: str) -> bytes:
    """UTF-8, whose order is that of the texts; halves of surrogate pairs, too."""
    return text.encode("utf-8", "surrogatepass")


def _uniform(raw: np.ndarray[Any, Any]) -> bool:
    """Whether an object array holds values of one kind, so that equal values are equal keys, and hashes are safe.

    Python's hash of an integer is the rest of a division by 2**61 - 1: few of 64 bits have one in common.
    """
    import pandas as pd

    kind = pd.api.types.infer_dtype(raw, skipna=True)
    if kind == "integer":
        try:
            pd.array(raw, dtype="Int64")
        except (OverflowError, TypeError, ValueError):
            return False
    return kind in ("string", "empty", "integer", "date")
