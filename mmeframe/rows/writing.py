"""Write a table in pieces, in any format that the ending of its name says.

How large the pieces are does not change what is written: columns and types are those of the whole table. A file appears
whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmeframe.errors import MissingError, UsageError
from mmeframe.rows.answers import in_text
from mmeframe.rows.formats import Form, form_of
from mmeframe.rows.parts import Types, columnar

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Write", "writer"]

Write = Callable[["pd.DataFrame"], None]


@contextlib.contextmanager
def writer(out: Path | None, stream: TextIO | None, types: Types) -> Iterator[Write]:
    """Write frames of one shape to a file, by its ending, or as CSV to a stream where no file is named.

    Raises UsageError if there is none of them; and UsageError, or MissingError, for a file that cannot be written so.
    """
    if out is None:
        if stream is None:
            raise UsageError(
                "--json prints the summary, so there is nowhere to write the rows.",
                where="--out",
                hint="Name a file: --out scored.csv",
            )
        yield _csv(stream, ",")
        return
    form = form_of(out, "--out", "Choose one of these.")
    if not out.parent.is_dir():
        raise MissingError(f"there is no folder {out.parent.absolute()}.", where="--out")
    if out.is_dir():
        raise UsageError(f"{out} is a folder.", where="--out", hint="Name a file.")
    with tempfile.TemporaryDirectory(prefix=".mmeframe-", dir=out.parent) as folder:
        work = Path(folder) / "table"
        with _written(work, form, types) as write:
            yield write
        work.replace(out)


def _written(path: Path, form: Form, types: Types) -> contextlib.AbstractContextManager[Write]:
    if form.content in ("parquet", "arrow"):
        return columnar(path, form.content, types)
    return _text(path, form)


@contextlib.contextmanager
def _text(path: Path, form: Form) -> Iterator[Write]:
    with _to_file(path, form.packed) as file:
        if form.content == "csv":
            yield _csv(file, form.separator)
        elif form.content == "lines":
            yield lambda frame: file.writelines(f"{record}\n" for record in _records(frame))
        else:
            file.write("[")
            yield _json(file)
            file.write("]\n")


@contextlib.contextmanager
def _to_file(path: Path, packed: str | None) -> Iterator[TextIO]:
    if packed is None:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    import pyarrow as pa

    with TextIOWrapper(BufferedWriter(pa.output_stream(path, compression=packed)), "utf-8", newline="") as file:
        yield file


def _csv(file: TextIO, separator: str) -> Write:
    first = [True]

    def write(frame: pd.DataFrame) -> None:
        header = first.pop() if first else False
        frame = _texts(frame, _cell)
        how: dict[str, Any] = {"index": False, "header": header, "sep": separator, "lineterminator": "\n"}
        text = frame.to_csv(**how)
        # Python does not quote a lone carriage return, and readers take it for the end of a row.
        file.write(frame.to_csv(**how, quoting=csv.QUOTE_NONNUMERIC) if "\r" in text else text)

    return write


def _cell(value: Any) -> Any:
    """Lists and objects as JSON, and bytes as base64, as they are in JSON; other values as pandas writes them."""
    if isinstance(value, bytes | bytearray):
        return in_text(value)
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return value
    return json.dumps(in_text(value), ensure_ascii=False)


def _json(file: TextIO) -> Write:
    first = [True]

    def write(frame: pd.DataFrame) -> None:
        if len(frame):
            before = "" if first and first.pop() else ",\n"
            file.write(before + ",\n".join(_records(frame)))

    return write


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
