"""``kind: manifest``: a table with one row per sub-model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mmeframe.plugin import (
    MAIN_ARM,
    MISSING,
    BadInputError,
    ConfigError,
    ModelSource,
    Problem,
    ProblemsError,
    SourceConf,
    SubModelEntry,
    canonical,
    listed,
    read_table,
    suggest,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ManifestConf", "ManifestSource"]


_COLUMNS = ("id", "uri", "flavor", "loader", "arm")
_ARM = re.compile(r"[A-Za-z_]\w*")

# Column -> its values, one per row; an empty cell is None.
Table = Mapping[str, list[Any]]


@dataclass
class ManifestConf(SourceConf):
    """Options of ``kind: manifest``."""

    # A table: CSV, Parquet, JSON lines and others. Columns: id, uri, one per key part (empty means any); and, if you
    # like, flavor, loader and arm.
    path: str = MISSING


class ManifestSource(ModelSource[ManifestConf]):
    """Sub-models of a table. CSV is read as text, so "02108" stays itself."""

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        read = read_table(self.conf.path, f"{where}.path")
        table = {str(name): _cells(read[name]) for name in read.columns}
        parts = self._parts(table, f"{where}.path")
        rows = len(table["id"])
        ids, uris = table["id"], table["uri"]
        flavors, loaders, arms = (table.get(name) or [None] * rows for name in _COLUMNS[2:])
        keys = {part: [_whole(value) for value in table[part]] for part in parts}
        if problems := [*_texts(where, table), *_keys(where, keys)]:
            raise ProblemsError(problems)
        if problems := [*_ids(where, ids, arms), *_arms(where, arms)]:
            raise ProblemsError(problems)
        # One pass over rows; a part without a value is left out of its row's key.
        found: list[dict[str, Any]] = [{} for _ in range(rows)]
        for part, values in keys.items():
            for key, value in zip(found, values, strict=True):
                if value is not None:
                    key[part] = value
        return [
            SubModelEntry(id_, uri, key, flavor or "auto", loader or "auto", arm or MAIN_ARM, origin=f"{where} row {n}")
            for n, (id_, uri, key, flavor, loader, arm) in enumerate(
                zip(ids, uris, found, flavors, loaders, arms, strict=True), start=1
            )
        ]

    def _parts(self, table: Table, where: str) -> list[str]:
        """The key parts that have a column. A column that nearly has the name of one is a mistake."""
        for column in ("id", "uri"):
            if column not in table:
                hint = suggest(column, table, "Its columns")
                raise ConfigError(f"{self.conf.path} has no column {column!r}.", where=where, hint=hint)
        parts = [part for part in self.context.parts if part in table]
        near = [name for name in table if name not in (*parts, *_COLUMNS)]
        for part in self.context.parts:
            if part not in parts and get_close_matches(part.lower(), [name.lower() for name in near], n=1, cutoff=0.75):
                hint = suggest(part, near, "Its other columns")
                raise ConfigError(f"{self.conf.path} has no column {part!r}.", where=where, hint=hint)
        return parts


def _cells(column: pd.Series[Any]) -> list[Any]:
    """None for a missing or an empty one; floats in their own width, which says whether a whole one is exact."""
    values = [*column.to_numpy()] if column.dtype.kind == "f" else column.tolist()
    missing = column.isna().tolist()
    return [
        None if gone or (isinstance(value, str) and not value) else value
        for value, gone in zip(values, missing, strict=True)
    ]


def _whole(value: Any) -> Any:
    """A whole number that a table with empty cells holds as a float is that number, if it is exact."""
    import numpy as np

    if isinstance(value, float | np.floating):
        with suppress(BadInputError):
            return int(str(canonical(value))) if value.is_integer() else float(value)
        return float(value)
    return value


def _texts(where: str, table: Table) -> Iterable[Problem]:
    for name in _COLUMNS:
        needed = name in ("id", "uri")
        wrong = [
            row
            for row, value in enumerate(table.get(name, ()), start=1)
            if type(value) is not str and (needed or value is not None)
        ]
        if wrong:
            yield Problem(where, f"{name} must be text{', and not empty' if needed else ', or empty'}: {_rows(wrong)}.")


def _keys(where: str, keys: Table) -> Iterable[Problem]:
    for part, values in keys.items():
        # A bool is an int to Python, and no key.
        wrong = [row for row, value in enumerate(values) if type(value) not in (str, int, type(None))]
        if wrong:
            shown = listed([f"row {row + 1} (the {type(values[row]).__name__} {values[row]!r})" for row in wrong])
            hint = "Keys are text or whole numbers: write the column as text."
            yield Problem(where, f"the key part {part!r} cannot be a key: {shown}.", hint)


def _ids(where: str, ids: list[str], arms: list[str | None]) -> Iterable[Problem]:
    """Rows of one id: the id of a sub-model is that of its row, and its arm."""
    places = [(id_, arm or MAIN_ARM) for id_, arm in zip(ids, arms, strict=True)]
    rows: dict[tuple[str, str], list[int]] = {place: [] for place, count in Counter(places).items() if count > 1}
    if not rows:
        return
    for row, place in enumerate(places, start=1):
        if place in rows:
            rows[place].append(row)
    shown = listed([f"{id_!r} ({_rows(found)})" for (id_, _), found in rows.items()])
    yield Problem(where, f"several rows have one id: {shown}.", "An id stands once, or once in each arm.")


def _arms(where: str, arms: list[str | None]) -> Iterable[Problem]:
    wrong = {arm for arm in set(arms) if arm is not None and not _ARM.fullmatch(arm)}
    if wrong:
        shown = listed([f"row {row} ({arm!r})" for row, arm in enumerate(arms, start=1) if arm in wrong])
        yield Problem(where, f"an arm's name is letters, digits and underscores: {shown}.")


def _rows(rows: list[int]) -> str:
    return f"row{'s' * (len(rows) > 1)} {listed(rows)}"
