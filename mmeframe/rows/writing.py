"""Write a table in pieces: CSV, Parquet, JSON or JSON lines, by the file's ending.

How large the pieces are does not change what is written: columns and types are those of the whole table. A file appears
whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mmeframe.errors import MissingError, UsageError
from mmeframe.rows.answers import in_text
from mmeframe.rows.reading import FORMATS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Types", "Write", "arrow_types", "writer", "writing"]

Write = Callable[["pd.DataFrame"], None]


@contextlib.contextmanager
def writing(out: Path, types: Mapping[str, str]) -> Iterator[Write]:
    """Write frames of one shape to a file, by its ending: it appears whole, or not at all.

    types: MLflow's names of the columns' types, for those that hold no value. Raises UsageError, or MissingError, for a
    file that cannot be written so.
    """
    with writer(out, None, _Named(types)) as write:
        yield write


@contextlib.contextmanager
def writer(out: Path | None, stream: TextIO | None, types: Types) -> Iterator[Write]:
    """The same, or as CSV to a stream where no file is named. Raises UsageError if there is none of them."""
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
    if suffix not in FORMATS:
        raise UsageError(f"{out} is none of {', '.join(FORMATS)}.", where="--out", hint="Choose one of these.")
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
def _to_csv(path: Path, types: Types) -> Iterator[Write]:
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
    if isinstance(value, bytes | bytearray):
        return in_text(value)
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return value
    return json.dumps(in_text(value), ensure_ascii=False)


@contextlib.contextmanager
def _to_json(path: Path, types: Types) -> Iterator[Write]:
    del types
    with path.open("w", encoding="utf-8") as file:
        file.write("[")

        def write(frame: pd.DataFrame) -> None:
            if len(frame):
                file.write((",\n" if file.tell() > 1 else "") + ",\n".join(_records(frame)))

        yield write
        file.write("]\n")


@contextlib.contextmanager
def _to_jsonl(path: Path, types: Types) -> Iterator[Write]:
    del types
    with path.open("w", encoding="utf-8") as file:
        yield lambda frame: file.writelines(f"{record}\n" for record in _records(frame))


def _records(frame: pd.DataFrame) -> Iterator[str]:
    """JSON of each row, with every digit of its numbers: pandas' own writer rounds. Missing values are null."""
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
def _to_parquet(path: Path, types: Types) -> Iterator[Write]:
    parts = _Parts(path, types)
    try:
        yield parts.write
        parts.join()
    finally:
        parts.close()


class Types(Protocol):
    """What is known of a Parquet file's types before its values: pieces without a value have none of their own."""

    @property
    def stored(self) -> Mapping[str, Any]:
        """Arrow's types of columns that stay what they were."""
        ...

    @property
    def declared(self) -> Mapping[str, Any]:
        """Arrow's types of columns without any value."""
        ...


class _Named:
    """Types that are known by the names of the columns, as MLflow calls them."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self.stored: Mapping[str, Any] = {}

    @property
    def declared(self) -> Mapping[str, Any]:
        return arrow_types(self._kinds)


def arrow_types(kinds: Mapping[str, str]) -> dict[str, Any]:
    """Arrow's types for MLflow's names of types; those without one are left out."""
    import pyarrow as pa

    return {name: pa.type_for_alias(_ALIASES[kind]) for name, kind in kinds.items() if kind in _ALIASES}


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

    def __init__(self, path: Path, types: Types) -> None:
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


_formats: Mapping[str, Callable[[Path, Types], contextlib.AbstractContextManager[Write]]] = {
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".json": _to_json,
    ".jsonl": _to_jsonl,
}
