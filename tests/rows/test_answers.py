"""Answers stay what they are: numpy's conversions of lists, of several types and of nulls change none."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server import predictions_to_json
from mlflow.types import DataType
from mlflow.types.schema import Array, Object, Property
from scipy import sparse

from mmeframe.errors import ModelError
from mmeframe.rows.answers import as_prediction, for_json, gather
from mmeframe.rows.outputs import Outputs
from mmeframe.rows.types import type_text
from mmeframe.runtime.outputs import Answers
from mmeframe.spec import Column

DOUBLES = type_text(Array(DataType.double))
POINT = type_text(Object([Property("lat", DataType.double)]))
BIG = 2**53 + 1
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.none(),
)


def typed(values: Any) -> list[tuple[str, Any]]:
    """Values with their types of Python: 1, 1.0 and True are three."""
    return [(type(value).__name__, value) for value in np.asarray(values).tolist()]


@settings(max_examples=200, deadline=None)
@given(values=st.lists(SCALARS, min_size=1, max_size=6))
def test_a_list_of_values_stays_as_it_is(values):
    """Whatever kinds of values stand beside one another."""
    assert typed(as_prediction(values, len(values), "m")) == typed(np.array([*values, None], object)[:-1])


@settings(max_examples=200, deadline=None)
@given(values=st.lists(SCALARS, min_size=2, max_size=6), cut=st.integers(1, 5), data=st.data())
def test_answers_of_several_sub_models_stay_as_they_are(values, cut, data):
    """Gathered from two sub-models, in any order of rows."""
    rows = np.array(data.draw(st.permutations(range(len(values)))))
    cut = min(cut, len(values) - 1)
    pieces = [
        (rows[some], as_prediction([values[row] for row in rows[some]], len(rows[some]), "m"))
        for some in (slice(0, cut), slice(cut, None))
    ]

    found = gather(pieces, len(values)).tolist()

    assert all(one == two or (one is None and two != two) for one, two in zip(values, found, strict=True))
    whole = [type(one) for one in values]
    # Whole numbers beside doubles are doubles where that loses nothing.
    same = [type(one) is two or (two is int and type(one) is float) for one, two in zip(found, whole, strict=True)]
    assert all(same)


@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        pytest.param([b"a\x00", b"b"], "binary", [b"a\x00", b"b"], id="trailing-zeros"),
        pytest.param([1, "n/a", 2.5], "string", [1, "n/a", 2.5], id="text-beside-numbers"),
        pytest.param([True, 2], "long", [True, 2], id="boolean-beside-number"),
        pytest.param([BIG, 0.5], "long", [BIG, 0.5], id="large-beside-float"),
        pytest.param([BIG, 0.5], "double", [BIG, 0.5], id="large-that-no-double-holds"),
        pytest.param([1, 2.5], "double", [1.0, 2.5], id="declared-double"),
        pytest.param([[1.0, 2.0], [3.0]], DOUBLES, [[1.0, 2.0], [3.0]], id="lists"),
        pytest.param([[1.0, 2.0], [3.0, 4.0]], DOUBLES, [[1.0, 2.0], [3.0, 4.0]], id="lists-of-one-length"),
        pytest.param(np.array([[1.0, 2.0]]), DOUBLES, [[1.0, 2.0]], id="table-as-lists"),
        pytest.param([{"lat": 1.0}, {"lat": 2.0}], POINT, [{"lat": 1.0}, {"lat": 2.0}], id="objects"),
        pytest.param(pd.Series([1, None], dtype="Int64"), "long", [1, None], id="nullable-integers"),
        pytest.param(pd.Series([BIG, None], dtype="Int64"), "long", [BIG, None], id="large-beside-null"),
        pytest.param(pd.Series([True, None], dtype="boolean"), "boolean", [True, None], id="nullable-booleans"),
        pytest.param(pd.Series(["a", None], dtype="str"), "string", ["a", None], id="texts"),
        pytest.param(pd.Series(pd.Categorical([BIG, None])), "long", [BIG, None], id="category-of-integers"),
        pytest.param(pd.Series(pd.Categorical(["a", None])), "string", ["a", None], id="category-of-texts"),
    ],
)
def test_values(raw, kind, expected):
    """Kept as given; made the declared double where that loses nothing."""
    assert typed(as_prediction(raw, len(expected), "m", kind)) == [(type(it).__name__, it) for it in expected]


def test_a_null_beside_declared_doubles_is_nan():
    """A list with None answers like an array with NaN."""
    found = as_prediction([1.5, None], 2, "m", "double")

    assert (found.dtype, found[0], math.isnan(found[1])) == (np.float64, 1.5, True)


@pytest.mark.parametrize("aligned", [True, False])
def test_nulls_in_tables_of_doubles_are_nan(aligned):
    """Also of several numbers in a row, or one for each class: what adds them up cannot add None."""
    columns = [Column("a", "double"), Column("b", "double")] if aligned else [Column("prediction", "double")]
    answers = Answers(
        Outputs(tuple(columns), 0 if aligned else 2, aligned, "0"),
        [columns],
        [0],
        lambda _: "m",
    )

    found = answers.aligned(as_prediction([[1.5, None], [1, 2]], 2, "m", answers.kind), 0)

    np.testing.assert_array_equal(found, np.array([[1.5, np.nan], [1.0, 2.0]]))
    assert found.dtype == np.float64


def test_records_are_columns():
    """A list of dicts, as MLflow's own signature of it has it."""
    found = as_prediction([{"a": 1, "b": "x"}, {"b": "y", "a": 2}], 2, "m")

    assert found.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_records_of_one_column_of_lists():
    """The column is declared by its type alone."""
    answers = Answers(
        Outputs((Column("prediction", DOUBLES),)),
        [[Column("prediction", DOUBLES)]],
        [0],
        lambda _: "m",
    )

    found = answers.whole(as_prediction([{"a": [1.0]}, {"a": [2.0]}], 2, "m", answers.kind), 0)

    assert found.tolist() == [[1.0], [2.0]]


NUMBERS_AND_NULL = {
    "masked": np.ma.array([BIG, 7, 3], mask=[False, True, False]),
    "extension-array": pd.array([BIG, None, 3], dtype="Int64"),
    "index": pd.Index([BIG, None, 3], dtype="Int64"),
    "arrow": pa.array([BIG, None, 3]),
    "arrow-chunks": pa.chunked_array([[BIG], [None, 3]]),
    "arrow-series": pd.Series([BIG, None, 3], dtype="int64[pyarrow]"),
    "categorical": pd.Categorical([BIG, None, 3]),
}


@pytest.mark.parametrize("raw", NUMBERS_AND_NULL.values(), ids=NUMBERS_AND_NULL)
def test_columns_of_libraries_keep_numbers_and_nulls(raw):
    """numpy alone makes floats of them, or forgets what is masked; alone and beside another sub-model's."""
    found = as_prediction(raw, 3, "m")
    beside = gather([(np.array([2, 0, 1]), found), (np.array([3]), np.array([5]))], 4)

    assert typed(found) == [("int", BIG), ("NoneType", None), ("int", 3)]
    assert beside.tolist() == [None, 3, BIG, 5]


def test_masked_doubles_and_tables():
    """What is masked is a null of its type."""
    doubles = as_prediction(np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 1], [0, 0]]), 2, "m")
    times = as_prediction(np.ma.array(np.array(["2024-01-02", "2024-01-03"], "M8[ns]"), mask=[1, 0]), 2, "m")

    np.testing.assert_array_equal(doubles, [[1.0, np.nan], [3.0, 4.0]])
    assert np.isnat(times).tolist() == [True, False]


TABLES = {
    "arrow": pa.table({"b": ["x", None], "a": [BIG, 3]}),
    "arrow-views": pa.table({"b": pa.array(["x", None], pa.string_view()), "a": [BIG, 3]}),
    "arrow-batch": pa.record_batch({"b": ["x", None], "a": [BIG, 3]}),
    "columns": {"b": ["x", None], "a": np.array([BIG, 3])},
    "records": [{"b": "x", "a": BIG}, {"a": 3}],
    "structured": np.array([("x", BIG), (None, 3)], dtype=[("b", "O"), ("a", "i8")]),
    "recarray": np.rec.array([("x", BIG), (None, 3)], dtype=[("b", "O"), ("a", "i8")]),
}


@pytest.mark.parametrize("raw", TABLES.values(), ids=TABLES)
def test_tables_of_libraries_keep_their_names(raw):
    """So columns are found by name, whatever their order."""
    found = as_prediction(raw, 2, "m")

    assert (found["a"].tolist(), found["b"].tolist()) == ([BIG, 3], ["x", None])


def test_columns_of_lists():
    """One list for each row, also where numpy has made a table of them."""
    found = as_prediction({"a": [[1.0], []], "b": np.array([[1, 2], [3, 4]])}, 2, "m")

    assert (found["a"].tolist(), found["b"].tolist()) == ([[1.0], []], [[1, 2], [3, 4]])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_a_sparse_table(kind):
    """As the table that it is."""
    assert as_prediction(kind(np.eye(2)), 2, "m").tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_arrays_of_several_types_as_rows():
    """Whole numbers beside doubles keep their digits; they are the declared doubles where that loses nothing."""
    rows = [np.array([BIG]), np.array([0.5])]

    assert as_prediction(rows, 2, "m").tolist() == [[BIG], [0.5]]
    assert as_prediction([np.array([3]), np.array([0.5])], 2, "m", "double").dtype == np.float64
    assert typed(as_prediction([np.int64(3), 0.5], 2, "m", "double")) == [("float", 3.0), ("float", 0.5)]


def test_a_column_that_is_declared_and_not_answered():
    """No null in its place: nobody would see that the names differ."""
    columns = [Column("low", "double"), Column("high", "double"), Column("note", "string", required=False)]
    answers = Answers(
        Outputs(tuple(columns)),
        [columns],
        [0],
        lambda _: "m",
    )

    assert answers.aligned(pd.DataFrame({"low": [1.0], "high": [2.0]}), 0)["note"].tolist() == [None]
    with pytest.raises(ModelError) as caught:
        answers.aligned(pd.DataFrame({"low": [1.0], "High": [2.0]}), 0)
    assert str(caught.value) == (
        "m: its answer has no column 'high', which it declares.\n"
        "  Log it with the signature of what it answers. Did you mean 'High'? Columns: High, low."
    )


def test_rows_of_several_lengths():
    """One answer is wider than the others, and no list is declared."""
    with pytest.raises(ModelError, match="its answers have different lengths"):
        as_prediction([[1.0], [1.0, 2.0]], 2, "m")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(np.array([1.5, np.nan]), [1.5, None], id="double"),
        pytest.param(np.array([1.5, np.inf], "float32"), [1.5, None], id="infinite"),
        pytest.param(np.array([[1.5, np.nan]]), [[1.5, None]], id="table"),
        pytest.param(np.array(["2024-01-02", "NaT"], "M8[ns]"), [pd.Timestamp("2024-01-02"), None], id="time"),
        pytest.param(np.array(["a", np.nan, pd.NA], object), ["a", None, None], id="text"),
        pytest.param(np.array([1, None], object), [1, None], id="whole"),
        pytest.param(np.array([1, 2]), [1, 2], id="nothing-missing"),
    ],
)
def test_what_json_has_no_word_for(answer, expected):
    """Becomes None, for which MLflow writes null."""
    found = for_json(answer)

    assert found.tolist() == expected
    assert for_json({"x": answer})["x"].tolist() == expected


NOON = np.datetime64("2024-01-02T12:00", "ns")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(np.array([NOON]), "2024-01-02T12:00:00", id="nanoseconds"),
        pytest.param(np.array([NOON.astype("M8[s]")]), "2024-01-02T12:00:00", id="seconds"),
        pytest.param(np.array([[NOON, NOON]]), ["2024-01-02T12:00:00"] * 2, id="table-of-times"),
        pytest.param([NOON], "2024-01-02T12:00:00.000000000", id="time-in-a-list"),
        pytest.param([dt.date(2024, 1, 2)], "2024-01-02", id="date"),
        pytest.param(np.array([90], "m8[s]"), "0 days 00:01:30", id="durations"),
        pytest.param([Decimal("1.50")], "1.50", id="decimal"),
        pytest.param([uuid.UUID(int=1)], "00000000-0000-0000-0000-000000000001", id="id"),
        pytest.param([b"a"], "YQ==\n", id="bytes"),
        pytest.param([{"at": [NOON, Decimal(1)]}], {"at": ["2024-01-02T12:00:00.000000000", "1"]}, id="inside"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_what_mlflow_has_no_word_for(value, expected, beside):
    """It is text in JSON, with a null beside it as without one; MLflow would fail, or make numbers of times."""
    one = as_prediction(value, 1, "m", "any")
    answer = gather([(np.array([0]), one)], 1 + beside)

    written = io.StringIO()
    predictions_to_json(for_json(answer), written)

    assert json.loads(written.getvalue())["predictions"][0] == expected


def test_lists_in_answers_for_json():
    """Also within lists and objects."""
    column = np.empty(2, object)
    column[:] = [[1.0, np.nan], {"a": np.inf}]

    assert for_json(column).tolist() == [[1.0, None], {"a": None}]


def test_a_frame_for_json():
    """Every column of it; the labels stay."""
    frame = pd.DataFrame({"x": [1.5, np.nan], "t": pd.array(["a", None], dtype="str")}, index=[4, 2])
    found = for_json(frame)

    assert (found["x"].tolist(), found["t"].tolist(), found.index.tolist()) == ([1.5, None], ["a", None], [4, 2])


def test_a_column_that_a_sub_model_lacks_is_null():
    """In the type that is declared: large whole numbers of others stay."""
    answers = Answers(
        Outputs((Column("n", "long", False), Column("t", "string", False))),
        [[Column("n", "long"), Column("t", "string")], [Column("t", "string")]],
        [0, 1],
        lambda _: "m",
    )
    first = answers.aligned(pd.DataFrame({"n": [BIG], "t": ["a"]}), 0)
    second = answers.aligned(pd.DataFrame({"t": ["b"]}), 1)

    found = answers.gather([(0, 1, first), (1, 2, second)], np.array([1, 0]), 2)

    assert (found["n"].tolist(), found["t"].tolist()) == ([None, BIG], ["b", "a"])
    assert answers.columns == (Column("n", "long", False), Column("t", "string", False))
