"""Read a table, whole or in pieces, in any format that the ending of its name says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.errors import BadInputError, MissingError
from mmeframe.rows.columnar import read_columnar
from mmeframe.rows.formats import Form, check_content, form_of, opened
from mmeframe.rows.records import read_json, read_lines
from mmeframe.rows.separated import QUOTE, Kind, read_separated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table", "read_whole"]


def read_whole(path: Path, kind: Kind, where: str) -> pd.DataFrame:
    """All rows at once, so that types are those of all of them. Raises what ``read_table`` raises."""
    (table,) = read_table(path, kind, 2**62, where)
    return table


def read_table(path: Path, kind: Kind, rows: int, where: str = "--data") -> Iterator[pd.DataFrame]:
    """A table in pieces of at most ``rows`` rows.

    Every piece has the same columns, and there is one piece at least. Whole numbers keep their digits, missing ones
    beside them or not. kind: how to read columns that have no types, as in CSV. where: what named the file.
    Raises MissingError if there is no such file, UsageError for a format that is none of a table, BadInputError if it
    cannot be read.
    """
    if not path.exists():
        raise MissingError(f"there is no file {path.absolute()}.", where=where)
    form = form_of(path, where)
    try:
        if path.is_file():
            check_content(path, form)
        yield from _pieces(path, form, kind, rows)
    except (ValueError, OSError, NotImplementedError, RecursionError) as error:
        what, hint = _explained(path, form, error)
        raise BadInputError(f"{path} cannot be read: {what.rstrip('.')}.", where=where, hint=hint) from error


def _pieces(path: Path, form: Form, kind: Kind, rows: int) -> Iterator[pd.DataFrame]:
    if form.content == "csv":
        return read_separated(lambda: opened(path, form), form.separator, kind, rows)
    if form.content in ("json", "lines"):
        return (read_json if form.content == "json" else read_lines)(path, form, rows)
    return read_columnar(path, form, kind, rows)


def _explained(path: Path, form: Form, error: Exception) -> tuple[str, str]:
    """What is wrong, with the line where that is known, and what to try."""
    from pandas.errors import ParserError

    what, hint = (str(error).splitlines() or [type(error).__name__])[0], getattr(error, "hint", "")
    if isinstance(error, UnicodeDecodeError):
        return f"{what}{_undecodable(path, form)}", "Save it as UTF-8."
    if isinstance(error, ParserError):
        return what, QUOTE
    return what, hint or ("Write or copy it again." if isinstance(error, OSError) else "")


def _undecodable(path: Path, form: Form) -> str:
    """The first line that is no UTF-8."""
    with opened(path, form) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", in line {number}"
    return ""
