"""How the rows of each sub-model are brought together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.runtime.scoring import gathered


def grouped(owner: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The order that brings each owner's rows together, and (owner, start, end) of each."""
    order = np.argsort(owner, kind="stable")
    numbers, counts = np.unique(owner, return_counts=True)
    ends = np.cumsum(counts).tolist()
    return order, list(zip(numbers.tolist(), [0, *ends], ends, strict=False))


@pytest.mark.parametrize("layout", ["C", "F"])
@settings(max_examples=60, deadline=None)
@given(n_owners=st.integers(1, 60), n_rows=st.integers(1, 300), piece=st.integers(1, 400), left_out=st.booleans())
def test_every_group_gets_its_own_rows(layout, n_owners, n_rows, piece, left_out):
    """However many groups there are, whatever fits into a piece, and also where the first rows are nobody's."""
    owner = np.random.default_rng(n_rows).integers(0, n_owners, n_rows)
    matrix = np.asarray(np.arange(n_rows * 3.0).reshape(n_rows, 3), order=layout)
    order, groups = grouped(owner)
    groups = groups[1:] if left_out else groups

    rows_of = gathered(matrix, order, groups, piece)

    for number, start, end in groups:
        np.testing.assert_array_equal(rows_of(start, end), matrix[owner == number])


@pytest.mark.parametrize("n_owners", [2, 50])
def test_rows_of_one_group_are_not_written_over(n_owners):
    """A sub-model may keep what it was given, or answer with a part of it."""
    owner = np.arange(500) % n_owners
    matrix = np.arange(1000.0).reshape(500, 2)
    order, groups = grouped(owner)

    rows_of = gathered(matrix, order, groups, 20)
    kept = [rows_of(start, end) for _, start, end in groups]

    for (number, _, _), rows in zip(groups, kept, strict=True):
        np.testing.assert_array_equal(rows, matrix[owner == number])
