"""A request's rows as a frame, whatever the caller sent."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.errors import BadInputError, listed, suggest
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.labels import unlabelled
from mmeframe.rows.schema import check_frame
from mmeframe.rows.types import EXACT, strange
from mmeframe.spec import Column

__all__ = ["FrameBatch", "as_batch", "values_of"]


# Schemas and lists of names that are remembered, at most, and bytes of all those names.
_REMEMBERED, _ROOM = 64, 4 << 20


class _Sent:
    """Names of columns as text, their positions, and where the columns of a schema stand: remembered between requests.

    ``index``: the frame's own, which its slices share. ``bytes``: that the names take, where they are remembered.
    ``only_numbers``: they are 0, 1, 2 and so on, as where there are no names.
    """

    def __init__(self, index: Any, names: Sequence[str]) -> None:
        self.index, self.places = index, {name: place for place, name in enumerate(names)}
        self.bytes = 0
        self.only_numbers = names[:1] == ["0"] and names == [str(number) for number in range(len(names))]
        self._picks: dict[int, tuple[Any, Any]] = {}

    def pick(self, columns: Sequence[Column]) -> slice | np.ndarray[Any, Any] | None:
        """Positions of a schema's columns, a slice where they stand together; None if one was not sent."""
        known = self._picks.get(id(columns))
        if known is not None and known[0] is columns:
            found: slice | np.ndarray[Any, Any] | None = known[1]
            return found
        places = [self.places.get(column.name, -1) for column in columns]
        found = np.array(places, np.intp)
        if -1 in places:
            found = None
        elif places == list(range(places[0], places[0] + len(places))):
            found = slice(places[0], places[0] + len(places))
        if len(self._picks) < _REMEMBERED:
            self._picks[id(columns)] = (columns, found)
        return found


class FrameBatch:
    """The ``Batch`` of the plugin API over a DataFrame with unique text names. One request's own, not shared.

    ``index``: the caller's labels of the rows; those of ``frame`` are 0 to n - 1.
    """

    def __init__(self, frame: pd.DataFrame, sent: _Sent | None = None) -> None:
        self.index = frame.index
        self._n_rows = len(self.index)
        self.frame = unlabelled(frame)
        self._sent = _Sent(frame.columns, list(frame.columns)) if sent is None else sent
        self._places = self._sent.places
        # Parameters of the request that sub-models may declare.
        self.params: dict[str, Any] = {}
        # Raw values of the key parts that were computed so far; normalised when another part asks.
        self.raw_parts: dict[str, Any] = {}
        self._parts: dict[str, pd.Categorical] = {}
        self._row: Any = None

    @property
    def columns(self) -> Sequence[str]:
        return list(self._places)

    @property
    def only_numbers(self) -> bool:
        """Whether the columns are named 0, 1, 2 and so on."""
        return self._sent.only_numbers

    def __len__(self) -> int:
        return self._n_rows

    def column(self, name: str) -> Any:
        if name not in self._places:
            raise BadInputError(f"column {name!r} is missing.", hint=suggest(name, self.columns, "Columns sent"))
        if self._n_rows == 1 and (value := self._scalar(self._places[name])) is not None:
            return value
        return values_of(_at(self.frame, self._places[name]))

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        column = self.column(name)
        if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
            return column.astype(np.float64, copy=False)
        wanted = Column(name, "double")
        return check_frame(self.frame[[name]], (wanted,), frozenset())[name].to_numpy()

    def unreadable(self, names: Iterable[str]) -> str | None:
        """What no code can be asked to read in these columns: halves of characters, and objects that are no data."""
        for name in names:
            for cell in np.asarray(_at(self.frame, self._places[name]), object) if name in self._places else ():
                if (kind := strange(cell)) is not None:
                    return f"column {name!r} cannot be read: it holds {kind}."
        return None

    def part(self, name: str) -> pd.Categorical:
        if name not in self._parts:
            self._parts[name] = normalised(self.raw_parts[name], len(self))
        return self._parts[name]

    def _scalar(self, place: int) -> Any:
        """One row's number or text as an array of one: pandas takes thirty times as long to cut a column out."""
        value = self._cells()[place]
        kind = type(value)
        if kind is str:
            cell = np.empty(1, object)
            cell[0] = value
            return cell
        # Beside floats a whole number comes as a float, and a narrow float as a wide one: each is exact only so far.
        exact = kind is int or kind is np.int64 or (kind in (float, np.float64) and _exact_in_all(abs(value)))
        return np.array([value]) if exact else None

    def _cells(self) -> np.ndarray[Any, Any]:
        """The cells of a batch of one row, shape (columns,)."""
        if self._row is None:
            row = _numpy(self.frame)
            self._row = (self.frame.astype(object).to_numpy() if row is None else row)[0]
        cells: np.ndarray[Any, Any] = self._row
        return cells

    def matrix(self, columns: Sequence[Column]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Columns as one array of doubles, shape (n_rows, columns), without a copy where pandas holds them so.

        None if they were not all sent as numbers that are exact as doubles: then ``check_frame`` says what is wrong.
        """
        picked = self._sent.pick(columns)
        if picked is None:
            return None
        if self._n_rows == 1:
            return self._row_matrix(picked)
        whole = isinstance(picked, slice) and picked.stop - picked.start == len(self._places)
        values = _numpy(self.frame if whole else _at(self.frame, picked))
        return None if values is None else _doubles(values)

    def _row_matrix(self, picked: slice | np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        cells = self._cells()[picked]
        if cells.dtype == _OBJECT:
            # A text that is missing is NaN here too, and no missing number.
            if any((type(cell) is not float and type(cell) is not int) or cell != cell for cell in cells):
                return None
            if any(abs(cell) >= EXACT for cell in cells if type(cell) is int):
                return None
            cells = cells.astype(np.float64)
        return _doubles(cells.reshape(1, -1))


def values_of(series: pd.Series[Any]) -> Any:
    """A column without its index: a numpy array, or the pandas array of a type that numpy has not."""
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _at(frame: pd.DataFrame, places: Any) -> Any:
    """Columns by position: ``frame.iloc[:, places]`` in half the time, as no tuple is taken apart."""
    return frame.iloc(axis=1)[places]


def _numpy(frame: pd.DataFrame) -> np.ndarray[Any, Any] | None:
    """A frame's cells, None where pandas would make up a number for a missing one: in a category of whole numbers.

    None, too, where a cell is an object that pandas cannot look at.
    """
    try:
        with np.errstate(invalid="ignore"):
            values = frame.to_numpy()
    except Exception:  # noqa: BLE001 - an object of the caller's may raise anything
        return None
    if values.dtype.kind in "iu" and not all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return None
    return values


_OBJECT, _DOUBLE = np.dtype(object), np.dtype(np.float64)
# Cells of a table of records for each that was sent, at most; and that many squared always.
_SPARSE = 100


def _exact_in_all(number: float) -> bool:
    """Whether no type of floats may have rounded another whole number to this one."""
    # Half precision has 11 bits and ends at 2**16, single precision has 24.
    return number < 2**11 or (number < 2**24 and (number >= 2**16 or number % 2 ** (math.frexp(number)[1] - 11) != 0))


def _doubles(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if values.dtype == _DOUBLE:
        return values
    if values.dtype.kind in "iu" and values.size and (values.max() >= EXACT or values.min() <= -EXACT):
        return None
    return values.astype(_DOUBLE) if values.dtype.kind in "iuf" else None


# Names of columns -> what is known of them, and the one of the newest request: most have the columns of the one before.
_known: dict[tuple[Any, ...], _Sent] = {}
_newest = [_Sent(None, [])]


def as_batch(data: Any, declared: Collection[str] = (), nested: Collection[str] = ()) -> FrameBatch:
    """Accept what MLflow hands over: a frame, a dict of columns, or a list of rows.

    declared: names of columns that somebody reads. nested: of those that may hold lists: of others, a list of one value
    is that value. Raises BadInputError for data without usable column names.
    """
    batch = _as_batch(data, nested)
    if batch.only_numbers and not any(name in declared for name in batch.columns):
        raise BadInputError(
            "the columns have no names, only numbers.",
            hint="In Spark write udf(F.struct(*columns)); elsewhere send a frame with column names.",
        )
    return batch


def _as_batch(data: Any, nested: Collection[str]) -> FrameBatch:
    if isinstance(data, pd.DataFrame):
        frame = data
    elif isinstance(data, Mapping):
        frame = _from_columns(data, nested)
    elif isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        frame = _from_records(data)
    else:
        raise BadInputError(
            f"rows need named columns, and {type(data).__name__} has none.",
            hint="Send a DataFrame: dataframe_split, dataframe_records, CSV or Parquet over HTTP.",
        )
    newest = _newest[0]
    if newest.index is frame.columns:
        return FrameBatch(frame, newest)
    names = frame.columns.tolist()
    # Others have methods of their own, which may do anything.
    plain = all(type(name) is str for name in names)
    sent = _known.get(tuple(names)) if plain else None
    if sent is None:
        text = _checked_names(names)
        if not plain:
            return FrameBatch(frame.set_axis(text, axis=1))
        sent = _Sent(None, names)
        if not _remember(sent):
            return FrameBatch(frame, sent)
    sent.index = frame.columns
    _newest[0] = sent
    return FrameBatch(frame, sent)


def _remember(sent: _Sent) -> bool:
    """Remember names while there is room for them: requests may have any. False for a list that takes all of it."""
    names = tuple(sent.places)
    sent.bytes = sum(map(sys.getsizeof, names))
    if len(_known) < _REMEMBERED and sent.bytes + sum(it.bytes for it in list(_known.values())) <= _ROOM:
        _known[names] = sent
    return sent.bytes <= _ROOM


def _checked_names(sent: Iterable[Any]) -> list[str]:
    """Names of columns as text. Raises BadInputError for the same twice, and for one that is no text."""
    names = [_text_of(name) for name in sent]
    if len(set(names)) != len(names):
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        raise BadInputError(f"columns are sent twice: {listed(twice)}.")
    return names


def _text_of(name: Any) -> str:
    try:
        text = str(name)
        text.encode()
    except Exception as error:
        hint = "Name columns with text, without halves of surrogate pairs."
        raise BadInputError(f"a column's name is no text: {type(name).__name__}.", hint=hint) from error
    return text


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _from_records(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    text = _checked_names(names)
    if len(names) * len(rows) > _SPARSE * (sum(map(len, rows)) + _SPARSE):
        # They would take the product of both in memory.
        raise BadInputError("the rows have hardly a column in common.", hint="Send the same columns in every row.")
    columns = [_inferred([_scalar(row.get(name)) for row in rows]) for name in names]
    return pd.concat(columns, axis=1, keys=text) if columns else pd.DataFrame(index=range(len(rows)))


def _inferred(cells: Sequence[Any]) -> pd.Series[Any]:
    """A column of the type that pandas finds for these cells; of those that it cannot look at, objects."""
    try:
        column = pd.Series(cells)
    except Exception:  # noqa: BLE001 - cells may be objects of the caller's, and raise anything
        return pd.Series(_objects(cells), dtype=object)
    return _whole(column, cells) if column.dtype == _DOUBLE else column


def _whole(column: pd.Series[Any], sent: Sequence[Any]) -> pd.Series[Any]:
    """A column, as it was sent where pandas has made doubles of whole numbers that doubles do not hold."""
    large = any(isinstance(cell, int | np.integer) and abs(int(cell)) >= EXACT for cell in sent)
    return pd.Series(sent, column.index, dtype=object) if large else column


def _from_columns(data: Mapping[Any, Any], nested: Collection[str]) -> pd.DataFrame:
    """MLflow's ``inputs`` and ``instances``: lists or arrays, which may hold 0-d arrays or rows of one value."""
    names = _checked_names(data)
    columns = {name: _column(name, value, name in nested) for name, value in zip(names, data.values(), strict=True)}
    if len({len(column) for column in columns.values()}) > 1:
        raise BadInputError("the columns differ in length.", hint="Send as many values in each as there are rows.")
    return pd.DataFrame(columns)


def _column(name: str, value: Any, nested: bool) -> Any:
    """One column with the values that were sent: numpy would make one kind of a list of several."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.ndim > 1 and nested:
            return pd.Series(_objects(value.tolist()), dtype=object)
        if value.ndim > 1 and value.size != len(value):
            raise BadInputError(f"column {name!r} has {value.ndim} dimensions.", hint="Send one value per row.")
        return _inferred(value.ravel().tolist()) if value.dtype.kind == "U" else value.ravel()
    if isinstance(value, pd.Series | pd.api.extensions.ExtensionArray):
        return pd.Series(value).array
    value = _scalar(value)
    cells = [_scalar(cell) for cell in (value if isinstance(value, list | tuple | np.ndarray) else [value])]
    if nested:
        return pd.Series(_objects(cells), dtype=object)
    cells = [cell[0] if isinstance(cell, list | tuple | np.ndarray) and len(cell) == 1 else cell for cell in cells]
    if any(isinstance(cell, list | tuple | dict | np.ndarray) for cell in cells):
        raise BadInputError(f"column {name!r} has more than one value in a row.", hint="Send one value per row.")
    if not cells:
        return np.empty(0, object)
    return _inferred(cells)


def _objects(cells: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Cells as they are: numpy would make a table of lists of one length."""
    column = np.empty(len(cells), object)
    for row, cell in enumerate(cells):
        column[row] = cell
    return column
