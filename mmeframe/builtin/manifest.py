"""``kind: manifest``: a CSV or Parquet file with one row per sub-model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmeframe.plugin import (
    MAIN_ARM,
    MISSING,
    ConfigError,
    MissingError,
    ModelSource,
    SourceConf,
    SubModelEntry,
    suggest,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ManifestConf", "ManifestSource"]


_COLUMNS = ("id", "uri", "flavor", "arm")


@dataclass
class ManifestConf(SourceConf):
    """Options of ``kind: manifest``."""

    # CSV or Parquet, with the columns id and uri and one per key part (empty means any); flavor is optional.
    path: str = MISSING


class ManifestSource(ModelSource[ManifestConf]):
    """Sub-models of a table. CSV is read as text, so "02108" stays itself."""

    def expand(self) -> Iterable[SubModelEntry]:
        where = f"sources.{self.context.name}"
        table = self._read(where)
        for column in ("id", "uri"):
            if column not in table.columns:
                raise ConfigError(
                    f"{self.conf.path} has no column {column!r}.",
                    where=f"{where}.path",
                    hint=suggest(column, table.columns, "Its columns"),
                )
        parts = [part for part in self.context.parts if part in table.columns]
        for part in self.context.parts:
            near = [name for name in table.columns if name not in (*parts, *_COLUMNS)]
            if part not in parts and get_close_matches(part.lower(), [name.lower() for name in near], n=1, cutoff=0.75):
                hint = suggest(part, near, "Its other columns")
                raise ConfigError(f"{self.conf.path} has no column {part!r}.", where=f"{where}.path", hint=hint)
        flavor = "flavor" in table.columns
        for number, row in enumerate(table.to_dict("records"), start=1):
            at = f"{where} row {number}"
            if row.get("arm") not in (None, "", MAIN_ARM):
                raise ConfigError(f"arm {row['arm']!r} is not supported; only {MAIN_ARM!r} is.", where=at)
            if not isinstance(row["id"], str) or not row["id"] or not isinstance(row["uri"], str) or not row["uri"]:
                raise ConfigError("id and uri must be text, and not empty.", where=at)
            key: dict[str, Any] = {part: row[part] for part in parts if row[part] not in (None, "")}
            yield SubModelEntry(
                row["id"], row["uri"], key, flavor=row["flavor"] or "auto" if flavor else "auto", origin=at
            )

    def _read(self, where: str) -> pd.DataFrame:
        import pandas as pd

        path = Path(self.conf.path)
        if not path.is_file():
            raise MissingError(f"there is no file {path.absolute()}.", where=f"{where}.path")
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        if path.suffix == ".parquet":
            # Nullable types: a whole number beside an empty cell stays a whole number.
            table = pd.read_parquet(path, dtype_backend="numpy_nullable")
            for part in set(self.context.parts) & set(table.columns):
                values = table[part].dropna()
                if pd.api.types.is_float_dtype(table[part].dtype) and (values == values.round()).all():
                    table[part] = table[part].astype("Int64")
            return table.astype(object).where(table.notna(), None)
        raise ConfigError(f"{path} is neither .csv nor .parquet.", where=f"{where}.path")
