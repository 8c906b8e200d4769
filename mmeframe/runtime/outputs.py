"""Put the answers of sub-models back into the order of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import ModelError
from mmeframe.spec import Column

__all__ = ["Answers", "as_prediction", "gather", "nulls"]

Rows = np.ndarray[Any, np.dtype[np.intp]]


class Answers:
    """The shape of a router's answers, and how those of its sub-models become that.

    answer: the manifest's declaration. own: by number, the columns of each sub-model where columns are classes, which
    it may lack; none for what combines aligned answers. names: ids by number, for messages.
    """

    def __init__(self, answer: Mapping[str, Any], own: Sequence[Sequence[str]], names: Sequence[str]) -> None:
        self.columns = tuple(Column(*column) for column in answer["columns"])
        self._width, self._fill, self._names = answer["width"], float(answer["fill"]), names
        self._classes = [column.name for column in self.columns] if answer["aligned"] else []
        places = {name: place for place, name in enumerate(self._classes)}
        whole = list(range(len(places)))
        # None where a sub-model's columns are the fleet's already, in its order: scikit-learn sorts "10" before "2".
        self._places = [
            None if found in ([], whole) else np.array(found, np.intp)
            for found in ([places[name] for name in columns] if places else [] for columns in own)
        ]

    def aligned(self, answer: Any, number: int) -> Any:
        """A sub-model's answer with a column for every class of the fleet."""
        at = self._places[number] if self._classes else None
        if at is None or not isinstance(answer, np.ndarray):
            return answer
        out = np.full((len(answer), len(self._classes)), self._fill)
        out[:, at] = answer
        return out

    def whole(self, answer: Any, number: int) -> Any:
        """One sub-model's answers for all rows."""
        return self._named(self.aligned(answer, number))

    def _named(self, values: Any) -> Any:
        return pd.DataFrame(values, columns=self._classes, copy=False) if self._classes else values

    def gather(self, pieces: Sequence[tuple[int, int, Any, int]], order: Rows, n_rows: int) -> Any:
        """All answers in the order of the rows.

        pieces: (start, end, answer, sub-model's number); a piece is for the rows ``order[start:end]``.
        """
        if not pieces:
            return self.nothing(n_rows)
        answers = [self.aligned(answer, number) for _, _, answer, number in pieces]
        first = answers[0]
        alike = all(
            type(it) is np.ndarray and it.dtype == first.dtype and it.shape[1:] == first.shape[1:] for it in answers
        )
        if alike and sum(map(len, answers)) == n_rows:
            out = np.empty((n_rows, *first.shape[1:]), first.dtype)
            out[order] = np.concatenate(answers)
            return self._named(out)
        rows = ((order[start:end], number) for start, end, _, number in pieces)
        named = [(at, answer, self._names[number]) for (at, number), answer in zip(rows, answers, strict=True)]
        return self._named(gather(named, n_rows))

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
        found: Any = raw
    elif isinstance(raw, pd.Series):
        found = raw.to_numpy() if isinstance(raw.dtype, np.dtype) else raw.to_numpy(object)
    else:
        try:
            found = np.asarray(raw)
        except ValueError:
            raise ModelError("its answers have different lengths.", where=model_id) from None
    length = len(found) if np.ndim(found) else 0
    if length != n_rows or np.ndim(found) > 2:
        raise ModelError(f"it gave {length} answers for {n_rows} rows.", where=model_id)
    return found


def gather(pieces: Sequence[tuple[Rows | slice, Any, str]], n_rows: int) -> Any:
    """One array or frame with ``n_rows`` rows from the pieces of each sub-model.

    pieces: (rows, prediction, sub-model id). Rows that no piece covers are NaN, or None for text and booleans.
    Raises ModelError if the sub-models' answers have different shapes.
    """
    if not pieces:
        return np.full(n_rows, np.nan)
    if len(pieces) == 1 and isinstance(pieces[0][0], slice):
        return pieces[0][1]
    shapes = {(type(piece).__name__, np.ndim(piece), _width(piece)) for _, piece, _ in pieces}
    if len({shape[:2] for shape in shapes}) > 1 or (len(shapes) > 1 and not isinstance(pieces[0][1], pd.DataFrame)):
        named = ", ".join(f"{name} {_shape(piece)}" for _, piece, name in pieces[:3])
        raise ModelError(f"sub-models answer in different shapes: {named}.", hint="Give each its own router.")
    if isinstance(pieces[0][1], pd.DataFrame):
        return _gather_frames(pieces, n_rows)
    covered = sum(len(piece) for _, piece, _ in pieces)
    dtype = _common([piece.dtype for _, piece, _ in pieces], whole=covered == n_rows)
    empty = np.empty if covered == n_rows else _nulls
    out = empty((n_rows, *pieces[0][1].shape[1:]), dtype)
    for rows, piece, _ in pieces:
        out[rows] = piece
    return out


def _width(piece: Any) -> int:
    return piece.shape[1] if np.ndim(piece) == 2 else 1


def _shape(piece: Any) -> str:
    return f"{type(piece).__name__} of {_width(piece)}" if np.ndim(piece) == 2 else "ndarray without columns"


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


def _gather_frames(pieces: Sequence[tuple[Any, Any, str]], n_rows: int) -> pd.DataFrame:
    names = list(dict.fromkeys(name for _, piece, _ in pieces for name in piece.columns))
    frame = pd.concat([piece.reindex(columns=names).set_axis(np.arange(n_rows)[rows]) for rows, piece, _ in pieces])
    whole: pd.DataFrame = frame.reindex(np.arange(n_rows))
    return whole
