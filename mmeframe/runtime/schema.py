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
from mmeframe.spec import Column

__all__ = ["NUMBERS", "check_frame"]

NUMBERS: Mapping[str, np.dtype[Any]] = {
    "integer": np.dtype(np.int32),
    "long": np.dtype(np.int64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}


class _RefusedError(Exception):
    """Why a column cannot have its declared type."""


def check_frame(
    frame: pd.DataFrame, schema: Sequence[Column], needed: frozenset[str], also: Sequence[str] = ()
) -> pd.DataFrame:
    """The columns of ``schema`` that were sent, in its order, with its types; index and rows as they are.

    needed: names that must be there. Other columns of the schema may be missing; columns outside it are left out.
    also: names of columns that were sent and are not in ``frame``, for messages.
    Raises BadInputError with everything that is wrong.
    """
    faults = []
    columns = {}
    for column in schema:
        if column.name not in frame.columns:
            if column.name in needed:
                others = [name for name in (*frame.columns, *also) if name not in {item.name for item in schema}]
                close = suggest(column.name, others, "Other columns that were sent")
                faults.append(f"column {column.name!r} ({column.type}) is missing. {close}")
            continue
        try:
            columns[column.name] = _convert(frame[column.name], column.type)
        except _RefusedError as error:
            faults.append(f"column {column.name!r} must be {column.type}: {error}.")
    if faults:
        raise BadInputError(faults[0], hint="\n  ".join(faults[1:]))
    return pd.DataFrame(columns, index=frame.index, copy=False)


def _convert(series: pd.Series[Any], kind: str) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        # As numpy sees it: whole numbers with a missing one become floats.
        series = pd.Series(np.asarray(series.array), series.index, name=series.name)
    if kind not in _EMPTY:
        return series
    if not len(series):
        # A table without rows has no types: JSON gives object columns, whatever was declared.
        empty: pd.Series[Any] = pd.Series([], series.index, dtype=_EMPTY[kind], name=series.name)
        return empty
    if kind in NUMBERS:
        return _number(series, kind)
    if kind == "boolean":
        return _boolean(series)
    return _string(series) if kind == "string" else _datetime(series)


_EMPTY: Mapping[str, Any] = {**NUMBERS, "boolean": bool, "string": object, "datetime": "datetime64[ns]"}


def _number(series: pd.Series[Any], kind: str) -> pd.Series[Any]:
    wanted = NUMBERS[kind]
    if series.dtype == wanted:
        return series
    if series.dtype == object:
        if infer_dtype(series, skipna=True) not in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
            raise _RefusedError(f"it holds {_content(series)}")
    elif not is_numeric_dtype(series.dtype) or is_bool_dtype(series.dtype) or is_complex_dtype(series.dtype):
        raise _RefusedError(f"it is {series.dtype}")
    values = _floats(series, wanted) if wanted.kind == "f" else _wholes(series, wanted)
    return pd.Series(values, series.index, name=series.name)


def _floats(series: pd.Series[Any], wanted: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if series.dtype == object:
        series = pd.Series([np.nan if missing else cell for cell, missing in zip(series, series.isna(), strict=True)])
    try:
        wide = series.to_numpy(np.float64, na_value=np.nan)
    except OverflowError:
        raise _RefusedError("a value is out of range") from None
    with np.errstate(over="ignore"):
        values = wide.astype(wanted, copy=False)
    if wanted != wide.dtype and (np.isinf(values) & ~np.isinf(wide)).any():
        raise _RefusedError("a value is out of range")
    return values


def _wholes(series: pd.Series[Any], wanted: np.dtype[Any]) -> np.ndarray[Any, Any]:
    missing = int(series.isna().sum())
    if missing:
        raise _RefusedError(f"{missing} rows are missing, and whole numbers cannot be")
    values = series.to_numpy()
    if values.dtype == object:
        whole = np.array([math.isfinite(value) and value == int(value) for value in values])
    else:
        whole = np.isfinite(values) & (values == np.floor(values))
    if not whole.all():
        raise _RefusedError(f"{int((~whole).sum())} rows are not whole numbers")
    bounds = np.iinfo(wanted)
    # Compared as Python's numbers, which neither round nor overflow.
    if int(values.min()) < bounds.min or int(values.max()) > bounds.max:
        raise _RefusedError("a value is out of range")
    return values.astype(wanted)


def _boolean(series: pd.Series[Any]) -> pd.Series[Any]:
    if series.dtype == np.dtype(bool):
        return series
    if series.isna().any():
        raise _RefusedError(f"{int(series.isna().sum())} rows are missing")
    if not is_bool_dtype(series.dtype) and infer_dtype(series) != "boolean":
        raise _RefusedError(f"it is {series.dtype}")
    return series.astype(bool)


def _string(series: pd.Series[Any]) -> pd.Series[Any]:
    missing = series.isna()
    if not missing.all():
        if series.dtype == object:
            if infer_dtype(series, skipna=True) != "string":
                raise _RefusedError(f"it holds {_content(series)}")
        elif not pd.api.types.is_string_dtype(series.dtype):
            raise _RefusedError(f"it is {series.dtype}")
    # pandas' default text type is what models were trained on; others become objects. A missing text is NaN in both,
    # however it was sent: whether JSON's null comes as None or as NaN depends on the other rows.
    return series if str(series.dtype) == "str" else series.astype(object).where(~missing, np.nan)


def _datetime(series: pd.Series[Any]) -> pd.Series[Any]:
    """Times without a zone, in nanoseconds, as MLflow's ``datetime`` is; those with one are UTC's."""
    if is_numeric_dtype(series.dtype) and not series.isna().all():
        raise _RefusedError(f"it is {series.dtype}")
    if series.dtype == object and infer_dtype(series, skipna=True) not in _TIMES:
        # Times as text beside times: each row alone would be accepted.
        if not all(isinstance(cell, str) or hasattr(cell, "isoformat") for cell in series.dropna()):
            raise _RefusedError(f"it holds {_content(series)}")
        series = series.map(lambda cell: cell if isinstance(cell, str) else cell.isoformat(), na_action="ignore")
    try:
        times: pd.Series[Any] = series
        if series.dtype.kind != "M":
            times = pd.to_datetime(series, format="ISO8601", utc=True)
        if isinstance(times.dtype, pd.DatetimeTZDtype):
            times = times.dt.tz_convert(None)
        return times.astype("datetime64[ns]")
    except pd.errors.OutOfBoundsDatetime:
        raise _RefusedError("a value is out of range") from None
    except (ValueError, TypeError):
        raise _RefusedError("it holds text that is no ISO 8601 timestamp") from None


_TIMES = ("string", "datetime", "datetime64", "date", "empty")


def _content(series: pd.Series[Any]) -> str:
    return {"string": "text", "boolean": "booleans", "mixed-integer": "text and numbers"}.get(
        found := infer_dtype(series, skipna=True), f"{found} values"
    )
