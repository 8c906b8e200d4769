"""``kind: bins``: the key is the name of the interval that a number lies in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StrictFloat

from mmeframe.plugin import MISSING, Batch, ComponentContext, RoutingInputs, RoutingStrategy, StrategyConf

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BinsConf", "BinsStrategy", "as_sent"]

Edges = list[float | None]


def _unrounded(edge: Any) -> Any:
    if isinstance(edge, int) and (abs(edge) >= 2**1023 or int(float(edge)) != edge):
        raise ValueError("no double equals this whole number, so the border would move; choose one that a double holds")
    return edge


def _edges(edges: Edges) -> Edges:
    if len(edges) != 2:
        raise ValueError(f"an interval is [from, to], and this has {len(edges)} values; write null for an open end")
    if any(edge is not None and not math.isfinite(edge) for edge in edges):
        raise ValueError("an end is a number; write null for an open one")
    low, high = edges
    if low is not None and high is not None and low >= high:
        raise ValueError(f"it goes from {low:g} to {high:g}; its end must be above its start")
    return edges


def _ascending(bins: dict[str, Edges]) -> dict[str, Edges]:
    if not bins:
        raise ValueError("there are no bins; write them as in {short: [null, 500], long: [500, null]}")
    if "" in bins:
        raise ValueError("a label is empty")
    limits = {label: _limits(edges) for label, edges in bins.items()}
    for before, after in pairwise(bins):
        (start, end), (next_start, _) = limits[before], limits[after]
        if next_start < start:
            raise ValueError(f"{after!r} stands after {before!r} and starts below it; write them in ascending order")
        if next_start < end:
            raise ValueError(f"{before!r} and {after!r} overlap; a bin starts where the one before it ends, or above")
    return bins


def _limits(edges: Edges) -> tuple[float, float]:
    low, high = edges
    return -math.inf if low is None else low, math.inf if high is None else high


def _as_map(bins: Any) -> Any:
    """A map from the pairs that ``_pairs`` makes of it."""
    if not isinstance(bins, list) or not all(isinstance(it, list) and len(it) == 2 for it in bins):
        return bins
    labels = [str(label) for label, _ in bins]
    if len(set(labels)) < len(labels):
        raise ValueError("duplicate label")
    return dict(zip(labels, [edges for _, edges in bins], strict=True))


def _pairs(bins: dict[str, Edges]) -> list[Any]:
    """The order of the bins is checked, and a bundle keeps the order of lists only."""
    return [[label, edges] for label, edges in bins.items()]


@dataclass
class BinsConf(StrategyConf):
    """Options of ``kind: bins``."""

    # A column of numbers.
    column: str = MISSING
    # At least one key -> [from, to] in the column's unit, in ascending order and without overlap; null is an open end.
    # A number in a gap, and NaN, has no key.
    bins: Annotated[
        dict[str, Annotated[list[Annotated[StrictFloat | None, BeforeValidator(_unrounded)]], AfterValidator(_edges)]],
        BeforeValidator(_as_map),
        AfterValidator(_ascending),
        PlainSerializer(_pairs),
        Field(validate_default=True),
    ] = field(default_factory=dict)
    # The end that belongs to its bin: left means from <= number < to, right means from < number <= to.
    closed: Literal["left", "right"] = "left"


class BinsStrategy(RoutingStrategy[BinsConf]):
    """Route each row by the interval of its number. Infinite numbers belong to open ends; NaN has no key."""

    def bind(self, context: ComponentContext) -> None:
        del context
        import numpy as np
        import pandas as pd

        limits = [_limits(edges) for edges in self.conf.bins.values()]
        self._starts, self._ends = np.array(limits, np.float64).T
        self._labels = pd.Index(list(self.conf.bins), dtype=object)

    def inputs(self) -> RoutingInputs:
        return RoutingInputs({self.conf.column: "double"})

    def keys(self) -> Iterable[str]:
        return list(self.conf.bins)

    def route_keys(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        del params
        import pandas as pd

        numbers = batch.numbers(self.conf.column)
        codes = self._codes(numbers)
        large, exact = as_sent(batch, self.conf.column, numbers)
        codes[large] = self._codes(exact)
        return pd.Categorical.from_codes(codes, self._labels, validate=False)

    def _codes(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        if self.conf.closed == "left":
            # The last bin that starts at the number or below it, and the number before its end.
            codes = np.searchsorted(self._starts, numbers, side="right") - 1
            inside = (codes >= 0) & ((numbers < self._ends[codes]) | np.isposinf(self._ends[codes]))
        else:
            # The first bin that ends at the number or above it, and the number after its start.
            codes = np.searchsorted(self._ends, numbers, side="left")
            codes[codes == len(self._ends)] = -1
            inside = (codes >= 0) & ((numbers > self._starts[codes]) | np.isneginf(self._starts[codes]))
        # An open end would take NaN, which sorts above every number.
        return np.where(inside & (numbers == numbers), codes, -1)


def as_sent(
    batch: Batch, column: str, numbers: np.ndarray[Any, np.dtype[np.float64]]
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.object_]]]:
    """Rows whose whole number a double may have rounded, and the numbers that were sent there, as Python's own.

    numbers: what ``batch.numbers`` gave of the column.
    """
    import numpy as np

    rows = np.flatnonzero(np.abs(numbers) >= 2**53)
    values = batch.column(column)[rows]
    if values.dtype.kind == "f":
        return rows[:0], np.empty(0, object)
    return rows, np.asarray(values, object)
