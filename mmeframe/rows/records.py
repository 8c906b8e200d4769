"""Read JSON, a list of records, and JSON lines, a record in each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.rows.formats import Form, UnreadableError, opened

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_json", "read_lines"]

Records = Iterator[dict[str, Any]]


def read_json(path: Path, form: Form, rows: int) -> Iterator[pd.DataFrame]:
    with opened(path, form) as file:
        text = file.read().decode("utf-8-sig")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "Records in lines of their own are JSON lines: name it .jsonl." if error.msg == "Extra data" else ""
        raise UnreadableError(str(error), hint) from None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UnreadableError("it must be a list of records: [{...}, ...]")
    return _in_pieces(lambda: iter(content), rows)


def read_lines(path: Path, form: Form, rows: int) -> Iterator[pd.DataFrame]:
    return _in_pieces(lambda: _lines(path, form), rows)


def _lines(path: Path, form: Form) -> Records:
    with opened(path, form) as file:
        for number, line in enumerate(TextIOWrapper(file, encoding="utf-8-sig"), start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UnreadableError(f"line {number}: {error.msg}") from None
                if not isinstance(row, dict):
                    raise UnreadableError(f"line {number} is no record: {{...}}")
                yield row


def _in_pieces(records: Callable[[], Records], rows: int) -> Iterator[pd.DataFrame]:
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
