"""``kind: column``: the key is in a column of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import MISSING, Batch, RoutingInputs, RoutingStrategy, StrategyConf

__all__ = ["ColumnConf", "ColumnStrategy"]


@dataclass
class ColumnConf(StrategyConf):
    """Options of ``kind: column``."""

    # The column that carries the key, one value per row.
    column: str = MISSING


class ColumnStrategy(RoutingStrategy[ColumnConf]):
    """Route each row by the value in a column."""

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "key"})

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        return batch.column(self.conf.column)
