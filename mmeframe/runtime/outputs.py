"""Put the answers of sub-models back into the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import ModelError, count
from mmeframe.spec import Column

__all__ = ["Answers", "as_prediction", "gather", "nulls"]

Rows = np.ndarray[Any, np.dtype[np.intp]]


class Answers:
    """The shape of a router's answers, and how those of its sub-models become that.

    answer: the manifest's declaration. own: names of the columns that sub-models answer with, which may be others than
    the fleet's or stand in another order; none for what combines answers of the fleet's shape. of: by number, which of
    ``own``. name: the id of a number, for messages.
    """

    def __init__(
        self,
        answer: Mapping[str, Any],
        own: Sequence[Sequence[str]],
        of: Sequence[int],
        name: Callable[[int], str],
    ) -> None:
        self.columns = tuple(Column(*column) for column in answer["columns"])
        self._width, self._fill, self._name = answer["width"], float(answer["fill"]), name
        declared = [column.name for column in self.columns]
        # Columns that are classes make an array; several others a frame.
        self._classes = declared if answer["aligned"] else []
        self._frame = declared if len(declared) > 1 and not answer["aligned"] and not self._width else []
        self._own, self._of = [list(columns) for columns in own], of
        places = {name: place for place, name in enumerate(self._classes)}
        # None where a sub-model's classes are the fleet's already, in its order: scikit-learn sorts "10" before "2".
        # A class that only a shadow knows has no place.
        self._places = [
            None if columns in ([], self._classes) else np.array([places.get(name, -1) for name in columns], np.intp)
            for columns in self._own
        ]

    def aligned(self, answer: Any, number: int) -> Any:
        """A sub-model's answer in the fleet's shape: an array, or a frame with all its columns.

        answer: a frame, or an array of shape (n_rows,) or (n_rows, outputs). Raises ModelError if it is another than
        the sub-model declares.
        """
        if self._frame:
            return self._framed(answer, number)
        if isinstance(answer, pd.DataFrame):
            answer = answer.to_numpy()
        if self._classes:
            return self._by_class(answer, number)
        if answer.ndim == 1 + (self._width > 0) and answer.shape[1:] in ((), (self._width,)):
            return answer
        if not self._width and answer.shape[1] == 1:
            return answer[:, 0]
        raise self._other(answer, number, self._width or 1)

    def _by_class(self, answer: Any, number: int) -> Any:
        at = self._places[self._of[number]]
        width = len(self._classes) if at is None else len(at)
        if answer.shape[1:] != (width,):
            raise self._other(answer, number, width)
        if at is None:
            return answer
        out = np.full((len(answer), len(self._classes)), self._fill)
        known = at >= 0
        out[:, at[known]] = answer[:, known]
        return out

    def _framed(self, answer: Any, number: int) -> pd.DataFrame:
        if not isinstance(answer, pd.DataFrame):
            own = self._own[self._of[number]] or self._frame
            if np.shape(answer)[1:] != (len(own),):
                raise self._other(answer, number, len(own))
            answer = pd.DataFrame(answer, columns=own, copy=False)
        framed: pd.DataFrame = answer
        return framed if list(framed.columns) == self._frame else framed.reindex(columns=self._frame)

    def _other(self, answer: Any, number: int, declared: int) -> ModelError:
        found = answer.shape[1] if np.ndim(answer) == 2 else 1
        return ModelError(
            f"it gave {found} values in a row, and declares {declared}.",
            where=self._name(number),
            hint="Log it with the signature of what it answers.",
        )

    def combined(self, answers: Sequence[Any], combine: Callable[[Sequence[Any]], Any]) -> Any:
        """What ``combine`` makes of aligned answers, which it gets as arrays of one shape."""
        if not self._frame:
            return combine(answers)
        return pd.DataFrame(combine([answer.to_numpy() for answer in answers]), columns=self._frame)

    def whole(self, answer: Any, number: int) -> Any:
        """One sub-model's answers for all rows."""
        return self._named(self.aligned(answer, number))

    def _named(self, values: Any) -> Any:
        return pd.DataFrame(values, columns=self._classes, copy=False) if self._classes else values

    def gather(self, pieces: Sequence[tuple[int, int, Any]], order: Rows, n_rows: int) -> Any:
        """All answers in the order of the rows.

        pieces: (start, end, aligned answer); a piece is for the rows ``order[start:end]``.
        """
        if not pieces:
            return self.nothing(n_rows)
        answers = [answer for _, _, answer in pieces]
        first = answers[0]
        alike = all(type(it) is np.ndarray and it.dtype == first.dtype for it in answers)
        if alike and sum(map(len, answers)) == n_rows:
            out = np.empty((n_rows, *first.shape[1:]), first.dtype)
            out[order] = np.concatenate(answers)
            return self._named(out)
        rows = (order[start:end] for start, end, _ in pieces)
        return self._named(gather(list(zip(rows, answers, strict=True)), n_rows))

    def nothing(self, n_rows: int) -> Any:
        """What rows get that no sub-model answers: nulls in the declared shape."""
        if self._width:
            return np.full((n_rows, self._width), np.nan)
        if self._classes:
            return self._named(np.full((n_rows, len(self._classes)), np.nan))
        if len(self.columns) == 1:
            return nulls(self.columns[0].type, n_rows)
        return pd.DataFrame({column.name: nulls(column.type, n_rows) for column in self.columns})


def as_prediction(raw: Any, n_rows: int, model_id: str) -> Any:
    """A sub-model's answer as a frame, or as an array of shape (n_rows,) or (n_rows, outputs).

    Raises ModelError if it is not one answer per row.
    """
    if isinstance(raw, pd.DataFrame):
        found: Any = raw if all(isinstance(name, str) for name in raw) else raw.set_axis([*map(str, raw)], axis=1)
        if not all(isinstance(dtype, np.dtype) for dtype in raw.dtypes):
            found = pd.DataFrame({name: _plain(found[name]) for name in found.columns}, index=raw.index)
    elif isinstance(raw, pd.Series):
        found = _plain(raw)
    else:
        try:
            found = np.asarray(raw)
        except ValueError:
            raise ModelError("its answers have different lengths.", where=model_id) from None
    length = len(found) if np.ndim(found) else 0
    if length != n_rows or np.ndim(found) > 2:
        raise ModelError(f"it gave {count(length, 'answer')} for {count(n_rows, 'row')}.", where=model_id)
    return found


def _plain(series: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """numpy's values of pandas' types: NaN for a missing number, None for a missing text or boolean."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    if isinstance(dtype, pd.CategoricalDtype | pd.DatetimeTZDtype):
        return np.asarray(series, object if isinstance(dtype, pd.DatetimeTZDtype) else None)
    missing = series.isna()
    if dtype.kind in "iuf":
        if missing.any():
            return series.to_numpy(np.float64, na_value=np.nan)
        return series.to_numpy(getattr(dtype, "numpy_dtype", None))
    if dtype.kind == "b" and not missing.any():
        return series.to_numpy(bool)
    return series.astype(object).where(~missing, None).to_numpy()


def gather(pieces: Sequence[tuple[Rows, Any]], n_rows: int) -> Any:
    """One array or frame with ``n_rows`` rows from the pieces of sub-models, which have one shape.

    pieces: (rows, prediction). Rows that no piece covers are NaN, or None for text and booleans.
    """
    if isinstance(pieces[0][1], pd.DataFrame):
        frame = pd.concat([piece.set_axis(rows) for rows, piece in pieces])
        whole: pd.DataFrame = frame.reindex(np.arange(n_rows))
        answered = np.zeros(n_rows, bool)
        answered[frame.index] = True
        for name in () if answered.all() else [it for it in frame.columns if frame[it].dtype.kind not in "iufMmc"]:
            whole[name] = whole[name].astype(object).where(answered, None)
        return whole
    covered = sum(len(piece) for _, piece in pieces)
    dtype = _common([piece.dtype for _, piece in pieces], whole=covered == n_rows)
    empty = np.empty if covered == n_rows else _nulls
    out = empty((n_rows, *pieces[0][1].shape[1:]), dtype)
    for rows, piece in pieces:
        out[rows] = piece
    return out


def _common(dtypes: list[np.dtype[Any]], *, whole: bool) -> np.dtype[Any]:
    """The type that holds all answers, and nulls unless every row is covered."""
    kinds = {dtype.kind for dtype in dtypes}
    if kinds <= {"b"} and whole:
        return np.dtype(bool)
    if kinds <= set("iuf"):
        common = np.result_type(*dtypes)
        return common if whole or common.kind == "f" else np.dtype(np.float64)
    if kinds in ({"M"}, {"m"}):
        return np.result_type(*dtypes)
    if len(set(dtypes)) == 1 and whole:
        return dtypes[0]
    if kinds == {"U"} and whole:
        return np.result_type(*dtypes)
    return np.dtype(object)


def nulls(kind: str, n_rows: int) -> np.ndarray[Any, Any]:
    """``n_rows`` nulls of one of MLflow's types: NaN for numbers, NaT for times, None for the rest."""
    if kind in ("integer", "long", "float", "double"):
        return np.full(n_rows, np.nan)
    return np.full(n_rows, "NaT", "M8[ns]") if kind == "datetime" else np.full(n_rows, None, object)


def _nulls(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    null: Any = {"f": np.nan, "M": "NaT", "m": "NaT"}.get(dtype.kind)
    return np.full(shape, null, dtype)
