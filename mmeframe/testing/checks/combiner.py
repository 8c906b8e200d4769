"""What every combiner promises."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mmeframe.errors import ConfigError
from mmeframe.fleet.examples import same
from mmeframe.fleet.signature import type_of
from mmeframe.rows.types import TYPES
from mmeframe.testing.cases import CombinerCase
from mmeframe.testing.check import BrokenError, Check, expect
from mmeframe.testing.checks.common import COMMON_CHECKS, check_prepare
from mmeframe.testing.threads_and_files import THREADS, in_threads

__all__ = [
    "COMBINER_CHECKS",
    "check_answer_type",
    "check_answers_are_kept",
    "check_missing_answers",
    "check_no_rows",
    "check_other_types_refused",
    "check_row_wise",
    "check_shape",
    "check_threads",
]

Array = np.ndarray[Any, Any]
# MLflow's names of the types that answers have.
_KINDS = tuple(TYPES)


@Check
def check_shape(case: CombinerCase) -> None:
    """The combined answers are an array of the shape that each sub-model's answers have."""
    found = case.bound().combine(case.arrays)
    expect(isinstance(found, np.ndarray), f"combine() gives a {type(found).__name__}, not an array")
    shape = case.arrays[0].shape
    expect(found.shape == shape, f"combine() gives shape {found.shape} for answers of shape {shape}")


@Check
def check_no_rows(case: CombinerCase) -> None:
    """No rows have no answers."""
    found = case.bound().combine([array[:0] for array in case.arrays])
    expect(len(found) == 0, f"it gives {len(found)} answers for no rows")


@Check
def check_row_wise(case: CombinerCase) -> None:
    """A row's answer depends on nothing but that row's answers: batches may be cut and permuted."""
    combiner, rows = case.bound(), len(case.arrays[0])
    whole = combiner.combine(case.arrays)
    order = np.random.default_rng(0).permutation(rows)
    alone = [order[number : number + 1] for number in range(min(rows, 20))]
    for some in [order, order[::-1], *np.array_split(order, 3), *alone]:
        found = combiner.combine([array[some] for array in case.arrays])
        expect(same(found, whole[some]), f"in a batch of {len(some)}, rows have other answers than among all rows")


@Check
def check_missing_answers(case: CombinerCase) -> None:
    """A missing answer (NaN or None) is no error and no warning, and changes no other row's answer."""
    combiner, rows = case.bound(), len(case.arrays[0])
    whole = combiner.combine(case.arrays)
    for number in range(len(case.arrays) + 1):
        # One sub-model after the other lacks every second row; at last all of them do.
        lacking = [number] if number < len(case.arrays) else range(number)
        gone = np.arange(rows) % 2 == 0
        holed = [_without(array, gone) if at in lacking else array for at, array in enumerate(case.arrays)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = combiner.combine(holed)
            except Warning as warning:
                raise BrokenError(f"with missing answers it warns: {warning}") from None
        expect(found.shape == whole.shape, f"with missing answers it gives shape {found.shape}, not {whole.shape}")
        expect(same(found[~gone], whole[~gone]), "with missing answers, rows that have all get another answer")


@Check
def check_answer_type(case: CombinerCase) -> None:
    """``answer_type``, which is asked before ``bind``, names the type that the combined answers have."""
    kind, width = type_of(case.arrays[0].dtype), 1 if case.arrays[0].ndim == 1 else case.arrays[0].shape[1]
    told = case.make().answer_type(kind, width)
    found = type_of(case.bound().combine(case.arrays).dtype)
    expect(told == found, f"answer_type({kind!r}, {width}) is {told!r}, and combine() gives {found!r}")


@Check
def check_other_types_refused(case: CombinerCase) -> None:
    """Of any other type ``answer_type`` names a type, or raises ConfigError."""
    combiner = case.make()
    for kind in _KINDS:
        for width in (1, 3):
            try:
                told = combiner.answer_type(kind, width)
            except ConfigError:
                continue
            expect(told in _KINDS, f"answer_type({kind!r}, {width}) is {told!r}, which MLflow has no type for")


@Check
def check_answers_are_kept(case: CombinerCase) -> None:
    """The sub-models' answers stay as they were, and combined again they give the same."""
    combiner = case.bound()
    sent = [np.array(array) for array in case.arrays]
    first = combiner.combine(sent)
    for number, (array, kept) in enumerate(zip(sent, case.arrays, strict=True)):
        expect(same(array, kept), f"combine() changed the answers of sub-model {number}")
    expect(same(combiner.combine(sent), first), "it gives other answers when it is asked again")
    expect(same(case.bound().combine(sent), first), "two that are made alike give different answers")


@Check
def check_threads(case: CombinerCase) -> None:
    """One combiner is shared by threads, which get the answers that one thread gets."""
    combiner = case.bound()
    pieces = [[array[number % 3 :] for array in case.arrays] for number in range(THREADS)]
    alone = [combiner.combine(piece) for piece in pieces]
    for found in in_threads(lambda number: combiner.combine(pieces[number])):
        wrong = [number for number, answers in enumerate(found) if not same(answers, alone[number])]
        expect(not wrong, f"it gives other answers when {THREADS} threads ask at once")


COMBINER_CHECKS = (
    *COMMON_CHECKS,
    check_prepare,
    check_shape,
    check_no_rows,
    check_row_wise,
    check_missing_answers,
    check_answer_type,
    check_other_types_refused,
    check_answers_are_kept,
    check_threads,
)


def _without(array: Array, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> Array:
    """Answers without those of some rows, as a sub-model that skipped them leaves them."""
    if array.dtype.kind in "iuf":
        found = array.astype(np.float64 if array.dtype.kind != "f" else array.dtype)
        found[gone] = np.nan
    elif array.dtype.kind == "M":
        found = array.copy()
        found[gone] = np.datetime64("NaT")
    else:
        found = array.astype(object)
        found[gone] = None
    return found
