"""The hash of rows: a contract that other languages can follow, stable for ever."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.rows.key_columns import normalised
from mmeframe.rows.shares import fraction, fractions

GOLDEN = [
    ("", (), 0.8931675160897388),
    ("", ("",), 0.250697583157381),
    ("", (None,), 0.5873473330685304),
    ("salt", ("7", "02108"), 0.3961636706479109),
    ("canary", ("N14228", None), 0.09775832456794709),
    ("é", ("straße😀",), 0.920468665894029),
    ("", ("a", "b"), 0.2612057167012616),
    ("", ("ab",), 0.0005286280735188331),
]


@pytest.mark.parametrize(("salt", "values", "number"), GOLDEN)
def test_golden_numbers(salt, values, number):
    """These numbers decide which customer is in which arm: they never change."""
    assert fraction(salt, values) == number


def by_contract(salt: str, values: Sequence[str | None]) -> float:
    """The number as the module's docstring says it, from the standard library alone."""
    text = salt.encode("utf-8")
    for value in values:
        text += b"-" if value is None else str(len(value.encode("utf-8"))).encode() + b":" + value.encode("utf-8")
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    upper_bits = int(digest, 16) // 2 ** (64 - 53)
    return upper_bits / 2**53


TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))


@settings(max_examples=200, deadline=None)
@given(salt=st.text(st.characters(exclude_categories=["Cs"]), max_size=4), values=st.lists(TEXT, max_size=4))
def test_the_contract(salt, values):
    """Any row has the number of the documented contract, which is at least 0 and below 1."""
    number = fraction(salt, values)

    assert number == by_contract(salt, values)
    assert 0 <= number < 1


def test_half_a_character():
    """Text that has no UTF-8, which a frame can hold, has a number too."""
    assert 0 <= fraction("", ["\ud800"]) < 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(["a", "b"], ["ab"], id="joined"),
        pytest.param(["a", "b"], ["b", "a"], id="order"),
        pytest.param([""], [None], id="empty-and-missing"),
        pytest.param(["-"], [None], id="a-dash-and-missing"),
        pytest.param(["1:a"], ["a"], id="a-length-in-the-text"),
        pytest.param([None, None], [None], id="two-missing"),
        pytest.param(["a", ""], ["", "a"], id="empty-first"),
    ],
)
def test_rows_that_differ(one, other):
    """Values are told apart from their neighbours and from missing ones."""
    assert fraction("", one) != fraction("", other)


def test_another_salt():
    """Every salt shuffles anew: whether a row is in one half says nothing about the other salt's half."""
    names = [str(number) for number in range(10_000)]
    one, other = (np.array([fraction(salt, [name]) for name in names]) < 0.5 for salt in ("a", "b"))

    both = int((one & other).sum())
    assert abs(both - 2500) < 5 * np.sqrt(10_000 * 0.25 * 0.75)


@pytest.mark.process
@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_other_processes(seed):
    """Python's own hashes change from process to process; these numbers do not."""
    program = "from mmeframe.rows.shares import fraction; print([fraction(s, v) for s, v, _ in %r])" % (GOLDEN,)  # noqa: UP031
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == str([number for _, _, number in GOLDEN])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.array([7, 8, 7]), id="int64"),
        pytest.param(np.array([7, 8, 7], "uint8"), id="uint8"),
        pytest.param(np.array([7.0, 8.0, 7.0]), id="float64"),
        pytest.param(np.array([7.0, 8.0, 7.0], "float32"), id="float32"),
        pytest.param(np.array(["7", "8", "7"], object), id="text"),
        pytest.param(np.array([7, "8", 7.0], object), id="mixed"),
        pytest.param(pd.array(["7", "8", "7"], dtype="string"), id="string"),
        pytest.param(pd.array([7, 8, 7], dtype="Int64"), id="Int64"),
        pytest.param(pd.array([7, 8, 7], dtype="int64[pyarrow]"), id="arrow"),
        pytest.param(pd.Categorical([7, 8, 7]), id="category"),
        pytest.param(pd.Categorical(["7", "8", "7"], ["8", "x", "7"]), id="category-with-more"),
    ],
)
def test_forms_of_one_value(values):
    """A number hashes alike in every type, and as its text."""
    found = fractions("s", [normalised(values, 3)])

    assert found.tolist() == [by_contract("s", [text]) for text in "787"]


def test_no_rows():
    """No rows have no numbers."""
    none = normalised(np.empty(0, object), 0)

    assert fractions("", [none, none]).shape == (0,)


def test_missing_values():
    """A missing value is a value like others to the hash, beside any."""
    columns = [normalised(np.array(values, object), 3) for values in (["a", None, None], [None, "a", None])]

    assert fractions("", columns).tolist() == [by_contract("", row) for row in (["a", None], [None, "a"], [None, None])]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), width=st.integers(1, 4), n_rows=st.integers(0, 8))
def test_rows_are_hashed_as_each_alone(data, width, n_rows):
    """Any columns give each row the number of its own values, however often they repeat."""
    value = st.one_of(st.sampled_from(["a", "b", None]), TEXT)
    rows = data.draw(st.lists(st.tuples(*[value] * width), min_size=n_rows, max_size=n_rows))
    columns = [normalised(pd.Series([row[at] for row in rows], dtype=object).array, n_rows) for at in range(width)]

    assert fractions("s", columns).tolist() == [by_contract("s", row) for row in rows]


def test_many_columns_of_many_values():
    """The product of the columns' sizes is beyond any integer, and rows still stay apart."""
    n_rows = 2000
    columns = [normalised(np.random.default_rng(seed).permutation(n_rows), n_rows) for seed in range(8)]

    assert len(set(fractions("", columns).tolist())) == n_rows


def test_evenly_spread():
    """Of 100,000 ids every tenth of the range has its tenth, within five standard deviations."""
    found = fractions("", [normalised(np.arange(100_000), 100_000)])
    counts, _ = np.histogram(found, bins=10, range=(0, 1))

    assert np.abs(counts - 10_000).max() < 5 * np.sqrt(100_000 * 0.1 * 0.9)
