"""Normalisation of routing keys: one rule, used when a router is built and when rows are routed.

A value's canonical form is text: ``7``, ``7.0`` and ``np.int64(7)`` are ``"7"``; text is itself
(``"02108"`` stays ``"02108"``, ``"7.0"`` is not ``"7"``); bools are ``"True"`` and ``"False"``; timestamps are
ISO; None, NaN and NaT are missing. Integer columns never become text: they are looked up as integers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmeframe.errors import BadInputError

if TYPE_CHECKING:
    import pandas as pd

    Codes = int | np.ndarray[Any, np.dtype[np.int32]]

__all__ = ["MISSING", "NA_WORDS", "UNKNOWN", "KeyIndex", "canonical", "csv_hazard", "is_whole", "normalised"]

UNKNOWN = -1
MISSING = -2

# Integers that span no more than this are looked up in a table.
_DENSE = 65_536
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_INT64 = np.iinfo(np.int64)
# What pandas.read_csv turns into NaN by default, in the spellings that a key could have.
NA_WORDS = frozenset(
    ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)


def is_whole(text: str) -> bool:
    """Whether ``text`` is how an integer is written (``"7"``, ``"-3"``; not ``"07"``, ``"7.0"``, ``"-0"``)."""
    # No int64 has more than 20 letters, and Python refuses to read very long ones.
    short = len(text) <= 20 and text != "-0" and _WHOLE.fullmatch(text) is not None
    return short and _INT64.min <= int(text) <= _INT64.max


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
    """Declared values of one key part, and the code of each: its position in ``values``.

    Immutable after construction but for look-up structures made on first use; safe to share between threads.
    """

    def __init__(self, values: Sequence[str]) -> None:
        self.values = tuple(values)
        # Whether every declared value is a whole number, so that a column of them is read as integers.
        self.integer = bool(self.values) and all(map(is_whole, self.values))
        self._codes = {value: code for code, value in enumerate(self.values)}
        self._ints: pd.Index | None = None
        self._int_codes = np.empty(0, np.int32)
        self._lowest = 0

    def declared(self, values: Sequence[str | None]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Codes of declared values, which are canonical already; ``MISSING`` for None."""
        found = self._codes
        return np.fromiter((MISSING if value is None else found[value] for value in values), np.int32, len(values))

    def code(self, value: Any) -> int:
        """The code of one value; ``UNKNOWN`` or ``MISSING`` if it has none."""
        text = canonical(value)
        return MISSING if text is None else self._codes.get(text, UNKNOWN)

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

        if raw.dtype.kind == "u" and raw.dtype.itemsize == 8 and len(raw) and raw.max() > _INT64.max:
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

        whole = [(int(value), code) for value, code in self._codes.items() if is_whole(value)]
        values, codes = [value for value, _ in whole], [code for _, code in whole]
        if whole and max(values) - min(values) >= max(8 * len(values), _DENSE):
            self._int_codes = np.array([*codes, UNKNOWN], np.int32)
            return pd.Index(np.array(values, np.int64))
        self._lowest = min(values, default=0)
        table = np.full(max(values, default=0) - self._lowest + 2, UNKNOWN, np.int32)
        table[np.array(values, np.int64) - self._lowest] = codes
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


def _uniform(raw: np.ndarray[Any, Any]) -> bool:
    """Whether an object array holds values of one kind, so that equal values are equal keys."""
    from pandas.api.types import infer_dtype

    return infer_dtype(raw, skipna=True) in ("string", "empty", "integer", "date")
