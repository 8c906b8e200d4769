"""``kind: lookup``: the key is what a table says about another key part, such as the region of a store."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, ValidationInfo, model_validator

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    ComponentContext,
    ConfigError,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    csv_twins,
    normalised,
    read_table,
    suggest,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LookupConf", "LookupStrategy"]

_FILE = "table.json"


def _only_with_table(name: str | None, info: ValidationInfo) -> str | None:
    if name is not None and info.data.get("table") is None:
        raise ValueError("it names a column of a table, and there is no table")
    return name


def _needed_with_table(name: str | None, info: ValidationInfo) -> str | None:
    if name is None and info.data.get("table") is not None:
        raise ValueError("a table needs it: the column with the answers")
    return _only_with_table(name, info)


@dataclass
class LookupConf(StrategyConf):
    """Options of ``kind: lookup``."""

    # The key part that the look-up starts from.
    part: str = MISSING
    # A table (CSV, Parquet, ...), read when the router is built and put into the artifact; CSV is read as text, so
    # "02108" stays itself.
    table: str | None = None
    # Instead of a table: value of the part -> answer.
    values: dict[str, Annotated[StrictStr, Field(min_length=1)] | StrictInt] = field(default_factory=dict)
    # The table's column with the part's values; null means the one that is named like the part.
    key: Annotated[str | None, AfterValidator(_only_with_table)] = None
    # The table's column with the answers, required with a table; a row without one, or without a value, counts for
    # nothing.
    to: Annotated[str | None, Field(validate_default=True), AfterValidator(_needed_with_table)] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.table is not None and self.values:
            raise ValueError("table and values are both given; keep one")
        if self.table is None and not self.values:
            raise ValueError("nothing to look up in: give table, a CSV or Parquet file, or values, as in {berlin: eu}")
        return self


class LookupStrategy(RoutingStrategy[LookupConf]):
    """Route each row by what a table says about one of its key parts; a value that stands nowhere has no key."""

    def inputs(self) -> RoutingInputs:
        return RoutingInputs(parts=(self.conf.part,))

    def prepare(self) -> Mapping[str, bytes]:
        answers = self._read(Path(self.conf.table)) if self.conf.table else self._given()
        for value, other in csv_twins(sorted(answers)):
            if answers[value] != answers[other]:
                what = f"{value!r} and {other!r} have different answers, and a CSV reader makes them one."
                raise ConfigError(what, where="table" if self.conf.table else "values", hint="Rename one.")
        if self.conf.table is None:
            return {}
        return {_FILE: json.dumps(answers, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()}

    def bind(self, context: ComponentContext) -> None:
        if self.conf.table is None:
            self._answers = self._given()
        else:
            self._answers = json.loads(bytes(context.files[_FILE]))

    def keys(self) -> Iterable[str]:
        return sorted(set(self._answers.values()))

    def part_keys(self) -> Mapping[str, Collection[str]]:
        return {self.conf.part: self._answers.keys()}

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np
        import pandas as pd

        part = batch.part(self.conf.part)
        # None last, where the code of a missing value, -1, finds it.
        found = np.array([*map(self._answers.get, part.categories), None], object)
        codes, answers = pd.factorize(found)
        return pd.Categorical.from_codes(codes.take(part.codes), pd.Index(answers, dtype=object), validate=False)

    def _given(self) -> dict[str, str]:
        return {key: str(answer) for key, answer in self.conf.values.items()}

    def _read(self, path: Path) -> dict[str, str]:
        """Canonical value -> canonical answer. Raises ConfigError for a value with two answers."""
        key, to = self.conf.key or self.conf.part, str(self.conf.to)
        table = read_table(path, "table")
        for option, name in (("key", key), ("to", to)):
            if name not in table.columns:
                hint = suggest(name, table.columns, "Its columns")
                raise ConfigError(f"{path} has no column {name!r}.", where=option, hint=hint)
        answers: dict[str, str | None] = {}
        twice: dict[str, None] = {}
        for value, answer in zip(self._texts(table, key, "key"), self._texts(table, to, "to"), strict=True):
            if value is not None and answers.setdefault(value, answer) != answer:
                twice[value] = None
        if twice:
            named = ", ".join(map(repr, list(twice)[:3])) + (" ..." if len(twice) > 3 else "")
            raise ConfigError(
                f"{path} answers {len(twice)} key{'s' * (len(twice) > 1)} in two ways: {named}.",
                where="table",
                hint=f"Keep one row for each value of {key!r}.",
            )
        found = {value: answer for value, answer in answers.items() if answer is not None}
        if not found:
            raise ConfigError(f"{path} has no row with both {key!r} and {to!r}.", where="table")
        return found

    @staticmethod
    def _texts(table: pd.DataFrame, name: str, option: str) -> list[str | None]:
        """Canonical values of a column; an empty cell is a missing one, as CSV has no other."""
        try:
            keys = normalised(table[name], len(table))
            texts = [*(text or None for text in keys.categories), None]
            return [texts[code] for code in keys.codes]
        except BadInputError as error:
            raise ConfigError(f"in the column {name!r} {error.what}", where=option, hint="Save it as text.") from None
