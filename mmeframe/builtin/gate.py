"""``kind: gate``: the key is what a sub-model predicts, such as the cluster of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmeframe.plugin import (
    MISSING,
    Batch,
    ComponentContext,
    ModelError,
    RoutingInputs,
    RoutingStrategy,
    StrategyConf,
)

__all__ = ["GateConf", "GateStrategy"]


@dataclass
class GateConf(StrategyConf):
    """Options of ``kind: gate``."""

    # Id of the sub-model whose predictions are the keys: a classifier, or what clusters rows.
    model: str = MISSING


class GateStrategy(RoutingStrategy[GateConf]):
    """Route each row by the answer of a sub-model; a row that it has no answer for has no key."""

    def bind(self, context: ComponentContext) -> None:
        self._score = context.score

    def inputs(self) -> RoutingInputs:
        return RoutingInputs(models=(self.conf.model,))

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import numpy as np

        keys = np.asarray(self._score(self.conf.model, batch))
        if keys.ndim == 2 and keys.shape[1] == 1:
            # How sub-models answer that give a frame.
            keys = keys[:, 0]
        if keys.ndim != 1:
            raise ModelError(
                f"it returns an answer of shape {keys.shape[1:]} for each row, which is no routing key.",
                where=self.conf.model,
                hint="A gate predicts one value per row: a class or a cluster, not probabilities.",
            )
        return keys
