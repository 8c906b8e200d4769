"""Tables that options of plugins name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmeframe.errors import BadInputError, ConfigError, UsageError, listed
from mmeframe.rows.reading import read_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table"]


def read_table(path: str | Path, where: str | None = None) -> pd.DataFrame:
    """Read a whole table as every command reads one: any of its formats, by the ending of the name.

    Cells of CSV and TSV are text as written, so "02108" stays itself, and an empty one is missing. Other formats keep
    their types; whole numbers are whole beside missing ones, too. where: the option, for messages.
    Raises MissingError if there is no file, ConfigError for what is no table. Example::

        stores = read_table(self.conf.table, where="table")
    """
    try:
        table = read_whole(Path(path), lambda _: "text", where or "")
    except (BadInputError, UsageError) as error:
        raise ConfigError(error.what, where=error.where, hint=error.hint) from error
    twice = table.columns[table.columns.duplicated()].unique()
    if len(twice):
        raise ConfigError(f"{path} has columns that stand twice: {listed([*twice])}.", where=where or "")
    return table
