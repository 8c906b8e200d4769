"""Normalisation of routing keys: one rule, used when a router is built and when rows are routed.

A value's canonical form is text: ``7``, ``7.0``, ``Decimal("7.00")`` and ``np.int64(7)`` are ``"7"``; text is itself
(``"02108"`` stays ``"02108"``, ``"7.0"`` is not ``"7"``); bools are ``"True"`` and ``"False"``; timestamps are
ISO; None, NaN and NaT are missing. Integer columns never become text: they are looked up as integers.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]
    Codes = int | np.ndarray[Any, np.dtype[np.int32]]

__all__ = ["MISSING", "NA_WORDS", "UNKNOWN", "KeyIndex", "canonical", "csv_hazard", "is_whole", "normalised"]

UNKNOWN = -1
MISSING = -2

# Integers that span no more than this are looked up in a table.
_DENSE = 65_536
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


def canonical(value: Any) -> str | None:
    """The canonical text of one key value, None if it is missing.

    Raises BadInputError for what is no scalar: the text of a list would be a key that nobody declared.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int or kind is np.int64:
        return str(value)
    if kind is float or kind is np.float64:
        if value != value:  # NaN
            return None
        return str(int(value)) if value.is_integer() else repr(float(value))
    if value is None:
        return None
    if isinstance(value, np.generic):
        if isinstance(value, np.datetime64 | np.timedelta64):
            if np.isnat(value):
                return None
            import pandas as pd

            return canonical(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
        return canonical(float(value) if isinstance(value, np.floating) else value.item())
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return canonical(value[()])
    if isinstance(value, list | tuple | dict | set | frozenset | np.ndarray):
        raise BadInputError(f"a routing key must be one value, not {kind.__name__}.")
    if isinstance(value, Decimal):
        # As files and databases hold money: 7.00 has the digits of its column, and is 7.
        if value.is_nan():
            return None
        # 1E+999999999 has a billion digits.
        short = value.is_finite() and value.adjusted() < 400
        return str(int(value)) if short and value == int(value) else canonical(float(value))
    if type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def csv_hazard(text: str) -> str | None:
    """What a CSV reader would make of this key instead, None if it survives as it is."""
    if text in NA_WORDS:
        return "a missing value"
    if text.lower() in ("true", "false"):
        return None if text in ("True", "False") else f"the boolean {text.capitalize()}"
    if is_whole(text) or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return None if canonical(number) == text else f"the number {number:g}"


def normalised(raw: Any, n_rows: int) -> pd.Categorical:
    """Raw key values as a category of canonical texts, one per row; missing values have no category.

    raw: a scalar for all rows, or a 1-D array or pandas array. The work is done once per distinct value.
    Raises BadInputError for what is no scalar, ValueError if an array has another length.
    """
    import pandas as pd

    if np.ndim(raw) == 0:
        text = canonical(raw)
        codes = np.full(n_rows, -1 if text is None else 0, np.int32)
        return pd.Categorical.from_codes(codes, pd.Index([] if text is None else [text], dtype=object), validate=False)
    if len(raw) != n_rows:
        raise ValueError(f"{len(raw)} key values for {n_rows} rows")
    positions, distinct = _distinct(raw)
    texts = np.array([*map(canonical, distinct), None], object)
    # Values that differ may have one text: 7 and 7.0 are one key.
    merged, known = pd.factorize(texts)
    return pd.Categorical.from_codes(merged.take(positions), pd.Index(known, dtype=object), validate=False)


def _distinct(raw: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Sequence[Any]]:
    """Position of each row's value among distinct ones, -1 for a missing one."""
    import pandas as pd

    dtype = getattr(raw, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        return np.asarray(raw.codes, np.intp), list(raw.categories)
    if dtype is None or (dtype == np.dtype(object) and not _uniform(np.asarray(raw))):
        # 1, 1.0 and True are one value to a hash table, but not one key.
        return np.arange(len(raw)), list(raw)
    positions, distinct = pd.factorize(raw)
    return positions, list(distinct)


class KeyIndex:
    """Declared values of one key part, sorted, and the code of each: its place among them.

    Made of arrays, which may lie in a file: nothing is copied, decoded or hashed before a value is asked for.
    Immutable but for what is remembered of values that were asked for; safe to share between threads.

    text: the values' UTF-8, one after another. ends: shape (n + 1,), where each ends, after a 0. whole: shape (n,), the
    values as integers, if every one is whole.
    """

    def __init__(self, text: Array, ends: Array, whole: Array | None = None) -> None:
        # What it is made of, by name.
        self.arrays: Mapping[str, Array] = {"text": text, "ends": ends} | ({} if whole is None else {"whole": whole})
        self._text, self._ends, self._whole = text.data, ends.data, whole
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
        whole = np.array([*map(int, ordered)], np.int64) if ordered and all(map(is_whole, ordered)) else None
        return cls(np.frombuffer(b"".join(texts), np.uint8), ends, whole)

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

        raw: a scalar, or a 1-D array or pandas array with one value per row.
        Raises ValueError if an array has another length.
        """
        if np.ndim(raw) == 0:
            return self.code(raw)
        if len(raw) != n_rows:
            raise ValueError(f"{len(raw)} key values for {n_rows} rows")
        if n_rows == 1:
            return np.array([self.code(raw[0])], np.int32)
        return self._array_codes(raw)

    def _array_codes(self, raw: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
        import pandas as pd

        dtype = raw.dtype if hasattr(raw, "dtype") else None
        if isinstance(dtype, pd.CategoricalDtype):
            table = np.array([self.code(value) for value in raw.categories] + [MISSING], np.int32)
            return table.take(np.asarray(raw.codes))
        if isinstance(dtype, np.dtype):
            if dtype.kind == "b":
                return np.where(raw, self.code(True), self.code(False)).astype(np.int32)
            if dtype.kind in "iu":
                return self._integers(raw)
            if dtype.kind == "f":
                return self._floats(raw)
            if dtype.kind == "O" and not _uniform(raw):
                # 1, 1.0 and True are one value to a hash table, but not one key.
                return np.fromiter((self.code(value) for value in raw), np.int32, len(raw))
        elif isinstance(raw, list | tuple):
            return np.fromiter((self.code(value) for value in raw), np.int32, len(raw))
        positions, uniques = pd.factorize(raw)
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

    def _floats(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        raw = raw.astype(np.float64, copy=False)
        missing = np.isnan(raw)
        whole = np.zeros(len(raw), bool)
        np.equal(np.floor(raw), raw, out=whole, where=~missing)
        whole &= (raw >= -(2.0**63)) & (raw < 2.0**63)
        codes = np.full(len(raw), UNKNOWN, np.int32)
        codes[whole] = self._integers(raw[whole].astype(np.int64))
        rest = ~(whole | missing)
        if not self.integer and rest.any():
            codes[rest] = np.fromiter((self.code(value) for value in raw[rest].tolist()), np.int32, int(rest.sum()))
        codes[missing] = MISSING
        return codes


def _raw(text: str) -> bytes:
    """UTF-8, whose order is that of the texts; halves of surrogate pairs, too."""
    return text.encode("utf-8", "surrogatepass")


def _uniform(raw: np.ndarray[Any, Any]) -> bool:
    """Whether an object array holds values of one kind, so that equal values are equal keys."""
    from pandas.api.types import infer_dtype

    return infer_dtype(raw, skipna=True) in ("string", "empty", "integer", "date")
