"""Rows are brought together however a frame holds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe.runtime.scoring import gathered


@pytest.mark.parametrize("n_groups", [2, 1000])
@pytest.mark.parametrize("layout", ["rows together", "columns together", "a part of a larger one"])
@settings(max_examples=60, deadline=None)
@given(order=st.integers(1, 300).flatmap(lambda n_rows: st.permutations(range(n_rows))), n_columns=st.integers(0, 4))
def test_rows_come_in_the_order_asked_for(layout, n_groups, order, n_columns):
    rows = np.array(order)
    whole = np.arange(len(rows) * (n_columns + 2.0)).reshape(len(rows), n_columns + 2)
    matrix = whole[:, 1:-1] if layout.startswith("a part") else np.ascontiguousarray(whole[:, 1:-1])
    matrix = np.asfortranarray(matrix) if layout.startswith("columns") else matrix

    found = gathered(matrix, rows, n_groups)

    assert found.shape == matrix.shape
    np.testing.assert_array_equal(found, matrix[rows])
    assert not np.shares_memory(found, whole)
