"""Read a table in pieces: CSV, Parquet, JSON or JSON lines, by the file's ending.

A CSV file has no types, so whoever reads one says how each column is to be read.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.errors import BadInputError, MissingError, UsageError
from mmeframe.rows.keys import NA_WORDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AS_KEY", "AS_TEXT", "FORMATS", "POINT_ZERO", "Kind", "read_table"]

FORMATS = (".csv", ".parquet", ".json", ".jsonl")
AS_TEXT = ("string", "datetime", "key", "text")

# Kinds of text in which only "" is missing: NA is a country.
AS_KEY = ("key", "text")


# The type of a column by its name: one of MLflow's, ``key`` (text, a whole number written as 7.0 is "7"), ``text`` (a
# key as it is written) or ``any``.
Kind = Callable[[str], str]


POINT_ZERO = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def read_table(path: Path, kind: Kind, rows: int, where: str = "--data") -> Iterator[pd.DataFrame]:
    """A table in pieces of at most ``rows`` rows. CSV, Parquet, JSON (records) or JSON lines, by the file's ending.

    Every piece has the same columns, and there is one piece at least. Whole numbers keep their digits, missing ones
    beside them or not. kind: how to read the columns of a CSV file. where: what named the file.
    Raises MissingError if there is no such file, BadInputError if it cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path.absolute()}.", where=where)
    read = _readers.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path} is none of {', '.join(FORMATS)}.", where=where, hint="Rename or convert it.")
    try:
        yield from read(path, kind, rows)
    except BadInputError as error:
        raise BadInputError(error.what, where=where) from None
    except (ValueError, OSError) as error:
        hint = "Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""
        what = f"{path} cannot be read: {str(error).splitlines()[0]}"
        raise BadInputError(what, where=where, hint=hint) from error


def _read_csv(path: Path, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd

    kinds = {name: kind(name) for name in _header(path)}
    pieces = pd.read_csv(
        path,
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
            raise ValueError(f"a row has more values than the header has names{_long_row(path)}")
        yield pd.DataFrame({name: _plain(piece[name], type_) for name, type_ in kinds.items()})


def _header(path: Path) -> Sequence[str]:
    """Names as pandas makes them. Raises ValueError for one that stands twice, which pandas would rename."""
    import pandas as pd

    written = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    twice = written[written.duplicated() & (written != "")]
    if len(twice):
        raise ValueError(f"its header has {twice.iloc[0]!r} twice")
    return list(pd.read_csv(path, nrows=0).columns)


def _long_row(path: Path) -> str:
    """Where the first row with too many values ends."""
    with path.open(encoding="utf-8-sig", newline="") as file, contextlib.suppress(csv.Error):
        rows = csv.reader(file)
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


def _read_parquet(path: Path, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    del kind
    import numpy as np
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, done = file.schema_arrow, 0
        for batch in file.iter_batches(rows) if file.metadata.num_rows else [schema.empty_table()]:
            # An index that pandas wrote is a column like the others.
            frame = batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)
            for index in (schema.pandas_metadata or {}).get("index_columns", []):
                if isinstance(index, dict) and index["name"] is not None:
                    frame[str(index["name"])] = index["start"] + index["step"] * np.arange(done, done + len(frame))
            done += len(frame)
            yield frame


def _read_json(path: Path, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    del kind
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise BadInputError("it must be a list of records: [{...}, ...].")
    return _in_pieces(lambda: iter(content), rows)


def _read_jsonl(path: Path, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    del kind
    return _in_pieces(lambda: _lines(path), rows)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"line {number}: {error.msg}") from None
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no record: {{...}}")
                yield row


def _in_pieces(records: Callable[[], Iterator[dict[str, Any]]], rows: int) -> Iterator[pd.DataFrame]:
    """Frames of records, which are read twice: a name may stand in the last one only, and all pieces have it."""
    names = list(dict.fromkeys(name for record in records() for name in record))
    rest = records()
    piece = list(islice(rest, rows))
    yield _frame(piece, names)
    while piece := list(islice(rest, rows)):
        yield _frame(piece, names)


def _frame(records: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(records, columns=names)
    for name in names:
        if frame[name].dtype.kind == "f":
            cells = [record.get(name) for record in records]
            if _loses(cells):
                frame[name] = pd.Series(cells, dtype=object)
    return frame


def _loses(cells: Sequence[Any]) -> bool:
    """Whether these would not be the same as floats: whole numbers with missing ones, or with more than 53 bits."""
    whole = [cell for cell in cells if isinstance(cell, int)]
    fractions = any(isinstance(cell, float) and cell == cell for cell in cells)
    return bool(whole) and (not fractions or max(map(abs, whole)) > 2**53)


_readers: Mapping[str, Callable[[Path, Kind, int], Iterator[Any]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
}
