"""Read Parquet and Arrow IPC, which know their types: a file, or a folder of Parquet files as one table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mmeframe.rows.formats import Form, UnreadableError, form_of
from mmeframe.rows.separated import Kind, read_separated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_columnar", "stored_types"]

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def read_columnar(path: Path, form: Form, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    """kind: how to read columns that only names of folders have, such as dow=7."""
    table = _Files(_files(path), form.content)
    named = _named_by_folders(path, table.files, kind)
    schema = table.schema()
    for name, values in named.items():
        schema = _with(schema, name, values.type)
    for piece in _regrouped(schema, table.batches(schema, named, rows), rows):
        # An index that pandas wrote is a column like the others.
        yield piece.to_pandas(ignore_metadata=True, integer_object_nulls=True)


def stored_types(path: Path) -> Mapping[str, Any]:
    """Arrow's types of the columns of a Parquet or Arrow table; none for other files."""
    form = form_of(path, "--data")
    if form.content not in ("parquet", "arrow"):
        return {}
    return {field.name: field.type for field in _Files(_files(path), form.content).schema()}


def _files(path: Path) -> list[Path]:
    """The file, or the Parquet files of a folder and those below it. Hidden ones and those of an _ are other things."""
    if path.is_file():
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() == ".parquet"
        and file.is_file()
        and not any(part[0] in "._" for part in file.relative_to(path).parts)
    ]
    if not found:
        raise UnreadableError("it is a folder without a .parquet file", "Name a file, or a folder of Parquet files.")
    return found


@dataclass(frozen=True)
class _Files:
    """Files of one content, which are one table."""

    files: Sequence[Path]
    content: str

    def schema(self) -> Any:
        """The columns of all files, with types that hold all values. Raises UnreadableError if there are none."""
        import pyarrow as pa

        schemas = []
        for file in self.files:
            with _opened(file, self.content) as (schema, _):
                schemas.append(_with_index(schema))
        if len(schemas) == 1:
            return schemas[0]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise UnreadableError(f"its files have columns that do not go together: {error}") from None

    def batches(self, schema: Any, named: Mapping[str, Any], rows: int) -> Iterator[Any]:
        """Pieces of the files one after the other, as the schema has them. named: name -> its value in each file."""
        for number, file in enumerate(self.files):
            with _opened(file, self.content) as (own, batches):
                found: Iterable[Any] = _indexed(own, batches(rows))
                for batch in found:
                    yield _fitted(batch, schema, {name: values[number] for name, values in named.items()})


@contextmanager
def _opened(path: Path, content: str) -> Iterator[tuple[Any, Callable[[int], Iterable[Any]]]]:
    """A file's schema, and its batches for a number of rows that they should have at most."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if content == "parquet":
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow, file.iter_batches
        return
    with pa.OSFile(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        with (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source) as file:
            yield file.schema, lambda _: map(file.get_batch, range(file.num_record_batches)) if is_file else file


def _with(schema: Any, name: str, kind: Any) -> Any:
    import pyarrow as pa

    return schema.append(pa.field(name, kind))


# -- what pandas and Spark write beside the columns ------------------------------------------------------------------


def _numbered(schema: Any) -> list[tuple[str, int, int]]:
    """Named indexes of numbers, which pandas writes as a start and a step only."""
    indexes = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        (str(it["name"]), it["start"], it["step"]) for it in indexes if isinstance(it, dict) and it["name"] is not None
    ]


def _with_index(schema: Any) -> Any:
    for name, _, _ in _numbered(schema):
        schema = _with(schema, name, "int64")
    return schema


def _indexed(schema: Any, batches: Iterable[Any]) -> Iterator[Any]:
    import numpy as np
    import pyarrow as pa

    numbered, schema, done = _numbered(schema), _with_index(schema), 0
    for batch in batches:
        rows = np.arange(done, done + batch.num_rows)
        done += batch.num_rows
        indexes = [pa.array(start + step * rows) for _, start, step in numbered]
        yield pa.RecordBatch.from_arrays([*batch.columns, *indexes], schema=schema) if indexes else batch


def _named_by_folders(path: Path, files: Sequence[Path], kind: Kind) -> Mapping[str, Any]:
    """Columns that stand in the names of folders alone, as in dow=7/part-0.parquet: the value for each file.

    Names have no types, so they are read as a CSV file would be.
    """
    levels = [[it.partition("=") for it in file.relative_to(path).parts[:-1] if "=" in it] for file in files]
    rows = [{unquote(name): unquote(value) for name, _, value in level} for level in levels]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return {}
    text = StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *([row.get(name, "").replace(_NO_VALUE, "") for name in names] for row in rows)])
    content = text.getvalue().encode()
    (frame,) = read_separated(lambda: BytesIO(content), ",", kind, len(rows))
    return {name: _array(frame[name]) for name in names}


def _array(column: pd.Series[Any]) -> Any:
    """As text, if it has values of several types."""
    import pyarrow as pa

    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if cell is None else str(cell) for cell in column])


# -- one table of all ------------------------------------------------------------------------------------------------


def _fitted(batch: Any, schema: Any, values: Mapping[str, Any]) -> Any:
    """A batch with the columns and types of the schema. values: of columns that the file lacks, which are null else."""
    import pyarrow as pa

    if not values and batch.schema.equals(schema):
        return batch
    own = set(batch.schema.names)
    columns = [
        batch[field.name].cast(field.type)
        if field.name in own
        else pa.repeat(values.get(field.name, pa.scalar(None, field.type)), batch.num_rows)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _regrouped(schema: Any, batches: Iterable[Any], rows: int) -> Iterator[Any]:
    """Tables of ``rows`` rows, however small or large the batches are; the last has what is left.

    One at least, which may have no rows.
    """
    import pyarrow as pa

    waiting: list[Any] = []
    size, any_yet = 0, False
    for batch in batches:
        rest = batch
        while size + rest.num_rows >= rows:
            yield pa.Table.from_batches([*waiting, rest.slice(0, rows - size)], schema)
            rest, waiting, size, any_yet = rest.slice(rows - size), [], 0, True
        if rest.num_rows:
            waiting.append(rest)
            size += rest.num_rows
    if waiting or not any_yet:
        yield pa.Table.from_batches(waiting, schema)
