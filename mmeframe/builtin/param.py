"""``kind: param``: the key is a request parameter, as in MLflow's tutorial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import (
    MISSING,
    BadInputError,
    Batch,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
    normalised,
)

__all__ = ["ParamConf", "ParamStrategy"]


@dataclass
class ParamConf(StrategyConf):
    """Options of ``kind: param``."""

    # The request parameter that carries the key for all rows of a request.
    param: str = MISSING
    # A column that may carry it instead: CSV, Parquet and Spark rows have no parameters.
    column: str | None = None


class ParamStrategy(RoutingStrategy[ParamConf]):
    """Route a request by a parameter, or its rows by a column where the parameter is left out."""

    def inputs(self) -> RoutingInputs:
        columns = {self.conf.column: "key"} if self.conf.column else {}
        return RoutingInputs(columns, (self.conf.param,))

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        name, column = self.conf.param, self.conf.column
        value = params.get(name)
        sent = column is not None and column in batch.columns
        if value is None:
            if sent and column is not None:
                return batch.column(column)
            instead = f" Or send the column {column!r}." if column else ""
            raise BadInputError(
                f"parameter {name!r} was not given.",
                hint="It has no default. MLflow drops parameters that it does not know: check the spelling." + instead,
            )
        if sent and column is not None:
            self._agree(value, batch.column(column))
        return value

    def _agree(self, value: str, column: Any) -> None:
        """Both were sent: rows that say something else than the parameter are an error; missing values are not."""
        import numpy as np

        keys = normalised(column, len(column))
        # Last, where the code of a missing value, -1, finds it.
        other = np.array([*(key != value for key in keys.categories), False])
        rows = np.flatnonzero(other.take(keys.codes))
        if len(rows):
            shown = ", ".join(map(str, rows[:5])) + (" ..." if len(rows) > 5 else "")
            raise BadInputError(
                f"parameter {self.conf.param!r} and column {self.conf.column!r} differ in {len(rows)} rows ({shown}).",
                hint="Send one of the two, or equal values.",
            )
