"""Declared keys, and the code of each: what a column of keys is looked up in."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.rows.distinct import factorized, in_arrow
from mmeframe.rows.key_columns import floats_as_such, one_per_row, plain, singly
from mmeframe.rows.keys import MOST, canonical, csv_form, exact_below, is_whole, rounded

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, np.dtype[Any]]
    Codes = int | np.ndarray[Any, np.dtype[np.int32]]

__all__ = ["NO_KEY", "UNKNOWN", "KeyIndex"]

UNKNOWN = -1
NO_KEY = -2

# Integers that span no more than this are looked up in a table.
_DENSE = 65_536
# Entries of a dictionary that are made in the time of one search.
_SEARCHES = 16


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
        """Codes of declared values, which are canonical already; ``NO_KEY`` for None."""
        found = self._all()
        return np.fromiter((NO_KEY if value is None else found[value] for value in values), np.int32, len(values))

    def code(self, value: Any) -> int:
        """The code of one value; ``UNKNOWN`` or ``NO_KEY`` if it has none."""
        text = canonical(value)
        # An empty text is no key: files without types have nothing else for a missing one.
        if not text:
            return NO_KEY
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
            return np.array([self.code(floats_as_such(raw)[0])], np.int32)
        return self._array_codes(plain(raw))

    def _array_codes(self, raw: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
        import pandas as pd

        dtype = raw.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            table = np.array([self.code(value) for value in floats_as_such(raw.categories)] + [NO_KEY], np.int32)
            return table.take(np.asarray(raw.codes))
        if isinstance(dtype, np.dtype):
            if dtype.kind == "b":
                return np.where(raw, self.code(True), self.code(False)).astype(np.int32)
            if dtype.kind in "iu":
                return self._integers(raw)
        if singly(raw):
            return np.fromiter((self.code(value) for value in raw), np.int32, len(raw))
        if dtype.kind == "f":
            return self._floats(raw)
        if in_arrow(dtype) and len(raw) * _SEARCHES > len(self):
            return self._texts(raw)
        positions, uniques = factorized(raw)
        table = np.array([self.code(value) for value in uniques] + [NO_KEY], np.int32)
        return np.asarray(table.take(positions), np.int32)

    def _integers(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        import pandas as pd

        if raw.dtype.kind == "u" and raw.dtype.itemsize == 8 and len(raw) and raw.max() > MOST:
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
        codes = pc.if_else(missing, pa.scalar(NO_KEY, pa.int32()), pc.fill_null(found, UNKNOWN))
        return np.asarray(codes, np.int32)

    def _floats(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        kind, bound = raw.dtype, exact_below(raw.dtype)
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
                raise rounded(kind)
            if not self.integer:
                codes[rest] = np.fromiter((self.code(value) for value in others.tolist()), np.int32, len(others))
        codes[missing] = NO_KEY
        return codes


def _raw(text: str) -> bytes:
    """UTF-8, whose order is that of the texts; halves of surrogate pairs, too."""
    return text.encode("utf-8", "surrogatepass")
