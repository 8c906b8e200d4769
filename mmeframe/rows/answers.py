"""Answers of sub-models as arrays and frames: values as they are given, in the order of the rows, gathered by rows."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import ModelError, count
from mmeframe.rows.labels import in_order
from mmeframe.rows.types import EXACT, RefusedError, converter, is_compound, is_missing

__all__ = ["as_prediction", "cells", "for_json", "frame_of", "gather", "in_text", "nulls", "of_kind"]

Rows = np.ndarray[Any, np.dtype[np.intp]]


def as_prediction(raw: Any, n_rows: int, model_id: str, kind: str = "") -> Any:
    """A sub-model's answer as a frame, or as an array of shape (n_rows,) or (n_rows, outputs), in the rows' order.

    Values stay as they are given: where no type of numpy holds all of them, they are objects. kind: the declared type,
    where one value per row is declared: a row's answer may then be a list or an object.
    Raises ModelError if it is not one answer per row.
    """
    raw = in_order(_of_any_library(raw, n_rows, model_id))
    if isinstance(raw, list | tuple):
        raw = _listed(raw, kind, model_id)
    found: Any = raw
    if isinstance(raw, pd.DataFrame):
        # Columns that are numbered have their names as text.
        found = raw = raw if all(isinstance(name, str) for name in raw) else raw.set_axis([*map(str, raw)], axis=1)
        if not raw.columns.is_unique:
            twice = raw.columns[raw.columns.duplicated()][0]
            raise ModelError(f"its answers have two columns named {twice!r}.", where=model_id)
        if not all(isinstance(dtype, np.dtype) for dtype in raw.dtypes):
            found = frame_of({name: _plain(raw[name]) for name in raw.columns})
    elif isinstance(raw, pd.Series):
        found = _plain(raw)
    else:
        found = np.asarray(raw)
    if not np.ndim(found):
        raise ModelError(
            f"it answered with a {type(raw).__name__}, not with one answer per row.",
            where=model_id,
            hint="Answer with a list, an array, a Series or a table, which has a value or a row for each row.",
        )
    if is_compound(kind) and isinstance(found, np.ndarray) and found.ndim > 1:
        found = cells(found.tolist())
    if len(found) != n_rows or np.ndim(found) > 2:
        raise ModelError(f"it gave {count(len(found), 'answer')} for {count(n_rows, 'row')}.", where=model_id)
    return of_kind(found, kind)


def _of_any_library(raw: Any, n_rows: int, model_id: str) -> Any:
    """An answer as numpy or pandas have it, with its nulls and the names of its columns: numpy alone drops both."""
    if isinstance(raw, pd.DataFrame | pd.Series):
        return raw
    if hasattr(raw, "__arrow_c_stream__") or hasattr(raw, "__arrow_c_array__"):
        return _of_arrow(raw)
    if isinstance(raw, np.ma.MaskedArray):
        known = np.flatnonzero(~np.ma.getmaskarray(raw))
        return gather([(known, raw.data.ravel()[known])], raw.size).reshape(raw.shape)
    if isinstance(raw, np.ndarray) and raw.dtype.names:
        return frame_of({name: raw[name] for name in raw.dtype.names})
    if isinstance(raw, pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(raw, range(len(raw)))
    if isinstance(raw, Mapping):
        columns = {name: as_prediction(values, n_rows, model_id, "any") for name, values in raw.items()}
        return frame_of({name: it if np.ndim(it) == 1 else cells(it.tolist()) for name, it in columns.items()})
    # Sparse ones.
    return raw.toarray() if hasattr(raw, "toarray") else raw


def _of_arrow(raw: Any) -> Any:
    """A table or column of Arrow, or of a library that hands out Arrow's memory."""
    import pyarrow as pa

    def kept(kind: Any) -> Any:
        # pandas' own types for these have no null.
        return pd.ArrowDtype(kind) if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else None

    if hasattr(raw, "columns"):
        return pa.table(raw).to_pandas(types_mapper=kept)
    column = pa.chunked_array(raw) if hasattr(raw, "__arrow_c_stream__") else pa.array(raw)
    return pa.table({"": column}).to_pandas(types_mapper=kept)[""]


def _listed(answers: Sequence[Any], kind: str, model_id: str) -> Any:
    """A list's answers: values, or rows of values, or records; numpy would make one kind of values of several."""
    if is_compound(kind) and (not _records(answers) or _fits(answers[0], kind)):
        return cells(answers)
    if kind == "any" and any(map(_several, answers)):
        return cells(answers)
    if _records(answers):
        names = dict.fromkeys(name for row in answers for name in row)
        return frame_of({name: _column([row.get(name) for row in answers]) for name in names})
    if not any(map(_several, answers)):
        return _column([it[()] if isinstance(it, np.ndarray) else it for it in answers])
    if len({len(it) if _several(it) else -1 for it in answers}) > 1:
        raise ModelError("its answers have different lengths.", where=model_id)
    if all(isinstance(it, np.ndarray) and it.dtype == answers[0].dtype for it in answers):
        return np.stack(answers)
    values = _column([value for row in answers for value in row])
    return values.reshape(len(answers), -1)


def _several(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _records(answers: Sequence[Any]) -> bool:
    return len(answers) > 0 and all(isinstance(it, Mapping) for it in answers)


def _fits(value: Any, kind: str) -> bool:
    """Whether a record is a value of the declared type, not one that holds it by its column's name."""
    try:
        converter(kind)(value)
    except RefusedError:
        return False
    return True


def _column(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """An array of numbers or booleans of one kind, else of objects."""
    kinds = {_KINDS.get(type(value), object) for value in values}
    if len(kinds) == 1 and (kind := kinds.pop()) is not object:
        found = np.array(values)
        # Python's whole numbers have any size.
        if found.dtype.kind == np.dtype(kind).kind:
            return found
    return cells(values)


_KINDS: Mapping[type, type] = {bool: bool, np.bool_: bool, int: int, float: float} | {
    kind: int if issubclass(kind, np.integer) else float
    for kind in np.sctypeDict.values()
    if issubclass(kind, np.integer | np.floating)
}


def of_kind(found: Any, kind: str) -> Any:
    """Objects as the doubles that are declared, if doubles hold them; a null among them is NaN."""
    if kind not in ("float", "double") or not isinstance(found, np.ndarray) or found.dtype != object:
        return found
    plain = [np.nan if is_missing(value) else value for value in found.ravel().tolist()]
    if any(_KINDS.get(type(value)) not in (int, float) for value in plain):
        return found
    whole = [int(value) for value in plain if _KINDS[type(value)] is int]
    return found if any(abs(value) > EXACT for value in whole) else np.array(plain, np.float64).reshape(found.shape)


def _plain(series: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """numpy's values of pandas' types: NaN for a missing double, None for what else is missing."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    missing = series.isna()
    if isinstance(dtype, pd.DatetimeTZDtype):
        return series.to_numpy(object)
    if isinstance(dtype, pd.CategoricalDtype) and not (missing.any() and dtype.categories.dtype.kind in "iub"):
        return _plain(series.astype(dtype.categories.dtype))
    if dtype.kind == "f":
        return series.to_numpy(np.float64 if missing.any() else getattr(dtype, "numpy_dtype", None), na_value=np.nan)
    if dtype.kind in "iu" and not missing.any():
        return series.to_numpy(getattr(dtype, "numpy_dtype", None))
    if dtype.kind == "b" and not missing.any():
        return series.to_numpy(bool)
    return series.astype(object).where(~missing, None).to_numpy()


def gather(pieces: Sequence[tuple[Rows, Any]], n_rows: int) -> Any:
    """One array or frame with ``n_rows`` rows from the pieces of sub-models, which have one shape.

    pieces: (rows, prediction). Rows that no piece covers are NaN among doubles, NaT among times, else None.
    """
    if isinstance(pieces[0][1], pd.DataFrame):
        names = pieces[0][1].columns
        return frame_of({name: gather([(rows, it[name].to_numpy()) for rows, it in pieces], n_rows) for name in names})
    covered = sum(len(piece) for _, piece in pieces)
    dtype = _common([piece for _, piece in pieces], whole=covered == n_rows)
    empty = np.empty if covered == n_rows else _nulls
    out = empty((n_rows, *pieces[0][1].shape[1:]), dtype)
    for rows, piece in pieces:
        out[rows] = _objects(piece) if dtype.kind == "O" else piece
    return out


def _common(pieces: Sequence[np.ndarray[Any, Any]], *, whole: bool) -> np.dtype[Any]:
    """The type that holds all answers as they are, and nulls unless every row is covered."""
    dtypes: set[np.dtype[Any]] = {piece.dtype for piece in pieces}
    kinds = {dtype.kind for dtype in dtypes}
    if not (whole or kinds <= {"f"} or kinds == {"M"} or kinds == {"m"}):
        return np.dtype(object)
    if len(dtypes) == 1:
        return dtypes.pop()
    if kinds <= set("iuf") or kinds in ({"M"}, {"m"}, {"U"}):
        common: np.dtype[Any] = np.result_type(*dtypes)
        if all(piece.dtype == common or _holds(common, piece) for piece in pieces):
            return np.dtype(common)
    return np.dtype(object)


def _holds(common: np.dtype[Any], piece: np.ndarray[Any, Any]) -> bool:
    """Whether a type has every value of an array."""
    if piece.dtype.kind == "f":
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        back = piece.astype(common).astype(piece.dtype)
    return bool(((back == piece) | (piece != piece)).all())


def frame_of(columns: Mapping[Any, np.ndarray[Any, Any]]) -> pd.DataFrame:
    """A frame of these columns as they are: of objects that are texts pandas would make its own type, without None."""
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}, copy=False)


def cells(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """An array of objects, one for each value: numpy would look into lists."""
    found = np.empty(len(values), object)
    for row, value in enumerate(values):
        found[row] = value
    return found


def _objects(piece: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values as objects; times stay times, which numpy would make numbers of."""
    return cells(pd.Series(piece.ravel()).tolist()).reshape(piece.shape) if piece.dtype.kind in "Mm" else piece


def nulls(kind: str, n_rows: int) -> np.ndarray[Any, Any]:
    """``n_rows`` nulls of one of MLflow's types: NaN for doubles, NaT for times, None for the rest."""
    if kind in ("float", "double"):
        return np.full(n_rows, np.nan)
    return np.full(n_rows, "NaT", "M8[ns]") if kind == "datetime" else np.full(n_rows, None, object)


def _nulls(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    null: Any = {"f": np.nan, "M": "NaT", "m": "NaT"}.get(dtype.kind)
    return np.full(shape, null, dtype)


def for_json(answer: Any) -> Any:
    """An answer with None for what JSON has no word for: NaN, NaT and infinite numbers, of which it makes null."""
    if isinstance(answer, Mapping):
        return {name: for_json(values) for name, values in answer.items()}
    if isinstance(answer, pd.DataFrame):
        return frame_of({name: for_json(_plain(answer[name])) for name in answer.columns}).set_axis(answer.index)
    # MLflow would write times in nanoseconds as numbers.
    answer = _objects(answer)
    if answer.dtype.kind == "f" and not (known := np.isfinite(answer)).all():
        return np.where(known, answer.astype(object), None)
    return cells([_known(value) for value in answer.tolist()]) if answer.dtype == object else answer


def in_text(value: Any) -> Any:
    """A value as text formats hold it: bytes as base64, arrays as lists, nulls inside of them, and times as text."""
    if isinstance(value, Mapping):
        return {str(name): in_text(item) for name, item in value.items()}
    if _several(value):
        return [in_text(item) for item in value]
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if is_missing(value):
        return None
    return value if isinstance(value, str | int | float) else str(value)


def _known(value: Any) -> Any:
    if _several(value):
        return [_known(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _known(item) for name, item in value.items()}
    if is_missing(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    # Decimals, durations, ids: MLflow has no word for them.
    return value if isinstance(value, _IN_JSON) or hasattr(value, "model_dump") else str(value)


# What MLflow writes as JSON. numpy's times are none: it makes numbers of those in nanoseconds.
_IN_JSON = (str, int, float, bytes, bytearray, np.bool_, np.integer, np.floating, datetime.date, datetime.time)
