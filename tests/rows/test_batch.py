"""A request's rows as a frame, whatever the caller sent."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from mmeframe.errors import BadInputError
from mmeframe.rows import batch
from mmeframe.rows.batch import as_batch


def content(data: object) -> dict[str, list]:
    """Columns and their values, missing ones as None."""
    frame = as_batch(data).frame
    return {name: [None if pd.isna(value) else value for value in frame[name].tolist()] for name in frame.columns}


def test_a_frame_is_not_copied():
    """A DataFrame with text names is taken as it is; its labels are kept beside it."""
    frame = pd.DataFrame({"x": [1, 2]})
    labelled = as_batch(frame.set_axis([5, 5]))

    assert as_batch(frame).frame is frame
    assert np.shares_memory(labelled.frame["x"].to_numpy(), frame["x"].to_numpy())
    assert (labelled.frame.index.tolist(), labelled.index.tolist()) == ([0, 1], [5, 5])


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        pytest.param({"x": [1, 2], "y": ["a", "b"]}, {"x": [1, 2], "y": ["a", "b"]}, id="lists"),
        pytest.param({"x": np.array([1.5, np.nan])}, {"x": [1.5, None]}, id="array"),
        pytest.param({"x": np.zeros((2, 1))}, {"x": [0.0, 0.0]}, id="array-of-one-column"),
        pytest.param({"x": [[1], [2]]}, {"x": [1, 2]}, id="lists-of-one"),
        pytest.param({"x": np.array(7), "y": np.array("a")}, {"x": [7], "y": ["a"]}, id="0d-arrays"),
        pytest.param({"x": np.array(None), "y": np.array("a")}, {"x": [None], "y": ["a"]}, id="0d-null"),
        pytest.param({"x": 7, "y": "a"}, {"x": [7], "y": ["a"]}, id="scalars"),
        pytest.param({"x": [np.array(1), np.array(2)]}, {"x": [1, 2]}, id="list-of-0d-arrays"),
        pytest.param({"x": [np.array("a"), None]}, {"x": ["a", None]}, id="0d-array-and-None"),
        pytest.param({"x": [1, None]}, {"x": [1, None]}, id="None-among-ints"),
        pytest.param({"x": [True, None]}, {"x": [True, None]}, id="None-among-bools"),
        pytest.param({"x": pd.Series(["a", None], dtype="category")}, {"x": ["a", None]}, id="category"),
        pytest.param({"x": pd.array([1, None], dtype="Int64")}, {"x": [1, None]}, id="nullable"),
        pytest.param({"x": [2**63]}, {"x": [2**63]}, id="beyond-int64"),
        pytest.param({"x": [dt.date(2020, 1, 2)]}, {"x": [dt.date(2020, 1, 2)]}, id="dates"),
        pytest.param({"x": []}, {"x": []}, id="no-rows"),
        pytest.param({}, {}, id="nothing"),
        pytest.param([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}], {"x": [1, 2], "y": ["a", "b"]}, id="rows"),
        pytest.param([{"x": 1}, {"y": "b"}], {"x": [1, None], "y": [None, "b"]}, id="rows-with-gaps"),
        pytest.param([{"x": np.array(1)}], {"x": [1]}, id="rows-of-0d-arrays"),
        pytest.param([], {}, id="no-rows-at-all"),
        pytest.param(pd.DataFrame([[1, 2]], columns=[5, 7]), {"5": [1], "7": [2]}, id="number-names"),
        pytest.param(pd.DataFrame({"0": [1], "x": [2]}), {"0": [1], "x": [2]}, id="a-digit-among-names"),
    ],
)
def test_accepted(data, columns):
    """What MLflow hands over becomes named columns with the values that were sent."""
    assert content(data) == columns


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.0, "a"], id="float-and-text"),
        pytest.param([1, "a"], id="int-and-text"),
        pytest.param([True, 2], id="bool-and-int"),
        pytest.param([True, "a"], id="bool-and-text"),
        pytest.param([-1, 2**63], id="ints-that-no-type-holds"),
    ],
)
def test_mixed_values_keep_their_types(values):
    """A list of several kinds is not made one kind: 1.0 and "1.0" are different keys, and text is no number."""
    found = as_batch({"x": values}).frame["x"].tolist()

    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_a_list_and_rows_say_the_same():
    """Columns and rows with the same values give the same table."""
    values = ["a", 1, None, 2.5, True]

    by_column, by_row = as_batch({"x": values}).frame, as_batch([{"x": value} for value in values]).frame

    assert by_column["x"].tolist() == by_row["x"].tolist()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(np.zeros((2, 2)), "ndarray", id="array"),
        pytest.param(pd.Series([1]), "Series", id="series"),
        pytest.param([[1, 2]], "list", id="list-of-lists"),
        pytest.param([{"x": 1}, 2], "list", id="list-with-something-else"),
        pytest.param("x", "str", id="text"),
        pytest.param(None, "NoneType", id="nothing"),
    ],
)
def test_without_names(data, kind):
    """Data without column names cannot be routed; the message says what to send."""
    with pytest.raises(BadInputError) as caught:
        as_batch(data)

    assert str(caught.value) == (
        f"rows need named columns, and {kind} has none.\n"
        "  Send a DataFrame: dataframe_split, dataframe_records, CSV or Parquet over HTTP."
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pd.DataFrame([[1, 2]], columns=["0", "1"]), id="text"),
        pytest.param(pd.DataFrame([[1, 2]]), id="numbers"),
        pytest.param(pd.DataFrame([[1]]), id="one-column"),
        pytest.param({"0": [1], "1": [2]}, id="map"),
    ],
)
def test_numbered_columns(data):
    """Columns 0, 1, 2 are what Spark's spark_udf sends without a struct; the hint says so."""
    with pytest.raises(BadInputError) as caught:
        as_batch(data)

    assert str(caught.value) == (
        "the columns have no names, only numbers.\n"
        "  In Spark write udf(F.struct(*columns)); elsewhere send a frame with column names."
    )


@pytest.mark.parametrize(
    ("names", "twice"),
    [
        pytest.param(["a", "b", "a"], "a", id="one"),
        pytest.param(["b", "a", "b", "a"], "a, b", id="two"),
        pytest.param([1, "1"], "1", id="number-and-text"),
    ],
)
def test_names_sent_twice(names, twice):
    """Two columns with one name are refused, named."""
    with pytest.raises(BadInputError) as caught:
        as_batch(pd.DataFrame([range(len(names))], columns=names))

    assert str(caught.value) == f"columns are sent twice: {twice}."


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(
            {"x": np.zeros((2, 3))}, "column 'x' has 2 dimensions.\n  Send one value per row.", id="several-per-row"
        ),
        pytest.param(
            {"x": [1, 2], "y": [1]},
            "the columns differ in length.\n  Send as many values in each as there are rows.",
            id="lengths",
        ),
    ],
)
def test_no_table(data, text):
    """Columns that do not make a table are refused."""
    with pytest.raises(BadInputError) as caught:
        as_batch(data)

    assert str(caught.value) == text


def test_a_ragged_column():
    """Lists of different lengths in one column are the caller's fault, not ours."""
    with pytest.raises(BadInputError):
        as_batch({"x": [[1], [2, 3]]})


def test_the_callers_frame_keeps_its_names():
    """Numbers are renamed in a copy."""
    frame = pd.DataFrame([[1, 2]], columns=[5, 7])

    as_batch(frame)

    assert frame.columns.tolist() == [5, 7]


def test_length_and_names():
    """A strategy sees how many rows there are and which columns."""
    batch = as_batch({"x": [1, 2, 3], "y": [4, 5, 6]})

    assert (len(batch), list(batch.columns)) == (3, ["x", "y"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param(pd.Series([1, 2]), np.ndarray, id="integers"),
        pytest.param(pd.Series(["a", "b"], dtype=object), np.ndarray, id="objects"),
        pytest.param(pd.Series(["a", "b"], dtype="category"), pd.Categorical, id="category"),
        pytest.param(pd.Series([1, None], dtype="Int64"), pd.arrays.IntegerArray, id="nullable"),
    ],
)
def test_a_column_is_one_dimensional(values, kind):
    """A column is a numpy array, or the pandas array of a type that numpy has not."""
    column = as_batch(pd.DataFrame({"x": values})).column("x")

    assert (isinstance(column, kind), column.ndim, len(column)) == (True, 1, 2)


def test_a_column_that_was_not_sent():
    """The nearest name is offered, and what was sent."""
    batch = as_batch({"store": [1], "day": [2]})

    with pytest.raises(BadInputError) as caught:
        batch.column("stor")

    assert str(caught.value) == ("column 'stor' is missing.\n  Did you mean 'store'? Columns sent: day, store.")


class Silent:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("4711")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(
            pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]), "columns are sent twice: a.", id="frame-with-one-twice"
        ),
        pytest.param({1: [1], "1": [2]}, "columns are sent twice: 1.", id="number-and-text"),
        pytest.param([{1: 1, "1": 2}], "columns are sent twice: 1.", id="number-and-text-in-rows"),
        pytest.param({Silent(): [1]}, "a column's name is no text: Silent.", id="object"),
        pytest.param(
            pd.DataFrame([[1]], columns=[Silent()]), "a column's name is no text: Silent.", id="object-in-frame"
        ),
        pytest.param([{"\ud800": 1}], "a column's name is no text: str.", id="half-a-character"),
        pytest.param(
            [{f"c{row}_{at}": 1 for at in range(5)} for row in range(300)],
            "the rows have hardly a column in common.",
            id="every-row-has-columns-of-its-own",
        ),
    ],
)
def test_names_that_are_refused(data, what):
    """Names are texts, each once, before pandas sees them; rows that share none would fill the memory."""
    with pytest.raises(BadInputError) as caught:
        as_batch(data)

    assert caught.value.what == what


def test_twenty_thousand_names_twice():
    """Each name is looked at once: this took a minute."""
    with pytest.raises(BadInputError, match=r"^columns are sent twice: c0, c1, c10, c100, c1000 and 19995 more\."):
        as_batch(pd.DataFrame(np.zeros((1, 40_000)), columns=[f"c{number % 20_000}" for number in range(40_000)]))


@pytest.mark.parametrize("way", [lambda cells: {"x": cells}, lambda cells: [{"x": it} for it in cells]])
@pytest.mark.parametrize(
    "cell", [pytest.param("\ud800", id="half-a-character"), pytest.param(np.timedelta64(1, "Y"), id="years")]
)
def test_cells_that_pandas_cannot_look_at(way, cell):
    """They stay what they are, beside others."""
    assert as_batch(way([cell, "a"])).frame["x"].tolist() == [cell, "a"]


def test_what_is_remembered_has_a_bound():
    """Names of columns are kept between requests, up to a few megabytes, whoever sends which."""
    for number in range(100):
        as_batch(pd.DataFrame([[1, 2]], columns=[f"{number}" + "x" * 200_000, "y" * 200_000]))

    assert sum(sum(map(len, names)) for names in batch._known) <= batch._ROOM
    assert as_batch(pd.DataFrame([[1]], columns=["z" * 5_000_000])).columns == ["z" * 5_000_000]
    assert batch._newest[0].bytes <= batch._ROOM
