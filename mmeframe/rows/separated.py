"""Read CSV and TSV: cells are text without types, so whoever reads one says how each column is to be read."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, BinaryIO

from mmeframe.rows.formats import UnreadableError
from mmeframe.rows.keys import NA_WORDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AS_KEY", "AS_TEXT", "POINT_ZERO", "QUOTE", "Kind", "read_separated"]

AS_TEXT = ("string", "datetime", "key", "text")

# Kinds of text in which only "" is missing: NA is a country.
AS_KEY = ("key", "text")

# The type of a column by its name: one of MLflow's, ``key`` (text, a whole number written as 7.0 is "7"), ``text`` (a
# key as it is written) or ``any``.
Kind = Callable[[str], str]

# Opens the file from its beginning: it is read for its header, for its rows, and for where one is wrong.
Opened = Callable[[], BinaryIO]

# What a cell needs that holds what ends one.
QUOTE = "Quote cells that hold a separator, a quote or a line's end; remove separators at the ends of rows."

POINT_ZERO = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def read_separated(opened: Opened, separator: str, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    """Raises ValueError for what is no table, with the line where it is known."""
    import pandas as pd

    kinds = {name: kind(name) for name in _header(opened, separator)}
    with opened() as file:
        pieces = pd.read_csv(
            file,
            sep=separator,
            chunksize=rows,
            low_memory=False,
            # An empty cell of keys is pandas.NA: NaN is also what other readers make of a key such as NA.
            dtype={name: "string" if type_ in AS_KEY else str for name, type_ in kinds.items() if type_ in AS_TEXT},
            dtype_backend="numpy_nullable",
            keep_default_na=False,
            na_values={name: [""] if type_ in AS_KEY else sorted(NA_WORDS) for name, type_ in kinds.items()},
            **_exact_floats(),
        )
        for piece in pieces:
            # pandas takes what is too much on the left for an index, and all columns would move.
            if not isinstance(piece.index, pd.RangeIndex):
                what = f"a row has more values than the header has names{_long_row(opened, separator)}"
                raise UnreadableError(what, QUOTE)
            yield pd.DataFrame({name: _plain(piece[name], type_) for name, type_ in kinds.items()})


def _header(opened: Opened, separator: str) -> Sequence[str]:
    """Names as pandas makes them. Raises UnreadableError for one that stands twice, which pandas would rename."""
    import pandas as pd

    with opened() as file:
        first = pd.read_csv(file, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
    written = first.iloc[0]
    twice = written[written.duplicated() & (written != "")]
    if len(twice):
        raise UnreadableError(f"its header has {twice.iloc[0]!r} twice", "Rename one of the columns.")
    with opened() as file:
        return list(pd.read_csv(file, sep=separator, nrows=0).columns)


def _long_row(opened: Opened, separator: str) -> str:
    """Where the first row with too many values ends."""
    with opened() as file, contextlib.suppress(csv.Error):
        rows = csv.reader(TextIOWrapper(file, encoding="utf-8-sig", newline=""), delimiter=separator)
        names = next(row for row in rows if row)
        return next((f", in line {rows.line_num}" for row in rows if len(row) > len(names)), "")
    return ""


def _exact_floats() -> dict[str, Any]:
    """Before 3.1, pandas' own way to read a float could miss its last digit."""
    import pandas as pd
    from packaging.version import Version

    return {} if Version(pd.__version__) >= Version("3.1.0rc0") else {"float_precision": "round_trip"}


def _plain(column: pd.Series[Any], kind: str) -> pd.Series[Any]:
    """numpy's types where they hold the values: not for whole numbers and booleans with missing ones among them."""
    import pandas as pd

    if kind == "key":
        return _whole_keys(column)
    if isinstance(column.dtype, pd.StringDtype) and kind not in (*AS_TEXT, "any"):
        if kind in ("float", "double"):
            # Whole numbers of more than 64 bits are text to pandas' nullable types.
            with contextlib.suppress(ValueError):
                return pd.to_numeric(column.astype(object)).astype("float64")
        return _as_alone(column)
    if isinstance(column.dtype, pd.Int64Dtype | pd.UInt64Dtype | pd.BooleanDtype | pd.Float64Dtype):
        missing = column.isna()
        if missing.all() or isinstance(column.dtype, pd.Float64Dtype):
            return column.astype("float64")
        return column if missing.any() else column.astype(column.dtype.type)
    return column


def _whole_keys(column: pd.Series[Any]) -> pd.Series[Any]:
    """Keys as text. pandas writes the whole numbers of a column with gaps as 7.0, and 7.0 is the key 7.

    Raises ValueError where such a number may have lost digits.
    """
    written = column[column.str.contains(".0", regex=False).eq(other=True)]
    short = {cell: match[1] for cell in written.unique() if (match := POINT_ZERO.fullmatch(cell))}
    if any(len(cell) > 17 or abs(int(cell)) >= 2**53 for cell in short.values()):
        raise ValueError(
            f"column {column.name!r} has keys from 2**53 on with a decimal point, which may have lost digits;"
            " write them as integers"
        )
    return column.replace(short) if short else column


_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")


def _as_alone(column: pd.Series[Any]) -> pd.Series[Any]:
    """Each cell as it would be read alone: a text among numbers makes pandas read all of them as text."""
    import pandas as pd

    numbers = pd.to_numeric(column.astype(object), errors="coerce").astype("float64")
    truths = {"true": True, "false": False}

    def read(cell: Any, number: float) -> Any:
        if pd.isna(cell):
            return None
        if _WHOLE.fullmatch(cell.strip()):
            return int(cell)
        return number if number == number else truths.get(cell.lower(), cell)

    cells = [read(*it) for it in zip(column, numbers, strict=True)]
    if all(cell is None or isinstance(cell, str) for cell in cells):
        return column
    return pd.Series(cells, column.index, dtype=object)
