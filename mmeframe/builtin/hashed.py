"""``kind: hash``: fixed shares of rows get each key, by a stable hash of columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    fractions,
    normalised,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HashConf", "HashStrategy", "column_keys"]

# What sums of decimal fractions may miss 1 by.
_TOLERANCE = 1e-9


def _columns(columns: str | list[str]) -> str | list[str]:
    names = [columns] if isinstance(columns, str) else columns
    if not names:
        raise ValueError("no columns are named; name the columns whose values keep one key, such as customer")
    if len(set(names)) < len(names):
        raise ValueError("duplicate column")
    return names


def _shares(shares: dict[str, float]) -> dict[str, float]:
    if not shares:
        raise ValueError("there are no shares; write them as in {a: 0.5, b: 0.5}")
    if "" in shares:
        raise ValueError("a name is empty")
    total = math.fsum(shares.values())
    if total > 1 + _TOLERANCE:
        raise ValueError(f"the shares are {total:g} together, and all rows are 1")
    return shares


@dataclass
class HashConf(StrategyConf):
    """Options of ``kind: hash``."""

    # One column or several; rows that are equal in all of them have one key.
    columns: Annotated[str | list[str], AfterValidator(_columns)] = MISSING
    # At least one key -> its share of the distinct values, from 0 to 1; together 1 at most. What is beyond them has no
    # key.
    shares: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1, strict=True)]],
        AfterValidator(_shares),
        Field(validate_default=True),
    ] = field(default_factory=dict)
    # Any text; two experiments with different salts split independently of one another.
    salt: str = ""


class HashStrategy(RoutingStrategy[HashConf]):
    """Route each row by a hash of its columns, the same in every process and for ever.

    The keys stand side by side in the order of their names, so a row changes its key only where a border between two
    moves. Numbers and their text are one value; a row of which all columns are missing has no key.
    """

    @property
    def _names(self) -> list[str]:
        columns = self.conf.columns
        return [columns] if isinstance(columns, str) else columns

    def inputs(self) -> RoutingInputs:
        return RoutingInputs(dict.fromkeys(self._names, "any"))

    def keys(self) -> Iterable[str]:
        return sorted(self.conf.shares)

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np
        import pandas as pd

        # A share of 0 takes no rows, also not those that rounding leaves over.
        shares = {name: share for name, share in sorted(self.conf.shares.items()) if share}
        columns = [column_keys(batch, name) for name in self._names]
        borders = np.minimum(np.cumsum([*shares.values()]), 1.0)
        if len(borders) and borders[-1] > 1 - _TOLERANCE:
            borders[-1] = 1.0
        codes = np.searchsorted(borders, fractions(self.conf.salt, columns), side="right")
        codes[codes == len(shares)] = -1
        codes[np.logical_and.reduce([column.codes == -1 for column in columns])] = -1
        return pd.Categorical.from_codes(codes, pd.Index(list(shares), dtype=object), validate=False)


def column_keys(batch: Batch, column: str, exact: bool = True) -> pd.Categorical:
    """A column's values as canonical texts. Raises BadInputError naming the column if one is no key.

    exact: whether whole floats that may be rounded are refused, see ``canonical``.
    """
    values = batch.column(column)
    try:
        return normalised(values, len(batch), exact)
    except BadInputError as error:
        raise BadInputError(error.what, where=f"column {column!r}", hint=error.hint) from None
