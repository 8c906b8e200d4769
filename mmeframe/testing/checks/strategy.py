"""What every routing strategy promises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mmeframe.plugin import BadInputError, ComponentContext, RoutingStrategy, canonical, normalised
from mmeframe.route.routing import as_given
from mmeframe.rows.batch import FrameBatch, as_batch
from mmeframe.rows.key_columns import one_per_row
from mmeframe.testing.cases import StrategyCase
from mmeframe.testing.check import BrokenError, Check, expect
from mmeframe.testing.checks.common import COMMON_CHECKS, check_prepare
from mmeframe.testing.threads_and_files import THREADS, in_threads, opened

__all__ = [
    "STRATEGY_CHECKS",
    "batch_of",
    "bound",
    "check_bind_is_pure",
    "check_dtypes",
    "check_keys_are_listed",
    "check_missing_columns_refused",
    "check_missing_values",
    "check_no_paths_after_build",
    "check_no_rows",
    "check_one_key_per_row",
    "check_params",
    "check_row_wise",
    "check_threads",
    "keys_of",
]

Strategy = RoutingStrategy[Any]
Params = Mapping[str, Any] | None
# Whole numbers are exact as doubles, and as floats of single precision, below this.
_EXACT, _EXACT_SINGLE = 2**53, 2**24


def batch_of(strategy: Strategy, frame: pd.DataFrame) -> FrameBatch:
    """The frame as the host hands it over, with the key parts that the strategy builds on."""
    batch = as_batch(frame)
    for part in strategy.inputs().parts:
        batch.raw_parts[part] = frame[part].array
    return batch


def bound(strategy: Strategy) -> Strategy:
    """A fresh one with the same options, bound to what it prepares, as a served router has it."""
    fresh = type(strategy)(strategy.conf)
    files = type(strategy)(strategy.conf).prepare()
    fresh.bind(ComponentContext({name: memoryview(data) for name, data in files.items()}))
    return fresh


def keys_of(strategy: Strategy, frame: pd.DataFrame, params: Params = None) -> list[str | None]:
    """The canonical key of each row by a bound strategy, None where it is missing.

    As the router gets them: parameters are texts, or None, and no index is looked at. Raises AssertionError for what
    is neither one key nor one for each row.
    """
    raw = strategy.route_keys(batch_of(strategy, frame), as_given(strategy.inputs().params, params or {}))
    try:
        keys = normalised(one_per_row(raw, len(frame)), len(frame))
    except (TypeError, ValueError) as error:
        raise BrokenError(f"it gives {error}") from None
    texts = [*map(str, keys.categories), None]
    return [texts[code] for code in keys.codes]


@Check
def check_row_wise(case: StrategyCase) -> None:
    """With ``row_wise`` a row's key depends on nothing but that row: batches may be cut and permuted."""
    live = case.bound()
    if not live.row_wise:
        return
    frame = case.frame
    whole = np.array(keys_of(live, frame, case.params), object)
    order = np.random.default_rng(0).permutation(len(frame))
    cuts = np.array_split(order, 7)
    alone = [order[number : number + 1] for number in range(min(len(order), 20))]
    for rows in [order, order[::-1], *cuts, *alone]:
        found = keys_of(live, frame.iloc[rows], case.params)
        wrong = [int(row) for row, key in zip(rows, found, strict=True) if key != whole[row]]
        expect(not wrong, f"in a batch of {len(rows)}, row {wrong[:1]} has another key than among all rows")


@Check
def check_one_key_per_row(case: StrategyCase) -> None:
    """``route_keys`` gives one scalar for all rows, or an array or list with one for each."""
    live, frame = case.bound(), case.frame
    try:
        keys_of(live, frame, case.params)
    except BadInputError as error:
        raise BrokenError(f"it gives what is no key: {error}") from None


@Check
def check_params(case: StrategyCase) -> None:
    """Every parameter arrives as text, None if it is left out: then there are keys, or a BadInputError names it."""
    live = case.bound()
    for name in live.inputs().params:
        rest = {given: value for given, value in case.params.items() if given != name}
        refusal = _refusal(live, case.frame, rest)
        expect(
            refusal is None or name in refusal, f"it does not name the parameter {name!r} that is missing: {refusal}"
        )


@Check
def check_no_rows(case: StrategyCase) -> None:
    """A batch without rows has no keys, whether its columns have types or not."""
    for empty in (case.frame.iloc[:0], case.frame.iloc[:0].astype(object)):
        live = case.bound()
        keys_of(live, empty, case.params)


@Check
def check_keys_are_listed(case: StrategyCase) -> None:
    """Where ``keys`` lists all keys, no row has another."""
    live = case.bound()
    listed = live.keys()
    if listed is not None:
        alien = set(keys_of(live, case.frame, case.params)) - {canonical(key) for key in listed} - {None}
        expect(not alien, f"it gives {sorted(map(str, alien))[:3]}, which keys() does not list")


@Check
def check_missing_columns_refused(case: StrategyCase) -> None:
    """A column that was not sent is a BadInputError that names it, whichever others were sent."""
    live = case.bound()
    inputs = live.inputs()
    for name in [name for name in inputs.columns if name in case.frame.columns]:
        rows = case.frame.drop(columns=name)
        refusal = _refusal(live, rows, case.params)
        if refusal is None and inputs.params:
            # A parameter that carries the key in the column's place is left out as well.
            refusal = _refusal(live, rows, {})
        expect(refusal is not None, f"it gives keys without the column {name!r}, which inputs() says it reads")
        expect(name in str(refusal), f"it does not name the column {name!r} that is missing: {refusal}")


@Check
def check_bind_is_pure(case: StrategyCase) -> None:
    """Two that are bound alike give equal keys, as often as they are asked, and leave the rows as they were."""
    sent = case.frame.copy(deep=True)
    one, other = case.bound(), case.bound()
    first = keys_of(one, sent, case.params)
    expect(keys_of(one, sent, case.params) == first, "it gives other keys when it is asked again")
    expect(keys_of(other, sent, case.params) == first, "two that are bound alike give different keys")
    expect(sent.equals(case.frame), "it changed the rows that it was given")


@Check
def check_threads(case: StrategyCase) -> None:
    """After ``bind`` one strategy is shared by threads, which get the keys that one thread gets."""
    live = case.bound()
    pieces = [case.frame.iloc[number::THREADS] for number in range(THREADS)]
    alone = [keys_of(live, piece, case.params) for piece in pieces]
    for found in in_threads(lambda number: keys_of(live, pieces[number], case.params)):
        expect(found == alone, f"it gives other keys when {THREADS} threads ask at once")


@Check
def check_dtypes(case: StrategyCase) -> None:
    """Equal values have equal keys in whichever type they come: object, nullable, text, category, of any width."""
    live, frame = case.bound(), case.frame
    expected = keys_of(live, frame, case.params)
    for name in _read(live, frame):
        for form, column in _forms(frame[name]):
            found = keys_of(live, frame.assign(**{name: column}), case.params)
            wrong = [row for row, key in enumerate(found) if key != expected[row]]
            told = f"with the column {name!r} as {form} instead of {frame[name].dtype}"
            expect(not wrong, f"{told}, rows {wrong[:3]} have other keys")


@Check
def check_missing_values(case: StrategyCase) -> None:
    """A missing value (None, NaN, NaT, NA) is no error, and with ``row_wise`` it changes no other row's key."""
    live, frame = case.bound(), case.frame
    expected = keys_of(live, frame, case.params)
    some, every = np.arange(len(frame)) % 3 == 1, np.ones(len(frame), bool)
    for name in _read(live, frame):
        for gone in (some, every):
            for form, column in _without(frame[name], gone):
                told = f"with {int(gone.sum())} of {len(frame)} values of the column {name!r} missing ({form})"
                try:
                    found = keys_of(live, frame.assign(**{name: column}), case.params)
                except BadInputError as error:
                    raise BrokenError(f"{told} it says: {error}") from None
                wrong = [int(row) for row in np.flatnonzero(~gone) if found[row] != expected[row]]
                expect(not (wrong and live.row_wise), f"{told}, rows {wrong[:3]}, which have one, have other keys")


@Check
def check_no_paths_after_build(case: StrategyCase) -> None:
    """No path of the config is opened where the router is served: ``prepare`` reads it, ``bind`` gets it back."""
    files = case.prepared()
    named = {os.path.abspath(text) for text in _texts(case.component.options)}
    with opened() as found, contextlib.suppress(FileNotFoundError):
        live = case.bound(files)
        keys_of(live, case.frame, case.params)
    shown = ", ".join(sorted(map(os.path.basename, found & named)))
    expect(not shown, f"it opens {shown} after the build")


STRATEGY_CHECKS = (
    *COMMON_CHECKS,
    check_prepare,
    check_row_wise,
    check_one_key_per_row,
    check_params,
    check_no_rows,
    check_keys_are_listed,
    check_missing_columns_refused,
    check_bind_is_pure,
    check_threads,
    check_dtypes,
    check_missing_values,
    check_no_paths_after_build,
)


def _refusal(live: Strategy, frame: pd.DataFrame, params: Params) -> str | None:
    """Why rows have no keys, None if they have some."""
    try:
        keys_of(live, frame, params)
    except BadInputError as error:
        return str(error)
    return None


def _read(live: Strategy, frame: pd.DataFrame) -> list[str]:
    """The columns that the strategy reads, and those that stand for key parts it builds on."""
    inputs = live.inputs()
    return [name for name in (*inputs.columns, *inputs.parts) if name in frame.columns]


# What the values of a column are -> other types that hold them.
_TYPES = {
    "string": ("object", "string", "string[pyarrow]", "category"),
    "integer": ("object", "int32", "Int64", "float64", "category"),
    "floating": ("object", "float32", "Float64", "Int64", "category"),
    "boolean": ("object", "boolean", "category"),
    "datetime64": ("object", "datetime64[s]", "datetime64[us]"),
}


def _forms(column: pd.Series[Any]) -> Iterator[tuple[str, pd.Series[Any]]]:
    """The column in other types, those that hold its values exactly."""
    for form in _TYPES.get(pd.api.types.infer_dtype(column, skipna=True), ()):
        try:
            found = column.astype(form)  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError, ImportError):
            continue
        if _exact(column, found):
            yield form, found


def _exact(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether two columns hold equal values, which both types hold exactly."""
    numbers = pd.api.types.is_numeric_dtype(one.dtype) and pd.api.types.is_numeric_dtype(other.dtype)
    left, right = one[one.notna()].astype(object).tolist(), other[other.notna()].astype(object).tolist()
    bound = _EXACT_SINGLE if "float32" in f"{one.dtype} {other.dtype}".lower() else _EXACT
    return left == right and not (numbers and any(abs(value) >= bound for value in left))


def _without(column: pd.Series[Any], gone: np.ndarray[Any, Any]) -> Iterator[tuple[str, pd.Series[Any]]]:
    """The column without some values, as the sent types have it."""
    cells = column.astype(object).to_numpy(copy=True)
    cells[gone] = None
    yield "None", pd.Series(cells, column.index, dtype=object)
    # As pandas reads a number or a time beside a missing one.
    holed = column.mask(gone)
    if _exact(column[~gone], holed[~gone]):
        yield f"of type {holed.dtype}", holed


def _texts(value: Any) -> Iterator[str]:
    """Every text in the options, which may be a path."""
    if isinstance(value, str) and value:
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(item)
