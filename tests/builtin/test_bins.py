"""Keys from intervals of a number."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import errors
from mmeframe.builtin.bins import BinsConf, BinsStrategy
from mmeframe.errors import BadInputError
from mmeframe.testing import bound, keys_of
from tests.builtin.options import made, problems

OPEN = {"short": [None, 500.0], "middle": [500.0, 1000.0], "long": [1000.0, None]}
GAPS = {"a": [0.0, 1.0], "b": [2.0, 3.0]}
INF = math.inf


def keys(bins: dict[str, Any], values: Any, closed: str = "left") -> list[str | None]:
    """Keys of a column ``x``."""
    return keys_of(bound(BinsStrategy(BinsConf("x", bins, closed))), pd.DataFrame({"x": values}))


@pytest.mark.parametrize(
    ("bins", "closed", "value", "key"),
    [
        (OPEN, "left", 499.9, "short"),
        (OPEN, "left", 500, "middle"),
        (OPEN, "left", 1000, "long"),
        (OPEN, "right", 500, "short"),
        (OPEN, "right", 500.1, "middle"),
        (OPEN, "right", 1000, "middle"),
        (OPEN, "left", INF, "long"),
        (OPEN, "left", -INF, "short"),
        (OPEN, "right", INF, "long"),
        (OPEN, "right", -INF, "short"),
        (GAPS, "left", 0, "a"),
        (GAPS, "left", 1, None),
        (GAPS, "left", 1.5, None),
        (GAPS, "left", 2, "b"),
        (GAPS, "left", 3, None),
        (GAPS, "right", 0, None),
        (GAPS, "right", 1, "a"),
        (GAPS, "right", 2, None),
        (GAPS, "right", 3, "b"),
        (GAPS, "left", -1, None),
        (GAPS, "right", 4, None),
        (GAPS, "left", INF, None),
        (GAPS, "right", -INF, None),
        (GAPS, "left", -0.0, "a"),
        (GAPS, "right", -0.0, None),
        ({"all": [None, None]}, "left", INF, "all"),
        ({"all": [None, None]}, "right", -INF, "all"),
        ({"all": [None, None]}, "left", 0, "all"),
        ({"cold": [None, -0.0], "warm": [0.0, None]}, "left", 0.0, "warm"),
        ({"cold": [None, 0.0], "warm": [-0.0, None]}, "left", -0.0, "warm"),
        ({"low": [None, 0.1 + 0.2]}, "left", 0.3, "low"),
    ],
)
def test_bins(bins, closed, value, key):
    """A number is in the bin whose closed end it may touch; infinities are in open ends only; a gap has no key."""
    assert keys(bins, [value, 0.25], closed)[0] == key


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("bins", [OPEN, GAPS, {"all": [None, None]}])
def test_nan_is_missing(bins, closed):
    """No bin takes a missing number, not even one without ends."""
    assert keys(bins, [np.nan, np.nan], closed) == [None, None]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.array([400, 600], "int64"), id="int64"),
        pytest.param(np.array([400, 600], "uint16"), id="uint16"),
        pytest.param(np.array([400, 600], "float32"), id="float32"),
        pytest.param(pd.array([400, 600], dtype="Int64"), id="Int64"),
        pytest.param(pd.array([400.0, 600.0], dtype="Float64"), id="Float64"),
        pytest.param(pd.array([400, 600], dtype="int64[pyarrow]"), id="arrow"),
        pytest.param(pd.Categorical([400, 600]), id="category"),
        pytest.param(np.array([400, 600.0], object), id="object"),
    ],
)
def test_forms_of_numbers(values):
    """Numbers count, in whatever type they come."""
    assert keys(OPEN, values) == ["short", "middle"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.array([400, None], dtype="Int64"), id="Int64"),
        pytest.param(pd.array([400, None], dtype="double[pyarrow]"), id="arrow"),
        pytest.param(pd.Categorical([400, None]), id="category"),
        pytest.param(np.array([400, None], object), id="object"),
    ],
)
def test_forms_of_missing_numbers(values):
    """A missing number changes no other row's key."""
    assert keys(OPEN, values) == ["short", None]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(["400", "600"], id="text"),
        pytest.param(np.array([400, "x"], object), id="mixed"),
        pytest.param([True, False], id="bools"),
        pytest.param(pd.to_datetime(["2013-01-01", None]), id="datetimes"),
        pytest.param(["s3cr3t"] * 2, id="other-text"),
    ],
)
def test_no_numbers(values):
    """What is no number is refused, without showing it."""
    with pytest.raises(BadInputError, match=r"^column 'x' must be double: it (is|holds) [\w\[\] ]+\.$"):
        keys(OPEN, values)


def test_keys():
    """All labels, in their order."""
    strategy = BinsStrategy(BinsConf("x", OPEN))

    assert ([*strategy.keys()], dict(strategy.inputs().columns)) == (["short", "middle", "long"], {"x": "double"})


AT = "at.bins"
QUOTE = f"input should be a valid string.\n  YAML read this as int 1; {errors.QUOTE}."


@pytest.mark.parametrize(
    ("bins", "found"),
    [
        pytest.param(
            {}, f"{AT}: there are no bins; write them as in {{short: [null, 500], long: [500, null]}}.", id="none"
        ),
        pytest.param(
            {"a": [5, 1]}, f"{AT}.a: it goes from 5 to 1; its end must be above its start.", id="end-below-start"
        ),
        pytest.param({"a": [5, 5]}, f"{AT}.a: it goes from 5 to 5; its end must be above its start.", id="empty"),
        pytest.param(
            {"high": [5, 9], "low": [1, 2]},
            f"{AT}: 'low' stands after 'high' and starts below it; write them in ascending order.",
            id="unordered",
        ),
        pytest.param(
            {"high": [5, 9], "low": [None, 2]},
            f"{AT}: 'low' stands after 'high' and starts below it; write them in ascending order.",
            id="unordered-open",
        ),
        pytest.param(
            {"a": [1, 3], "b": [2, 4]},
            f"{AT}: 'a' and 'b' overlap; a bin starts where the one before it ends, or above.",
            id="overlap",
        ),
        pytest.param(
            {"a": [1, None], "b": [2, 4]},
            f"{AT}: 'a' and 'b' overlap; a bin starts where the one before it ends, or above.",
            id="overlap-open",
        ),
        pytest.param(
            {"a": [1, 2], "b": [1, 2]},
            f"{AT}: 'a' and 'b' overlap; a bin starts where the one before it ends, or above.",
            id="twice",
        ),
        pytest.param(
            {"a": [1, 2, 3]},
            f"{AT}.a: an interval is [from, to], and this has 3 values; write null for an open end.",
            id="three",
        ),
        pytest.param(
            {"a": [1]},
            f"{AT}.a: an interval is [from, to], and this has 1 values; write null for an open end.",
            id="one",
        ),
        pytest.param({"a": [1, INF]}, f"{AT}.a: an end is a number; write null for an open one.", id="inf"),
        pytest.param({"a": [math.nan, 1]}, f"{AT}.a: an end is a number; write null for an open one.", id="nan"),
        pytest.param({"": [1, 2]}, f"{AT}: a label is empty.", id="label"),
        pytest.param({1: [1, 2]}, f"{AT}.1: {QUOTE}", id="label-of-yaml"),
        pytest.param({"a": ["1", 2]}, f"{AT}.a[0]: input should be a valid number.", id="text"),
        pytest.param({"a": [True, 2]}, f"{AT}.a[0]: input should be a valid number.", id="bool"),
        pytest.param({"a": 5}, f"{AT}.a: input should be a list.\n  Write [value, value].", id="no-interval"),
        pytest.param([1, 2], f"{AT}: input should be a map.\n  Write {{name: value}}.", id="edges-only"),
        pytest.param([["a", [0, 1]], ["a", [1, 2]]], f"{AT}: duplicate label.", id="label-twice"),
    ],
)
def test_wrong_bins(bins, found):
    """Each mistake is told with the label that has it."""
    assert problems("routing strategy", kind="bins", column="x", bins=bins) == [found]


def test_wrong_ends_are_one_report():
    """All intervals that are wrong are told at once."""
    told = problems("routing strategy", kind="bins", bins={"a": [2, 1], "b": [4, 3]}, column="x", closed="both")

    assert [line.split(":")[0] for line in sorted(told)] == ["at.bins.a", "at.bins.b", "at.closed"]


def test_made_from_a_bundle():
    """A bundle sorts the names of maps; the order of the bins, which is checked again, survives that."""
    strategy = made("routing strategy", kind="bins", column="x", bins={"z": [None, 0], "m": [0, 1.5], "a": [2, None]})

    assert list(strategy.conf.bins) == ["z", "m", "a"]
    assert keys_of(bound(strategy), pd.DataFrame({"x": [-1, 1, 1.7, 2]})) == ["z", "m", None, "a"]


def _expected(bins: dict[str, Any], closed: str, number: float) -> str | None:
    for label, (low, high) in bins.items():
        above = low is None or number > low or (closed == "left" and number == low)
        below = high is None or number < high or (closed == "right" and number == high)
        if above and below and not math.isnan(number):
            return label
    return None


NUMBERS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0, 1e308, INF, -INF, math.nan]), st.floats())


@settings(max_examples=200, deadline=None)
@given(
    ends=st.lists(
        st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8, unique_by=lambda it: it + 0.0
    ),
    skipped=st.sets(st.integers(0, 6)),
    open_ends=st.tuples(st.booleans(), st.booleans()),
    closed=st.sampled_from(["left", "right"]),
    numbers=st.lists(NUMBERS, max_size=12),
)
def test_like_a_loop(ends, skipped, open_ends, closed, numbers):
    """Any bins, with gaps and open ends, take of any numbers, the ends too, what comparisons say."""
    edges: list[float | None] = [*sorted(ends)]
    edges[0] = None if open_ends[0] else edges[0]
    edges[-1] = None if open_ends[1] else edges[-1]
    pairs = [list(pair) for at, pair in enumerate(pairwise(edges)) if at not in skipped]
    bins = {f"bin {at}": pair for at, pair in enumerate(pairs or [[None, None]])}
    numbers = numbers + ends

    assert keys(bins, numbers, closed) == [_expected(bins, closed, number) for number in numbers]
