"""A request's rows as a frame, whatever the caller sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import BadInputError, suggest
from mmeframe.keys import normalised
from mmeframe.runtime.schema import check_frame
from mmeframe.spec import Column

__all__ = ["FrameBatch", "as_batch"]


class FrameBatch:
    """The ``Batch`` of the plugin API over a DataFrame with unique text names."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.columns: Sequence[str] = list(frame.columns)
        # Raw values of the key parts that were computed so far; normalised when another part asks.
        self.raw_parts: dict[str, Any] = {}
        self._parts: dict[str, pd.Categorical] = {}

    def __len__(self) -> int:
        return len(self.frame)

    def column(self, name: str) -> Any:
        if name not in self.frame.columns:
            raise BadInputError(f"column {name!r} is missing.", hint=suggest(name, self.columns, "Columns sent"))
        series = self.frame[name]
        return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        column = self.column(name)
        if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
            return column.astype(np.float64, copy=False)
        wanted = Column(name, "double")
        return check_frame(self.frame[[name]], (wanted,), frozenset())[name].to_numpy()

    def part(self, name: str) -> pd.Categorical:
        if name not in self._parts:
            self._parts[name] = normalised(self.raw_parts[name], len(self))
        return self._parts[name]


def as_batch(data: Any) -> FrameBatch:
    """Accept what MLflow hands over: a frame, a dict of columns, or a list of rows.

    Raises BadInputError for data without usable column names.
    """
    if isinstance(data, pd.DataFrame):
        frame = data
    elif isinstance(data, Mapping):
        frame = _from_columns(data)
    elif isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        frame = pd.DataFrame([{name: _scalar(value) for name, value in row.items()} for row in data])
    else:
        raise BadInputError(
            f"rows need named columns, and {type(data).__name__} has none.",
            hint="Send a DataFrame: dataframe_split, dataframe_records, CSV or Parquet over HTTP.",
        )
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise BadInputError(f"columns are sent twice: {', '.join(twice[:5])}.")
    if names and names == [str(number) for number in range(len(names))]:
        raise BadInputError(
            "the columns have no names, only numbers.",
            hint="In Spark write udf(F.struct(*columns)); elsewhere send a frame with column names.",
        )
    if any(not isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis(names, axis=1)
    return FrameBatch(frame)


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _from_columns(data: Mapping[Any, Any]) -> pd.DataFrame:
    """MLflow's ``inputs`` and ``instances``: lists or arrays, which may hold 0-d arrays or rows of one value."""
    columns = {name: _column(str(name), value) for name, value in data.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise BadInputError("the columns differ in length.", hint="Send as many values in each as there are rows.")
    return pd.DataFrame(columns)


def _column(name: str, value: Any) -> Any:
    """One column with the values that were sent: numpy would make one kind of a list of several."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.ndim > 1 and value.size != len(value):
            raise BadInputError(f"column {name!r} has {value.ndim} dimensions.", hint="Send one value per row.")
        return value.ravel()
    if isinstance(value, pd.Series | pd.api.extensions.ExtensionArray):
        return pd.Series(value).array
    cells = [_scalar(cell) for cell in (value if isinstance(value, list | tuple | np.ndarray) else [value])]
    cells = [cell[0] if isinstance(cell, list | tuple | np.ndarray) and len(cell) == 1 else cell for cell in cells]
    if any(isinstance(cell, list | tuple | dict | np.ndarray) for cell in cells):
        raise BadInputError(f"column {name!r} has more than one value in a row.", hint="Send one value per row.")
    return pd.Series(cells) if cells else np.empty(0, object)
