"""Score a table from file to file, in pieces, with the types that the router declares.

A CSV file has no types: key columns are read as the bundle's schema says, so that "02108" stays text where keys are
text, and columns that the router does not read go from CSV to CSV as they are written. Training reads with the same
reader and the same table of types. How large the pieces are does not change what is written: columns and types are
those of the whole table. The output appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmeframe.errors import BadInputError, MissingError, UsageError, suggest
from mmeframe.keys import NA_WORDS, canonical, csv_form

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.keys import KeyIndex
    from mmeframe.plugin import RoutingStrategy
    from mmeframe.runtime import Router
    from mmeframe.runtime.router import Answer
    from mmeframe.runtime.routing import Routing
    from mmeframe.spec import Column

__all__ = [
    "Scored",
    "column_types",
    "file_types",
    "read_rows",
    "read_table",
    "score_table",
    "without_rows",
    "writing",
]

_FORMATS = (".csv", ".parquet", ".json", ".jsonl")
_TEXT = ("string", "datetime", "key", "text")
# Kinds of text in which only "" is missing: NA is a country.
_KEYS = ("key", "text")

# The type of a column by its name: one of MLflow's, ``key`` (text, a whole number written as 7.0 is "7"), ``text`` (a
# key as it is written) or ``any``.
Kind = Callable[[str], str]
Write = Callable[["pd.DataFrame"], None]


@dataclass(frozen=True)
class Scored:
    """What ``score_table`` did."""

    rows: int
    out: str | None
    reasons: Mapping[str, int]


def score_table(
    router: Router,
    data: Path,
    *,
    params: Mapping[str, Any] | None = None,
    out: Path | None = None,
    stream: TextIO | None = None,
    batch_rows: int = 100_000,
    keep: str | Sequence[str] = "all",
    annotate: bool | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Scored:
    """Score ``data`` to ``out``, or as CSV to ``stream``; input columns that ``keep`` names stand before the answers.

    Raises UsageError for an output that cannot be written so, and what ``Router.predict`` raises.
    """
    rows = 0
    reasons: dict[str, int] = {}
    types = column_types(router.routing, router.union)
    other = "text" if out is None or out.suffix.lower() == ".csv" else "any"
    notes = router.annotate if annotate is None else annotate
    with _writer(out, stream, _Types(router, data, keep)) as write:
        for piece in read_rows(data, router.routing, types, batch_rows, other):
            if not len(piece) and not len(piece.columns):
                piece = without_rows([*types, *_kept((), keep)])
            answer = router.answer(piece, params)
            scored = _beside(piece, _answers(answer, notes), keep)
            write(scored)
            for reason, count in _count(answer.columns["reason"]).items():
                reasons[reason] = reasons.get(reason, 0) + count
            rows += len(piece)
            progress("scoring", rows, 0)
    return Scored(rows, str(out) if out else None, reasons)


def _count(reasons: Any) -> dict[str, int]:
    import numpy as np

    names, counts = np.unique(reasons.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


# -- columns ---------------------------------------------------------------------------------------------------------

_NOTES = ("model_id", "model_version", "reason", "arm")


def column_types(routing: Routing, union: Iterable[Column]) -> dict[str, str]:
    """The type of each column that a router reads: MLflow's name for it, or that of a key."""
    keys = {part: _key_type(routing.table.indexes[part]) for part in routing.strategies}
    return file_types(routing.strategies, routing.traffic.sticky, union, keys)


def file_types(
    strategies: Mapping[str, RoutingStrategy[Any]],
    sticky: Iterable[str],
    union: Iterable[Column],
    keys: Mapping[str, str],
) -> dict[str, str]:
    """The same for strategies and columns that are no router yet. keys: how to read what carries a part's own keys."""
    types = {column.name: column.type for column in union}
    read = [
        (name, keys[part] if kind == "key" else "key" if kind == "any" else kind)
        for part, strategy in strategies.items()
        for name, kind in strategy.inputs().columns.items()
    ]
    for name, kind in [*read, *((name, "key") for name in sticky)]:
        # A text that sub-models read too stays as it is written.
        both = kind in _KEYS and types.get(name) == "string"
        types[name] = "text" if both else types.get(name, kind)
    return types


def read_rows(
    path: Path, routing: Routing, types: Mapping[str, str], rows: int, other: str = "text"
) -> Iterator[pd.DataFrame]:
    """A table in pieces, as ``read_table`` gives them, with keys as a router understands them.

    types: what ``column_types`` says; other: the type of columns that it does not name.
    """
    for piece in read_table(path, lambda name: types.get(name, other), rows):
        yield _spelled(piece, routing, types) if path.suffix.lower() == ".csv" else piece


def _spelled(piece: pd.DataFrame, routing: Routing, types: Mapping[str, str]) -> pd.DataFrame:
    """A CSV file has no types: a key is the declared one that is written so, else the one that its number is.

    So 7.0 is 7 also where another key is text, for which the column is read as text.
    """
    for part, strategy in routing.strategies.items():
        index = routing.table.indexes[part]
        for name, kind in strategy.inputs().columns.items():
            if kind == "key" and types[name] in _KEYS and name in piece:
                texts = [text for text in piece[name].dropna().unique() if index.code(text) < 0]
                known = {text: form for text in texts if (form := csv_form(text)) and index.code(form) >= 0}
                for text in known:
                    if not text.lstrip("+-").isdigit() and text.lower() not in ("true", "false"):
                        # Digits that were lost when it was written are no key.
                        canonical(float(text))
                if known:
                    piece[name] = piece[name].replace(known)
    return piece


_POINT_ZERO = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def _key_type(index: KeyIndex) -> str:
    """Numbers where all declared keys are whole; where one is written like 7.0, nobody may take that for 7."""
    if index.integer:
        return "long"
    return "text" if any(map(_POINT_ZERO.fullmatch, index)) else "key"


def without_rows(names: Iterable[str]) -> pd.DataFrame:
    """What JSON's ``[]`` means: it says nothing about columns, so all that could be needed are there."""
    import pandas as pd

    return pd.DataFrame(columns=list(dict.fromkeys(names)), dtype=object)


def _answers(answer: Answer, notes: bool) -> dict[str, Any]:
    """The columns of a piece's answers: the same for every piece, whichever sub-models answered it."""
    return {name: values for name, values in answer.columns.items() if notes or name not in _NOTES}


def _kept(names: Iterable[str], keep: str | Sequence[str]) -> list[str]:
    return list(names) if keep == "all" else [] if keep == "none" else list(dict.fromkeys(keep))


def _beside(piece: pd.DataFrame, answers: Mapping[str, Any], keep: str | Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    names = _kept(piece.columns, keep)
    absent = [name for name in names if name not in piece.columns]
    if absent:
        known = suggest(absent[0], ["all", "none", *piece.columns], "all, none, or some of")
        raise BadInputError(f"the data has no column {absent[0]!r}.", where="predict.keep", hint=known)
    clash = [name for name in names if name in answers]
    if clash:
        raise UsageError(
            f"the data has a column {clash[0]!r} already.",
            where="predict.keep",
            hint="Set predict.keep=none, or list the columns to keep.",
        )
    return pd.concat([piece[names], pd.DataFrame(answers, index=piece.index)], axis=1)


# -- reading ---------------------------------------------------------------------------------------------------------


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
        raise UsageError(f"{path} is none of {', '.join(_FORMATS)}.", where=where, hint="Rename or convert it.")
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
        dtype={name: "string" if type_ in _KEYS else str for name, type_ in kinds.items() if type_ in _TEXT},
        dtype_backend="numpy_nullable",
        keep_default_na=False,
        na_values={name: [""] if type_ in _KEYS else sorted(NA_WORDS) for name, type_ in kinds.items()},
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
    if isinstance(column.dtype, pd.StringDtype) and kind not in (*_TEXT, "any"):
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
    short = {cell: match[1] for cell in written.unique() if (match := _POINT_ZERO.fullmatch(cell))}
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


# -- writing ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(out: Path, types: Mapping[str, str]) -> Iterator[Write]:
    """Write frames of one shape to a file, by its ending: it appears whole, or not at all.

    types: MLflow's names of the columns' types, for those that hold no value. Raises UsageError, or MissingError, for a
    file that cannot be written so.
    """
    with _writer(out, None, _Named(types)) as write:
        yield write


@contextlib.contextmanager
def _writer(out: Path | None, stream: TextIO | None, types: _Types) -> Iterator[Write]:
    if out is None:
        if stream is None:
            raise UsageError(
                "--json prints the summary, so there is nowhere to write the rows.",
                where="--out",
                hint="Name a file: --out scored.csv",
            )
        yield _csv_writer(stream)
        return
    suffix = out.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"{out} is none of {', '.join(_FORMATS)}.", where="--out", hint="Choose one of these.")
    if not out.parent.is_dir():
        raise MissingError(f"there is no folder {out.parent.absolute()}.", where="--out")
    if out.is_dir():
        raise UsageError(f"{out} is a folder.", where="--out", hint="Name a file.")
    with tempfile.TemporaryDirectory(prefix=".mmeframe-", dir=out.parent) as folder:
        work = Path(folder) / "table"
        with _formats[suffix](work, types) as write:
            yield write
        work.replace(out)


@contextlib.contextmanager
def _to_csv(path: Path, types: _Types) -> Iterator[Write]:
    del types
    with path.open("w", encoding="utf-8", newline="") as file:
        yield _csv_writer(file)


def _csv_writer(file: TextIO) -> Write:
    first = [True]

    def write(frame: pd.DataFrame) -> None:
        header = first.pop() if first else False
        frame = _texts(frame, _cell)
        text = frame.to_csv(index=False, header=header, lineterminator="\n")
        if "\r" in text:
            # Python does not quote a lone one, and readers take it for the end of a row.
            text = frame.to_csv(index=False, header=header, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        file.write(text)

    return write


def _cell(value: Any) -> Any:
    """Lists and objects as JSON, and bytes as base64, as they are in JSON; other values as pandas writes them."""
    from mmeframe.rows.answers import in_text

    if isinstance(value, bytes | bytearray):
        return in_text(value)
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return value
    return json.dumps(in_text(value), ensure_ascii=False)


@contextlib.contextmanager
def _to_json(path: Path, types: _Types) -> Iterator[Write]:
    del types
    with path.open("w", encoding="utf-8") as file:
        file.write("[")

        def write(frame: pd.DataFrame) -> None:
            if len(frame):
                file.write((",\n" if file.tell() > 1 else "") + ",\n".join(_records(frame)))

        yield write
        file.write("]\n")


@contextlib.contextmanager
def _to_jsonl(path: Path, types: _Types) -> Iterator[Write]:
    del types
    with path.open("w", encoding="utf-8") as file:
        yield lambda frame: file.writelines(f"{record}\n" for record in _records(frame))


def _records(frame: pd.DataFrame) -> Iterator[str]:
    """JSON of each row, with every digit of its numbers: pandas' own writer rounds. Missing values are null."""
    from mmeframe.rows.answers import in_text

    plain = _texts(frame, in_text).astype(object).where(frame.notna(), None)
    for row in plain.to_dict("records"):
        try:
            yield _encode(row)
        except ValueError:
            endless = next(name for name, value in row.items() if _infinite(value))
            raise UsageError(
                f"column {endless!r} holds an infinite number, which JSON cannot.",
                where="--out",
                hint="Write .csv or .parquet, or leave the column out with predict.keep.",
            ) from None


def _encode(value: Any) -> str:
    from mmeframe.rows.answers import in_text

    return json.dumps(value, default=in_text, ensure_ascii=False, allow_nan=False)


# pandas' words for columns among whose objects may be lists, dicts and bytes.
_NOT_PLAIN = ("mixed", "mixed-integer", "bytes")


def _texts(frame: pd.DataFrame, text: Callable[[Any], Any]) -> pd.DataFrame:
    """A frame whose lists, objects and bytes are what ``text`` makes of them."""
    import pandas as pd

    frame = frame.copy(deep=False)
    for name in frame.columns:
        if frame[name].dtype == object and pd.api.types.infer_dtype(frame[name], skipna=True) in _NOT_PLAIN:
            # pandas' own map would make numbers of one type.
            frame[name] = pd.Series(list(map(text, frame[name])), frame.index, dtype=object)
    return frame


def _infinite(value: Any) -> bool:
    try:
        _encode(value)
    except ValueError:
        return True
    return False


@contextlib.contextmanager
def _to_parquet(path: Path, types: _Types) -> Iterator[Write]:
    parts = _Parts(path, types)
    try:
        yield parts.write
        parts.join()
    finally:
        parts.close()


class _Types:
    """What is known of a Parquet file's types before its values: pieces without a value have none of their own."""

    def __init__(self, router: Router, data: Path, keep: str | Sequence[str]) -> None:
        self._router, self._data, self._keep = router, data, keep

    @cached_property
    def stored(self) -> Mapping[str, Any]:
        """Types of the kept columns where the data is Parquet too: they stay what they are."""
        if self._data.suffix.lower() != ".parquet":
            return {}
        import pyarrow.parquet as pq

        schema = pq.read_schema(self._data)
        kept = _kept(schema.names, self._keep)
        return {field.name: field.type for field in schema if field.name in kept}

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        """Types of columns without any value, as the router declares them."""
        import pyarrow as pa

        answer = self._router.bundle.manifest["answer"]
        inputs = {
            name: "string" if kind in _TEXT else kind
            for name, kind in column_types(self._router.routing, self._router.union).items()
        }
        answers = {name: kind for name, kind, *_ in answer["columns"]}
        answers |= {f"prediction_{number}": "double" for number in range(answer["width"])}
        declared = {**inputs, **answers, **dict.fromkeys(_NOTES, "string")}
        return {name: pa.type_for_alias(_ALIASES[kind]) for name, kind in declared.items() if kind in _ALIASES}


class _Named(_Types):
    """Types that are known by the names of the columns."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._kinds = types

    @cached_property
    def stored(self) -> Mapping[str, Any]:
        return {}

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        import pyarrow as pa

        return {name: pa.type_for_alias(_ALIASES[kind]) for name, kind in self._kinds.items()}


_ALIASES = {
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "bool",
    "string": "string",
    "datetime": "timestamp[ns]",
}


class _Parts:
    """Parquet files that become one: a part ends where a piece needs wider types than the pieces before it."""

    def __init__(self, path: Path, types: _Types) -> None:
        self._path, self._types = path, types
        self._writers: list[Any] = []

    def write(self, frame: pd.DataFrame) -> None:
        table = _arrow(frame, self._types.stored)
        schema = _wider(self._writers[-1].schema, table.schema) if self._writers else table.schema
        if not self._writers or schema != self._writers[-1].schema:
            self._begin(schema)
        self._writers[-1].write_table(_cast(table, schema))

    def _part(self, number: int) -> Path:
        return self._path.with_name(f"part-{number}")

    def _begin(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self.close()
        self._writers.append(pq.ParquetWriter(self._part(len(self._writers)), schema))

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def join(self) -> None:
        """One file with the types of the last part, which hold all values."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.close()
        last = self._writers[-1].schema
        declared = self._types.declared
        schema = pa.schema(
            [
                field.with_type(declared.get(field.name, field.type)) if pa.types.is_null(field.type) else field
                for field in last
            ]
        )
        if len(self._writers) == 1 and schema == last:
            self._part(0).replace(self._path)
            return
        with pq.ParquetWriter(self._path, schema) as writer:
            for number in range(len(self._writers)):
                with pq.ParquetFile(self._part(number)) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(_cast(file.read_row_group(group), schema))


def _arrow(frame: pd.DataFrame, stored: Mapping[str, Any]) -> Any:
    """Raises UsageError for a column that holds values of several types."""
    import pyarrow as pa

    columns = {}
    for name in frame.columns:
        column, kind = frame[name], stored.get(name)
        try:
            empty = kind is None and column.isna().all()
            with warnings.catch_warnings():
                # pyarrow takes times with a zone in a way that pandas 3.1 deprecates.
                warnings.simplefilter("ignore", DeprecationWarning)
                columns[name] = pa.nulls(len(column)) if empty else pa.Array.from_pandas(column, type=kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            raise _mixed(name, "it holds values of several types, or of one that Parquet has not") from None
    return pa.table(columns)


def _wider(one: Any, other: Any) -> Any:
    """The schema that holds the values of both."""
    import pyarrow as pa

    fields = []
    for field, new in zip(one, other, strict=True):
        pair = [pa.schema([field]), pa.schema([new])]
        try:
            fields.append(pa.unify_schemas(pair, promote_options="permissive").field(0))
        except pa.ArrowException:
            raise _mixed(field.name, f"some rows hold {field.type} and others {new.type}") from None
    return pa.schema(fields)


def _cast(table: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = []
    for field in schema:
        try:
            columns.append(table[field.name].cast(field.type))
        except pa.ArrowException:
            why = f"some rows hold {table.schema.field(field.name).type} that would lose digits as {field.type}"
            raise _mixed(field.name, why) from None
    return pa.table(columns, schema=schema)


def _mixed(name: str, why: str) -> UsageError:
    return UsageError(
        f"column {name!r} has no type of its own in Parquet: {why}.",
        where="--out",
        hint="Write .csv or .jsonl, or leave the column out with predict.keep.",
    )


_formats: Mapping[str, Callable[[Path, _Types], contextlib.AbstractContextManager[Write]]] = {
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".json": _to_json,
    ".jsonl": _to_jsonl,
}
