"""Distinct values of a column, in time linear in its rows whatever a caller puts into them."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

__all__ = ["factorized", "in_arrow", "uniform"]

# A product with an odd number that nobody else knows, and the way back.
_MIX = secrets.randbits(64) | 1
_UNMIX = pow(_MIX, -1, 2**64)
# Of 64 bits, in texts that are hashed by these.
_WORDS = 8
# Texts that meet in one of Arrow's hash tables.
_PIECE = 2048


def factorized(values: Any) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Any]:
    """``pandas.factorize`` of a column, in time linear in its rows whatever they hold.

    The hashes of pandas and of Arrow are public, so that a request can be made of values that all collide, and would
    take time quadratic in them. Python's hashes of texts are seeded; those of wide integers, which are not, are kept
    away from hash tables (see ``uniform``).

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
    if in_arrow(dtype):
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


def in_arrow(dtype: Any) -> bool:
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


def uniform(raw: np.ndarray[Any, Any]) -> bool:
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
