"""Check a batch against a schema, once, and convert its columns to the declared types.

Laxer than MLflow's enforcement where nothing can go wrong (int64 for a double column, a category of text for a string
column), stricter where it would be silent (2.5 for a long column). Messages name columns and types, never values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_complex_dtype, is_numeric_dtype

from mmeframe.errors import BadInputError, suggest
from mmeframe.rows.types import (
    EXACT,
    TYPES,
    RefusedError,
    converter,
    instant,
    is_compound,
    is_missing,
    nullable,
    shown,
    unreadable,
)
from mmeframe.spec import Column

__all__ = ["check_frame", "required"]


def check_frame(
    frame: pd.DataFrame, schema: Sequence[Column], needed: frozenset[str], also: Sequence[str] = ()
) -> pd.DataFrame:
    """The columns of ``schema``, in its order, with its types; index and rows as they are.

    needed: names that must be there. Another column that was not sent is null in every row; it is left out where its
    type has no null. Where an optional column of such a type has missing values, it has pandas' nullable type.
    Columns outside the schema are left out.
    also: names of columns that were sent and are not in ``frame``, for messages.
    Raises BadInputError with everything that is wrong.
    """
    faults: list[str] = []
    columns: dict[str, Any] = {}
    for column in schema:
        if column.name not in frame.columns:
            if column.name in needed:
                close = _others(column.name, schema, (*frame.columns, *also)) if len(faults) < _HINTS else ""
                faults.append(f"column {column.name!r} ({shown(column.type)}) is missing. {close}".rstrip())
            elif nullable(column.type):
                columns[column.name] = _nulls(column.type, frame.index)
            continue
        try:
            columns[column.name] = _convert(frame[column.name], column.type, column.name in needed)
        except RefusedError as error:
            faults.append(f"column {column.name!r} must be {shown(column.type)}: {error}.")
        except Exception as error:  # noqa: BLE001 - a cell may be an object of the caller's, and raise anything
            faults.append(f"column {column.name!r} must be {shown(column.type)}: {unreadable(error)}.")
    if faults:
        raise BadInputError(faults[0], hint="\n  ".join(faults[1:]))
    return pd.DataFrame(columns, index=frame.index, copy=False)


# Missing columns for which the nearest name is looked for: a message shows no more, and looking takes time.
_HINTS = 5


def _others(name: str, schema: Sequence[Column], sent: Sequence[str]) -> str:
    known = {column.name for column in schema}
    return suggest(name, [it for it in sent if it not in known], "Other columns that were sent")


def _nulls(kind: str, index: Any) -> pd.Series[Any]:
    null = None if kind not in _PLAIN else np.nan
    found: pd.Series[Any] = pd.Series(np.full(len(index), null, object), index, dtype=_PLAIN.get(kind, object))
    return found


def _convert(series: pd.Series[Any], kind: str, needed: bool) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        # Whole numbers and booleans beside a missing one stay what they are.
        kept = (
            object if series.dtype.categories.dtype.kind in "iub" and series.hasnans else series.dtype.categories.dtype
        )
        series = series.astype(kept)
    if not len(series):
        # A table without rows has no types: JSON gives object columns, whatever was declared.
        empty: pd.Series[Any] = pd.Series([], series.index, dtype=_PLAIN.get(kind, object), name=series.name)
        return empty
    if kind not in _PLAIN:
        return _cells(series, kind, needed)
    if not needed and not nullable(kind) and (missing := series.isna()).any():
        return _with_holes(series, kind, missing)
    if kind in _NUMBERS:
        return _number(series, kind)
    if kind == "boolean":
        return _boolean(series)
    return _string(series) if kind == "string" else _datetime(series)


# Objects before pandas 3.
_TEXT = pd.Series(["a"]).dtype
_PLAIN: Mapping[str, Any] = {"string": _TEXT, **{name: np.dtype(it.numpy) for name, it in TYPES.items() if it.numpy}}
_NUMBERS = frozenset(name for name, it in _PLAIN.items() if it.kind in "if")


def _cells(series: pd.Series[Any], kind: str, needed: bool) -> pd.Series[Any]:
    """Arrays, maps, objects, bytes, and what may be anything: cell by cell."""
    convert = converter(kind)
    cells = [None if is_missing(cell) else convert(cell) for cell in series]
    if needed and is_compound(kind) and (missing := sum(cell is None for cell in cells)):
        raise RefusedError(f"{missing} values are missing")
    found = np.empty(len(cells), object)
    for row, cell in enumerate(cells):
        found[row] = cell
    # pandas would make a type of texts and of times, and another null, which depend on the rows beside them.
    return pd.Series(found, series.index, dtype=object, name=series.name)


def _with_holes(series: pd.Series[Any], kind: str, missing: pd.Series[Any]) -> pd.Series[Any]:
    """Whole numbers or booleans with missing ones among them, in pandas' nullable type."""
    lacks = missing.to_numpy()
    values = np.zeros(len(series), _PLAIN[kind])
    if not lacks.all():
        values[~lacks] = _convert(series[~lacks], kind, True).to_numpy()
    nullable = pd.arrays.BooleanArray if kind == "boolean" else pd.arrays.IntegerArray
    # Not by assignment, which would make floats of large whole numbers.
    return pd.Series(nullable(values, lacks), series.index, name=series.name)


def _number(series: pd.Series[Any], kind: str) -> pd.Series[Any]:
    wanted = _PLAIN[kind]
    if series.dtype == wanted:
        return series
    if series.dtype == object:
        if infer_dtype(series, skipna=True) not in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
            raise RefusedError(f"it holds {_content(series)}")
    elif not is_numeric_dtype(series.dtype) or is_bool_dtype(series.dtype) or is_complex_dtype(series.dtype):
        raise RefusedError(f"it is {series.dtype}")
    values = _floats(series, wanted) if wanted.kind == "f" else _wholes(series, wanted)
    return pd.Series(values, series.index, name=series.name)


def _floats(series: pd.Series[Any], wanted: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if series.dtype == object:
        series = pd.Series([np.nan if missing else cell for cell, missing in zip(series, series.isna(), strict=True)])
    try:
        wide = series.to_numpy(np.float64, na_value=np.nan)
    except OverflowError:
        raise RefusedError("a value is out of range") from None
    with np.errstate(over="ignore"):
        values = wide.astype(wanted, copy=False)
    if wanted != wide.dtype and (np.isinf(values) & ~np.isinf(wide)).any():
        raise RefusedError("a value is out of range")
    return values


def _wholes(series: pd.Series[Any], wanted: np.dtype[Any]) -> np.ndarray[Any, Any]:
    missing = int(series.isna().sum())
    if missing:
        raise RefusedError(f"{missing} values are missing, and integers have no null")
    values = series.to_numpy()
    if values.dtype == object:
        whole = np.array([math.isfinite(value) and value == int(value) for value in values])
    else:
        whole = np.isfinite(values) & (values == np.floor(values))
    if not whole.all():
        raise RefusedError(f"{int((~whole).sum())} rows are not whole numbers")
    bounds = np.iinfo(wanted)
    # Compared as Python's numbers, which neither round nor overflow.
    if int(values.min()) < bounds.min or int(values.max()) > bounds.max:
        raise RefusedError("a value is out of range")
    if _inexact(values):
        raise RefusedError("a value has more digits than a float holds: send integers")
    return values.astype(wanted)


def _inexact(values: np.ndarray[Any, Any]) -> bool:
    """Whether some are floats that may stand for several whole numbers."""
    if values.dtype.kind == "f":
        return bool((np.abs(values.astype(np.float64)) >= 2.0 ** (np.finfo(values.dtype).nmant + 1)).any())
    return (
        any(isinstance(value, float) and abs(value) >= EXACT for value in values) if values.dtype == object else False
    )


def _boolean(series: pd.Series[Any]) -> pd.Series[Any]:
    if series.dtype == np.dtype(bool):
        return series
    if series.isna().any():
        raise RefusedError(f"{int(series.isna().sum())} values are missing")
    if not is_bool_dtype(series.dtype) and infer_dtype(series) != "boolean":
        raise RefusedError(f"it is {series.dtype}")
    return series.astype(bool)


def _string(series: pd.Series[Any]) -> pd.Series[Any]:
    missing = series.isna()
    if not missing.all():
        if series.dtype == object:
            if infer_dtype(series, skipna=True) != "string":
                raise RefusedError(f"it holds {_content(series)}")
        elif not pd.api.types.is_string_dtype(series.dtype):
            raise RefusedError(f"it is {series.dtype}")
    # pandas' default text type, whatever was sent: models were trained on it. A missing text is NaN in it.
    return series if series.dtype == _TEXT else series.astype(object).where(~missing, np.nan).astype(_TEXT)


def _datetime(series: pd.Series[Any]) -> pd.Series[Any]:
    """Times without a zone, in nanoseconds, as MLflow's ``datetime`` is; those with one are UTC's."""
    if is_numeric_dtype(series.dtype) and not series.isna().all():
        raise RefusedError(f"it is {series.dtype}")
    if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
        for cell in series:
            if isinstance(cell, str):
                instant(cell)
    if series.dtype == object and infer_dtype(series, skipna=True) not in _TIMES:
        # Times as text beside times: each row alone would be accepted.
        if not all(isinstance(cell, str) or hasattr(cell, "isoformat") for cell in series.dropna()):
            raise RefusedError(f"it holds {_content(series)}")
        series = series.map(lambda cell: cell if isinstance(cell, str) else cell.isoformat(), na_action="ignore")
    try:
        times: pd.Series[Any] = series
        if series.dtype.kind != "M":
            times = pd.to_datetime(series, format="ISO8601", utc=True)
        if isinstance(times.dtype, pd.DatetimeTZDtype):
            times = times.dt.tz_convert(None)
        return times.astype("datetime64[ns]")
    except pd.errors.OutOfBoundsDatetime:
        raise RefusedError("a value is out of range") from None
    except (ValueError, TypeError):
        raise RefusedError("it holds text that is no ISO 8601 timestamp") from None


_TIMES = ("string", "datetime", "datetime64", "date", "empty")


def _content(series: pd.Series[Any]) -> str:
    if series.map(lambda cell: isinstance(cell, list | tuple | dict | np.ndarray)).any():
        return "lists or objects"
    return {"string": "text", "boolean": "booleans", "mixed-integer": "text and numbers"}.get(
        found := infer_dtype(series, skipna=True), f"{found} values"
    )


def required(columns: Sequence[Column]) -> frozenset[str]:
    """Names of the columns that every row has."""
    return frozenset(column.name for column in columns if column.required)
