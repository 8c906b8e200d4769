"""A plugin of routing strategies: one keeps every promise, each of the others breaks one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmeframe.plugin import (
    BadInputError,
    ComponentContext,
    RoutingInputs,
    RoutingStrategy,
    RoutingStrategyPlugin,
    StrategyConf,
    hookimpl,
)


@dataclass
class SomeConf(StrategyConf):
    """Options of all of them."""

    # The column that is the key.
    column: str = "x"
    # A file with the key of rows that have none.
    table: str | None = None


class Good(RoutingStrategy[SomeConf]):
    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "key"})

    def prepare(self) -> Mapping[str, bytes]:
        return {"table": Path(self.conf.table).read_bytes()} if self.conf.table else {}

    def bind(self, context: ComponentContext) -> None:
        self.other = bytes(context.files["table"]).decode() if self.conf.table else None

    def route_keys(self, batch: Any, params: Any) -> Any:
        import pandas as pd

        return [self.other if pd.isna(value) else value for value in batch.column(self.conf.column)]


class Ranked(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        import pandas as pd

        return pd.Series(batch.column("x")).rank(method="dense")


class OfTheBatch(Ranked):
    row_wise = False


class Short(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("x")[:-1]


class Wide(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return np.ones((len(batch), 2))


class ByIndex(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.frame.index.to_numpy()


class OfLists(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return [[value] for value in batch.column("x")]


class NeedsRows(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("x") if len(batch) else [0]


class TakesMissingColumns(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("x") if "x" in batch.columns else 0


class Nameless(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        if "x" not in batch.columns:
            raise BadInputError("something is missing.")
        return batch.column("x")


class Indexed(Good):
    """Gives a series with an index of its own, of the type that the column has."""

    def route_keys(self, batch: Any, params: Any) -> Any:
        import pandas as pd

        return pd.Series(batch.column("x"), range(5, 5 + len(batch)))


class Divides(Good):
    """Looks at its parameter before it looks at its column."""

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({"x": "double"}, ("by",))

    def route_keys(self, batch: Any, params: Any) -> Any:
        if params["by"] is None:
            raise BadInputError("the parameter 'by' is missing.")
        return batch.numbers("x") // int(params["by"])


class NeedsNumbers(Divides):
    """Takes a parameter for a number."""

    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.numbers("x") // params["by"]


class FailsWithout(Divides):
    """Has not thought of a parameter that is left out."""

    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.numbers("x") // int(params["by"])


class OfAGenerator(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return (value for value in batch.column("x"))


class OfAMap(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return map(str, batch.column("x"))


class OfAView(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return dict(enumerate(batch.column("x"))).values()


class OfObjects(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return [object() for _ in batch.column("x")]


class Unlisted(Good):
    def keys(self) -> list[int]:
        return [1, 2]


class Counts(Good):
    seen = 0

    def route_keys(self, batch: Any, params: Any) -> Any:
        self.seen += 1
        return np.full(len(batch), self.seen)


made = 0


class MadeLater(Good):
    def bind(self, context: ComponentContext) -> None:
        global made
        made += 1
        self.number = made

    def route_keys(self, batch: Any, params: Any) -> Any:
        return self.number


class Writes(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        batch.frame["x"] = 0
        return np.zeros(len(batch), int)


class Remembers(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        self.batch = batch
        time.sleep(0.001)
        return self.batch.column("x")


class ByType(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return [type(value).__name__ for value in batch.column("x")]


class Complete(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        if len(batch.column("x")) > sum(value == value for value in batch.numbers("x")):
            raise BadInputError("x has missing values.")
        return batch.column("x")


class FromTheLeast(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        values = batch.numbers("x")
        return np.where(np.isnan(values).any(), values + 1, values)


class Reopens(Good):
    def bind(self, context: ComponentContext) -> None:
        super().bind(context)
        if os.path.exists(str(self.conf.table)):
            open(str(self.conf.table), "rb").close()


class ReopensGone(Good):
    def route_keys(self, batch: Any, params: Any) -> Any:
        open(str(self.conf.table), "rb").close()


class Dated(Good):
    def prepare(self) -> Mapping[str, bytes]:
        return {"table": str(time.perf_counter_ns()).encode()}


class Texts(Good):
    def prepare(self) -> Any:
        return {"table": "no bytes"}


class WantsBytes(Good):
    def bind(self, context: ComponentContext) -> None:
        self.other = context.files["table"].decode()


BROKEN = [it for it in list(vars().values()) if isinstance(it, type) and issubclass(it, Good)]


@hookimpl
def mmeframe_routing_strategies():
    return [
        RoutingStrategyPlugin(kind.__name__.lower(), SomeConf, f"{__name__}:{kind.__name__}", "for tests")
        for kind in BROKEN
    ]
