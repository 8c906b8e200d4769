"""Answers of sub-models, back in the order of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmeframe.errors import ModelError
from mmeframe.rows.answers import as_prediction, gather

F = pd.DataFrame


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.intp)


# -- one sub-model's answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "dtype", "values"),
    [
        pytest.param(np.array([1.5, 2.5]), "float64", [1.5, 2.5], id="array"),
        pytest.param(np.array([[1, 2], [3, 4]]), "int64", [[1, 2], [3, 4]], id="2d-array"),
        pytest.param([1, 2], "int64", [1, 2], id="list"),
        pytest.param([[1.0], [2.0]], "float64", [[1.0], [2.0]], id="list-of-lists"),
        pytest.param(pd.Series([1, 2], index=[9, 9]), "int64", [1, 2], id="series"),
        pytest.param(pd.Series(["a", "b"]), "object", ["a", "b"], id="text-series"),
        pytest.param(pd.Series(["a", "b"], dtype="category"), "object", ["a", "b"], id="category"),
        pytest.param(pd.Series([True, False], dtype="boolean"), "bool", [True, False], id="nullable"),
        pytest.param(pd.Series([True, None], dtype="boolean"), "object", [True, None], id="nullable-with-a-null"),
        pytest.param(pd.Series([1, 2], dtype="Int64"), "int64", [1, 2], id="nullable-integers"),
    ],
)
def test_as_prediction(raw, dtype, values):
    """Arrays, lists and series become plain arrays with one answer per row."""
    found = as_prediction(raw, 2, "m")

    assert (type(found), str(found.dtype), found.tolist()) == (np.ndarray, dtype, values)


def test_a_frame_stays_a_frame():
    """Named columns keep their names."""
    frame = F({"low": [1.0], "high": [2.0]})

    assert as_prediction(frame, 1, "m") is frame


def test_no_rows_no_answers():
    """An empty answer to no rows is right."""
    assert as_prediction([], 0, "m").shape == (0,)


@pytest.mark.parametrize(
    ("raw", "length"),
    [
        pytest.param([1.0], 1, id="too-few"),
        pytest.param(np.arange(3), 3, id="too-many"),
        pytest.param(F({"a": [1]}), 1, id="frame"),
        pytest.param(pd.Series([1, 2, 3]), 3, id="series"),
        pytest.param([], 0, id="none"),
        pytest.param({"a": [1]}, 1, id="map"),
    ],
)
def test_another_length(raw, length):
    """An answer that is not one per row is refused, with both counts and the sub-model's name."""
    with pytest.raises(ModelError) as caught:
        as_prediction(raw, 2, "berlin")

    answers = {0: "0 answers", 1: "1 answer", 3: "3 answers"}[length]
    assert str(caught.value) == f"berlin: it gave {answers} for 2 rows."


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param(5.0, "float", id="scalar"),
        pytest.param(None, "NoneType", id="nothing"),
        pytest.param("ab", "str", id="text"),
        pytest.param(iter([1, 2]), "list_iterator", id="iterator"),
        pytest.param({1, 2}, "set", id="set"),
    ],
)
def test_what_is_no_answer_per_row(raw, kind):
    """It is named."""
    with pytest.raises(
        ModelError, match=f"^berlin: it answered with a {kind}, not with one answer per row.\n  Answer with"
    ):
        as_prediction(raw, 2, "berlin")


def test_two_columns_of_one_name():
    """Which of them is meant, nobody knows: also where one is named by a number."""
    with pytest.raises(ModelError, match="its answers have two columns named '1'"):
        as_prediction(pd.DataFrame([[1, 2]], columns=[1, "1"]), 1, "m")


@pytest.mark.parametrize(
    "raw",
    [pytest.param(np.zeros((2, 2, 2)), id="3d"), pytest.param([[1], [1, 2]], id="ragged")],
)
def test_another_form(raw):
    """Answers that are no table are refused as the sub-model's fault."""
    with pytest.raises(ModelError) as caught:
        as_prediction(raw, 2, "berlin")

    assert caught.value.where == "berlin"


# -- the answers of several ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "dtype", "values"),
    [
        pytest.param([1.5, 2.5], [3.5], "float64", [2.5, 3.5, 1.5], id="floats"),
        pytest.param([1, 2], [3], "int64", [2, 3, 1], id="ints"),
        pytest.param([1, 2], [3.5], "float64", [2.0, 3.5, 1.0], id="ints-and-floats"),
        pytest.param(np.array([1, 2], "int32"), np.array([3], "int64"), "int64", [2, 3, 1], id="int-widths"),
        pytest.param(np.array([1, 2], "float32"), np.array([3], "float32"), "float32", [2, 3, 1], id="float32"),
        pytest.param([True, False], [True], "bool", [False, True, True], id="bools"),
        pytest.param(["a", "b"], ["long"], "<U4", ["b", "long", "a"], id="text-of-any-length"),
        pytest.param(np.array(["a", None], object), ["c"], "object", [None, "c", "a"], id="objects-and-text"),
        pytest.param([True, False], [7], "object", [False, 7, True], id="bools-and-ints"),
        pytest.param(["a", "b"], [7], "object", ["b", 7, "a"], id="text-and-ints"),
        pytest.param([[1, 2], [3, 4]], [[5, 6]], "int64", [[3, 4], [5, 6], [1, 2]], id="2d"),
    ],
)
def test_gather(one, two, dtype, values):
    """Answers land on their rows, in the narrowest type that holds them all."""
    out = gather([(rows(2, 0), np.asarray(one)), (rows(1), np.asarray(two))], 3)

    assert (str(out.dtype), out.tolist()) == (dtype, values)


@pytest.mark.parametrize(
    ("piece", "dtype", "values"),
    [
        pytest.param([1.5, 2.5], "float64", [2.5, None, 1.5], id="floats"),
        pytest.param(np.array([1.5, 2.5], "float32"), "float32", [2.5, None, 1.5], id="float32"),
        pytest.param([1, 2], "object", [2, None, 1], id="ints"),
        pytest.param([True, False], "object", [False, None, True], id="bools"),
        pytest.param(["a", "b"], "object", ["b", None, "a"], id="text"),
        pytest.param([[1.0, 2.0], [3.0, 4.0]], "float64", [[3.0, 4.0], [None, None], [1.0, 2.0]], id="2d"),
    ],
)
def test_rows_without_an_answer(piece, dtype, values):
    """Rows that no sub-model took are NaN among doubles, None among whole numbers, text and booleans, which stay."""
    out = gather([(rows(2, 0), np.asarray(piece))], 3)

    nulls = np.where(pd.isna(out), None, out.astype(object)).tolist()
    assert (str(out.dtype), nulls) == (dtype, values)


@pytest.mark.parametrize("piece", [["a", "b"], [True, False]], ids=["text", "bools"])
def test_null_is_none_where_there_is_no_nan(piece):
    """None, not NaN: a NaN among text would be a number."""
    assert gather([(rows(2, 0), np.asarray(piece))], 3)[1] is None


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_times_with_a_row_without_an_answer(unit):
    """Timestamps stay timestamps, in whatever unit, when some row has none."""
    times = np.array(["2020-01-02", "2020-01-03"], f"M8[{unit}]")

    out = gather([(rows(2, 0), times)], 3)

    assert not any(isinstance(value, int) for value in out)
    assert [pd.Timestamp(out[row]) for row in (0, 2)] == [pd.Timestamp("2020-01-03"), pd.Timestamp("2020-01-02")]
    assert pd.isna(out[1])


def test_times_of_different_units():
    """Two sub-models that keep time in different units still answer with times."""
    one, two = np.array(["2020-01-02"], "M8[ns]"), np.array(["2020-01-03"], "M8[s]")

    out = gather([(rows(0), one), (rows(1), two)], 2)

    assert not any(isinstance(value, int) for value in out)


def test_frames():
    """Frames are put together by row and by name, whatever index the sub-models gave them."""
    one = F({"low": [1, 2], "high": [3, 4]}, index=[7, 7])
    two = F({"low": [5], "high": [6]}, index=[7])

    out = gather([(rows(2, 0), one), (rows(1), two)], 3)

    pd.testing.assert_frame_equal(out, F({"low": [2, 5, 1], "high": [4, 6, 3]}))


def test_frames_with_a_row_without_an_answer():
    """A row that no sub-model took is missing in every column."""
    out = gather([(rows(2, 0), F({"a": [1, 2], "t": ["x", "y"], "f": [True, False]}))], 3)

    assert out.isna().to_numpy().tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert (out["a"][0], out["t"][0], out["f"][0]) == (2, "y", False)


@settings(max_examples=100, deadline=None)
@given(owners=st.lists(st.integers(-1, 3), min_size=1, max_size=30), width=st.integers(0, 2))
def test_every_answer_on_its_row(owners, width):
    """Any split of a batch among sub-models comes back in order; rows of none are null."""
    owner = np.array(owners)
    answers = np.arange(len(owner), dtype=float)
    shaped = answers if width == 0 else np.repeat(answers[:, None], width, axis=1)
    split = [np.flatnonzero(owner == number)[::-1] for number in set(owners) - {-1}]
    assume(split)

    out = gather([(part, shaped[part]) for part in split], len(owner))

    expected = shaped.copy()
    expected[owner == -1] = np.nan
    np.testing.assert_array_equal(out, expected)
