"""Write Parquet and Arrow IPC: columns have one type, that of the whole table, however large its pieces are."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.errors import UsageError
from mmeframe.rows.types import TYPES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Types", "columnar"]


@contextlib.contextmanager
def columnar(path: Path, content: str, types: Types) -> Iterator[Callable[[pd.DataFrame], None]]:
    """content: parquet or arrow."""
    parts = _Parts(path, content, types)
    try:
        yield parts.write
        parts.join()
    finally:
        parts.close()


@dataclass(frozen=True)
class Types:
    """What is known of types before there are values: pieces without a value have none of their own.

    declared: MLflow's names of the types of columns without any value. stored: gives Arrow's types of columns that stay
    what they were, when the first is written.
    """

    declared: Mapping[str, str]
    stored: Callable[[], Mapping[str, Any]] = dict


class _Parts:
    """Parquet files that become one file: a part ends where a piece needs wider types than the pieces before it."""

    def __init__(self, path: Path, content: str, types: Types) -> None:
        self._path, self._content, self._types = path, content, types
        self._writers: list[Any] = []

    @cached_property
    def _stored(self) -> Mapping[str, Any]:
        return self._types.stored()

    def write(self, frame: pd.DataFrame) -> None:
        table = _arrow(frame, self._stored)
        schema = _wider(self._writers[-1].schema, table.schema) if self._writers else table.schema
        if not self._writers or schema != self._writers[-1].schema:
            self._begin(schema)
        self._writers[-1].write_table(_cast(table, schema))

    def _final(self, field: Any) -> Any:
        """A column's type in the end."""
        import pyarrow as pa

        if self._content == "arrow" and pa.types.is_dictionary(field.type):
            # A file has one dictionary for all its pieces, which is not known before the last.
            return field.type.value_type
        known = TYPES.get(self._types.declared.get(field.name, ""))
        return pa.type_for_alias(known.arrow) if known and known.arrow and pa.types.is_null(field.type) else field.type

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
        schema = pa.schema([field.with_type(self._final(field)) for field in last])
        if self._content == "parquet" and len(self._writers) == 1 and schema == last:
            self._part(0).replace(self._path)
            return
        with (pq.ParquetWriter if self._content == "parquet" else pa.ipc.new_file)(self._path, schema) as writer:
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
