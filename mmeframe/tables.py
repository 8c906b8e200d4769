"""Score a table from file to file, in pieces, with the types that the router declares.

A CSV file has no types: key columns are read as the bundle's schema says, so that "02108" stays text where keys are
text. The output appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmeframe.errors import BadInputError, MissingError, UsageError
from mmeframe.keys import NA_WORDS

if TYPE_CHECKING:
    import pandas as pd

    from mmeframe.runtime import Router

__all__ = ["Scored", "read_table", "score_table"]

_FORMATS = (".csv", ".parquet", ".json", ".jsonl")


@dataclass(frozen=True)
class Scored:
    """What ``score_table`` did."""

    rows: int
    out: str | None
    reasons: Mapping[str, int]


def column_types(router: Router) -> dict[str, str]:
    """How to read each column of a text file: ``text``, ``key`` (text in which only "" is missing) or ``infer``."""
    types = {column.name: "text" if column.type in ("string", "datetime") else "infer" for column in router.union}
    for part, strategy in router.strategies.items():
        for name, kind in strategy.inputs().columns.items():
            if kind == "key" and name not in types:
                types[name] = "infer" if router.table.indexes[part].integer else "key"
            elif kind in ("datetime", "string"):
                types.setdefault(name, "text")
    return types


def read_table(path: Path, types: Mapping[str, str], rows: int) -> Iterator[pd.DataFrame]:
    """A table in pieces of at most ``rows`` rows. CSV, Parquet, JSON (records) or JSON lines, by the file's ending.

    Raises MissingError if there is no such file, BadInputError if it cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path.absolute()}.", where="--data")
    if path.suffix not in _FORMATS:
        raise UsageError(f"{path.name} is none of {', '.join(_FORMATS)}.", where="--data", hint="Rename or convert it.")
    try:
        yield from _readers[path.suffix](path, types, rows)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {str(error).splitlines()[0]}", where="--data") from error


def _read_csv(path: Path, types: Mapping[str, str], rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd

    header = pd.read_csv(path, nrows=0).columns
    yield from pd.read_csv(
        path,
        chunksize=rows,
        dtype={name: str for name in header if types.get(name) in ("text", "key")},
        keep_default_na=False,
        na_values={name: [""] if types.get(name) == "key" else sorted(NA_WORDS) for name in header},
    )


def _read_parquet(path: Path, types: Mapping[str, str], rows: int) -> Iterator[pd.DataFrame]:
    del types
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if not file.metadata.num_rows:
        yield file.schema_arrow.empty_table().to_pandas()
    for batch in file.iter_batches(rows):
        yield batch.to_pandas()


def _read_json(path: Path, types: Mapping[str, str], rows: int) -> Iterator[pd.DataFrame]:
    del types
    import pandas as pd

    with path.open(encoding="utf-8") as file:
        content = json.load(file)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise BadInputError("it must be a list of records: [{...}, ...].", where="--data")
    for start in range(0, len(content), rows):
        yield pd.DataFrame(content[start : start + rows])


def _read_jsonl(path: Path, types: Mapping[str, str], rows: int) -> Iterator[pd.DataFrame]:
    del types
    import pandas as pd

    piece: list[Any] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                piece.append(json.loads(line))
            if len(piece) == rows:
                yield pd.DataFrame(piece)
                piece = []
    if piece:
        yield pd.DataFrame(piece)


_readers: Mapping[str, Callable[[Path, Mapping[str, str], int], Iterator[Any]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
}


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
    with _writer(out, stream) as write:
        for piece in read_table(data, column_types(router), batch_rows):
            answer = router.answer(piece, params)
            notes = router.annotate if annotate is None else annotate
            columns = answer.columns if notes else {k: v for k, v in answer.columns.items() if k not in _NOTES}
            write(_beside(piece, columns, keep))
            for reason, count in _count(answer.columns["reason"]).items():
                reasons[reason] = reasons.get(reason, 0) + count
            rows += len(piece)
            progress("scoring", rows, 0)
    return Scored(rows, str(out) if out else None, reasons)


_NOTES = ("model_id", "model_version", "reason", "arm")


def _count(reasons: Any) -> dict[str, int]:
    import numpy as np

    names, counts = np.unique(reasons.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _beside(piece: pd.DataFrame, columns: Mapping[str, Any], keep: str | Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    names = list(piece.columns) if keep == "all" else [] if keep == "none" else list(keep)
    absent = [name for name in names if name not in piece.columns]
    if absent:
        raise BadInputError(f"the data has no column {absent[0]!r}.", where="predict.keep")
    clash = [name for name in names if name in columns]
    if clash:
        raise UsageError(
            f"the data has a column {clash[0]!r} already.",
            where="predict.keep",
            hint="Set predict.keep=none, or list the columns to keep.",
        )
    flat: dict[str, Any] = {}
    for name, values in columns.items():
        if getattr(values, "ndim", 1) == 2:
            flat |= {f"{name}_{number}": values[:, number] for number in range(values.shape[1])}
        else:
            flat[name] = values
    return pd.concat([piece[names], pd.DataFrame(flat, index=piece.index)], axis=1)


@contextlib.contextmanager
def _writer(out: Path | None, stream: TextIO | None) -> Iterator[Callable[[pd.DataFrame], None]]:
    if out is None:
        if stream is None:
            raise UsageError("there is nowhere to write to.", where="--out")
        first = [True]

        def to_stream(frame: pd.DataFrame) -> None:
            frame.to_csv(stream, index=False, header=first.pop() if first else False)

        yield to_stream
        return
    if out.suffix not in _FORMATS:
        raise UsageError(f"{out.name} is none of {', '.join(_FORMATS)}.", where="--out", hint="Choose one of these.")
    if not out.parent.is_dir():
        raise MissingError(f"there is no folder {out.parent.absolute()}.", where="--out")
    work = out.with_name(f".{out.name}.{os.getpid()}{out.suffix}")
    try:
        with _formats[out.suffix](work) as write:
            yield write
        work.replace(out)
    finally:
        work.unlink(missing_ok=True)


@contextlib.contextmanager
def _to_csv(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield lambda frame: frame.to_csv(file, index=False, header=file.tell() == 0)


@contextlib.contextmanager
def _to_parquet(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: list[Any] = []

    def write(frame: pd.DataFrame) -> None:
        if not writers:
            writers.append(pq.ParquetWriter(path, pa.Table.from_pandas(frame, preserve_index=False).schema))
        try:
            writers[0].write_table(pa.Table.from_pandas(frame, schema=writers[0].schema, preserve_index=False))
        except (pa.ArrowException, KeyError) as error:
            raise UsageError(
                f"the columns change their types between pieces of the data: {type(error).__name__}.",
                where="--out",
                hint="Raise predict.batch_rows so that the data is one piece, or write .csv or .jsonl.",
            ) from None

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


@contextlib.contextmanager
def _to_json(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")

        def write(frame: pd.DataFrame) -> None:
            if len(frame):
                file.write(("," if file.tell() > 1 else "") + ",\n".join(_records(frame)))

        yield write
        file.write("]\n")


@contextlib.contextmanager
def _to_jsonl(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda frame: file.writelines(f"{record}\n" for record in _records(frame))


def _records(frame: pd.DataFrame) -> Iterator[str]:
    """JSON of each row, with every digit of its numbers: pandas' own writer rounds. Missing values are null."""
    plain = frame.astype(object).where(frame.notna(), None)
    for row in plain.to_dict("records"):
        yield json.dumps(row, default=str, ensure_ascii=False)


_formats: Mapping[str, Callable[[Path], Any]] = {
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".json": _to_json,
    ".jsonl": _to_jsonl,
}
