"""What every routing strategy promises, as functions that raise AssertionError with a message.

Each takes a strategy that is not bound yet, and a frame with the columns that it reads, where a key part that it builds
on is the column of that name. The start of a conformance kit for authors of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.plugin import BadInputError, ComponentContext, RoutingStrategy, canonical, normalised
from mmeframe.runtime.batch import FrameBatch, as_batch

__all__ = [
    "CHECKS",
    "batch_of",
    "bound",
    "check_bind_is_pure",
    "check_keys_are_listed",
    "check_missing_columns_refused",
    "check_no_rows",
    "check_one_key_per_row",
    "check_row_wise",
    "check_threads",
    "keys_of",
]

Strategy = RoutingStrategy[Any]
Params = Mapping[str, Any] | None


def batch_of(strategy: Strategy, frame: pd.DataFrame) -> FrameBatch:
    """The frame as the host hands it over, with the key parts that the strategy builds on."""
    batch = as_batch(frame)
    for part in strategy.inputs().parts:
        batch.raw_parts[part] = frame[part].array
    return batch


def bound(strategy: Strategy) -> Strategy:
    """A fresh one with the same options, bound to what it prepares."""
    fresh = type(strategy)(strategy.conf)
    fresh.bind(ComponentContext(type(strategy)(strategy.conf).prepare()))
    return fresh


def keys_of(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> list[str | None]:
    """The canonical key of each row by a bound strategy, None where it is missing."""
    raw = strategy.route_keys(batch_of(strategy, frame), params or {})
    keys = normalised(raw, len(frame))
    return [None if code == -1 else keys.categories[code] for code in keys.codes]


def check_row_wise(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """A row's key depends on nothing but that row: batches may be cut and permuted."""
    assert strategy.row_wise, f"{_name(strategy)} does not say that it is row-wise"
    live = bound(strategy)
    whole = np.array(keys_of(live, frame, params), object)
    order = np.random.default_rng(0).permutation(len(frame))
    cuts = np.array_split(order, 7)
    alone = [order[number : number + 1] for number in range(min(len(order), 20))]
    for rows in [order, order[::-1], *cuts, *alone]:
        found = keys_of(live, frame.iloc[rows], params)
        wrong = [int(row) for row, key in zip(rows, found, strict=True) if key != whole[row]]
        assert not wrong, f"{_name(strategy)}: in a batch of {len(rows)}, row {wrong[0]} has another key than among all"


def check_one_key_per_row(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """One scalar, or one value per row, whatever the index of the rows is."""
    live = bound(strategy)
    raw = live.route_keys(batch_of(live, frame), params or {})
    assert np.ndim(raw) in (0, 1), f"{_name(strategy)} gives keys of {np.ndim(raw)} dimensions"
    assert np.ndim(raw) == 0 or len(raw) == len(frame), f"{_name(strategy)}: {len(raw)} keys for {len(frame)} rows"
    for value in [raw] if np.ndim(raw) == 0 else raw:
        canonical(value)
    again = frame.set_axis([7] * len(frame), axis=0)
    assert keys_of(live, again, params) == keys_of(live, frame, params), f"{_name(strategy)}: keys depend on the index"


def check_no_rows(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """A batch without rows has no keys, with types or without."""
    for empty in (frame.iloc[:0], frame.iloc[:0].astype(object)):
        raw = bound(strategy).route_keys(batch_of(strategy, empty), params or {})
        assert np.ndim(raw) == 0 or len(raw) == 0, f"{_name(strategy)}: {len(raw)} keys for no rows"


def check_keys_are_listed(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """Where ``keys`` lists all keys, no row has another."""
    live = bound(strategy)
    listed = live.keys()
    if listed is not None:
        alien = set(keys_of(live, frame, params)) - {canonical(key) for key in listed} - {None}
        assert not alien, f"{_name(strategy)} gives {sorted(map(str, alien))[:3]}, which keys() does not list"


def check_missing_columns_refused(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """A column that was not sent is a bad request that names it, whichever others were sent."""
    inputs = strategy.inputs()
    live = bound(strategy)
    for name in inputs.columns:
        refusal = None
        try:
            # Where a parameter may carry the key too, it is left out as well.
            keys_of(live, frame.drop(columns=name), {} if inputs.params else params)
        except BadInputError as error:
            refusal = str(error)
        assert refusal is not None, f"{_name(strategy)} gives keys without the column {name!r}, which it says it reads"
        assert name in refusal, f"{_name(strategy)} does not name the column {name!r} that is missing"


def check_bind_is_pure(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """Two bound alike give equal keys, twice each, and what was sent stays as it was."""
    sent = frame.copy(deep=True)
    one, other = bound(strategy), bound(strategy)
    first = keys_of(one, frame, params)
    assert keys_of(one, frame, params) == first, f"{_name(strategy)} gives other keys when it is asked again"
    assert keys_of(other, frame, params) == first, f"{_name(strategy)}: two that are bound alike give other keys"
    pd.testing.assert_frame_equal(frame, sent, obj=f"{_name(strategy)} changed the rows, which")


def check_threads(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> None:
    """Four threads that share one get the keys that one thread gets."""
    live = bound(strategy)
    pieces = [frame.iloc[number::4] for number in range(4)] * 4
    alone = [keys_of(live, piece, params) for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda piece: keys_of(live, piece, params), pieces))
    assert together == alone, f"{_name(strategy)} gives other keys when several threads ask at once"


CHECKS = (
    check_row_wise,
    check_one_key_per_row,
    check_no_rows,
    check_keys_are_listed,
    check_missing_columns_refused,
    check_bind_is_pure,
    check_threads,
)


def _name(strategy: Strategy) -> str:
    return type(strategy).__name__
