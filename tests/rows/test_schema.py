"""Checking a batch: what is taken for each declared type, what is refused, and that no value is ever shown."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from mmeframe.errors import BadInputError
from mmeframe.rows.schema import check_frame
from mmeframe.spec import Column

S = pd.Series
TEXT = S(["a"]).dtype
NOON = pd.Timestamp("2020-01-02T12:00")
LONG_MAX = 2**63 - 1


def convert(values: pd.Series, kind: str) -> pd.Series:
    """One column, checked against one declared type."""
    return check_frame(pd.DataFrame({"x": values}), [Column("x", kind)], frozenset({"x"}))["x"]


def refusal(values: pd.Series, kind: str) -> str:
    with pytest.raises(BadInputError) as caught:
        convert(values, kind)
    return str(caught.value)


# -- what is taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        *(pytest.param(S([1, 2], dtype=dtype), id=dtype) for dtype in ("int8", "int16", "int32", "int64")),
        *(pytest.param(S([1, 2], dtype=dtype), id=dtype) for dtype in ("uint8", "uint16", "uint32", "uint64")),
        *(pytest.param(S([1, 2], dtype=dtype), id=dtype) for dtype in ("float16", "float32", "float64")),
        *(pytest.param(S([1, 2], dtype=dtype), id=dtype) for dtype in ("Int64", "Float64", "int64[pyarrow]")),
        pytest.param(S([1, 2], dtype=object), id="object-integers"),
        pytest.param(S([1, 2.0], dtype=object), id="object-integers-and-floats"),
        pytest.param(S([Decimal(1), Decimal(2)]), id="object-decimals"),
        pytest.param(S([1, 2], dtype="category"), id="category"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "dtype"), [("integer", "int32"), ("long", "int64"), ("float", "float32"), ("double", "float64")]
)
def test_whole_numbers_fit_every_number_type(values, kind, dtype):
    """Whole numbers, however they are packed, are taken for each of the four number types."""
    converted = convert(values, kind)

    assert (str(converted.dtype), converted.tolist()) == (dtype, [1, 2])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([1.5, np.nan]), id="float64"),
        pytest.param(S([1.5, np.nan], dtype="float32"), id="float32"),
        pytest.param(S([1.5, None], dtype="Float64"), id="Float64"),
        pytest.param(S([1.5, None], dtype="double[pyarrow]"), id="arrow"),
        pytest.param(S([1.5, None], dtype=object), id="object"),
        pytest.param(S([Decimal("1.5"), None]), id="decimals"),
        pytest.param(S([1.5, None], dtype="category"), id="category"),
    ],
)
@pytest.mark.parametrize(("kind", "dtype"), [("float", "float32"), ("double", "float64")])
def test_fractions_and_missing_values_fit_floating_types(values, kind, dtype):
    """A missing number is NaN."""
    converted = convert(values, kind)

    assert (str(converted.dtype), converted[0], np.isnan(converted[1])) == (dtype, 1.5, True)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([1, None], dtype="Int64"), id="Int64"),
        pytest.param(S([1, None], dtype=object), id="object"),
        pytest.param(S([1, None], dtype="category"), id="category"),
    ],
)
def test_whole_numbers_with_missing_values_fit_double(values):
    """JSON's null in a column of whole numbers is a NaN where the model takes doubles."""
    converted = convert(values, "double")

    assert (str(converted.dtype), converted[0], np.isnan(converted[1])) == ("float64", 1.0, True)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        pytest.param("long", S([LONG_MAX, -(2**63)]), [LONG_MAX, -(2**63)], id="long-ends"),
        pytest.param("long", S([LONG_MAX], dtype="uint64"), [LONG_MAX], id="long-from-uint64"),
        pytest.param("long", S([2.0**53 - 1]), [2**53 - 1], id="long-largest-exact-float"),
        pytest.param("integer", S([2**31 - 1, -(2**31)]), [2**31 - 1, -(2**31)], id="integer-ends"),
        pytest.param("double", S([np.inf, -np.inf]), [np.inf, -np.inf], id="infinities"),
        pytest.param("float", S([np.inf, 1e30]), [np.inf, float(np.float32(1e30))], id="float-keeps-infinity"),
        pytest.param("double", S([10**30], dtype=object), [1e30], id="double-from-huge"),
    ],
)
def test_ends_of_number_types(kind, values, expected):
    """Numbers are taken up to the ends of the declared type."""
    assert convert(values, kind).tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([True, False]), id="bool"),
        pytest.param(S([True, False], dtype=object), id="object"),
        pytest.param(S([True, False], dtype="boolean"), id="boolean"),
        pytest.param(S([True, False], dtype="bool[pyarrow]"), id="arrow"),
        pytest.param(S([True, False], dtype="category"), id="category"),
    ],
)
def test_booleans(values):
    """Booleans become plain ones."""
    converted = convert(values, "boolean")

    assert (str(converted.dtype), converted.tolist()) == ("bool", [True, False])


@pytest.mark.parametrize("dtype", ["str", "object", "string", "string[pyarrow]", "category"])
def test_text(dtype):
    """Text has pandas' default type, in which models were trained, whatever was sent."""
    converted = convert(S(["a", "b"], dtype=dtype), "string")

    assert (converted.dtype, converted.tolist()) == (TEXT, ["a", "b"])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S(["a", None]), id="text"),
        pytest.param(S(["a", None], dtype=object), id="object"),
        pytest.param(S(["a", None], dtype="string"), id="string"),
        pytest.param(S(["a", None], dtype="category"), id="category"),
    ],
)
def test_text_with_missing_values(values):
    """A missing text is None or NaN, as libraries expect; pandas' NA, which has no truth value, is not let in."""
    converted = convert(values, "string")

    assert (converted[0], converted[1] is None or converted[1] != converted[1]) == ("a", True)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([None, np.nan], dtype=object), id="object"),
        pytest.param(S([np.nan, np.nan]), id="float64"),
        pytest.param(S([None, None], dtype="string"), id="string"),
        pytest.param(S([None, None], dtype="Int64"), id="Int64"),
    ],
)
def test_text_without_any_value(values):
    """A column that is all missing has no type of its own, so it may be text; its values are NaN, as among others."""
    assert [value != value for value in convert(values, "string").tolist()] == [True, True]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([NOON]), id="datetime64"),
        pytest.param(S([NOON], dtype="M8[ns]"), id="datetime64-ns"),
        pytest.param(S([NOON], dtype=object), id="object-timestamps"),
        pytest.param(S([NOON.to_pydatetime()], dtype=object), id="object-datetimes"),
        pytest.param(S(["2020-01-02T12:00:00"]), id="text"),
        pytest.param(S(["2020-01-02 12:00"], dtype="string"), id="string"),
        pytest.param(S(["2020-01-02T12:00:00"], dtype="category"), id="category-text"),
        pytest.param(S([NOON], dtype="category"), id="category-timestamps"),
        pytest.param(S([NOON], dtype="timestamp[ns][pyarrow]"), id="arrow"),
    ],
)
def test_timestamps(values):
    """Timestamps, and ISO 8601 text as JSON carries them, become datetimes."""
    converted = convert(values, "datetime")

    assert (converted.dtype.kind, converted.tolist()) == ("M", [NOON])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S(["2020-01-02T12:00:00Z", None]), id="text"),
        pytest.param(S([NOON.tz_localize("UTC"), pd.NaT]), id="datetime64"),
    ],
)
def test_timestamps_with_a_zone(values):
    """MLflow's datetime has no zone: they are UTC's; a missing time is NaT."""
    converted = convert(values, "datetime")

    assert (converted[0], converted[1] is pd.NaT) == (NOON, True)


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_timestamps_have_one_unit(unit):
    """Nanoseconds, as MLflow's datetime has: what a sub-model sees does not depend on how precise other rows are."""
    assert str(convert(S([NOON], dtype=f"M8[{unit}]"), "datetime").dtype) == "datetime64[ns]"
    assert str(convert(S(["2020-01-02T12:00:00"]), "datetime").dtype) == "datetime64[ns]"


def test_timestamps_of_several_zones():
    """Two offsets in one batch, as daylight saving gives them, and none: naive times are UTC's too."""
    times = S(["2020-01-02T13:00:00+01:00", "2020-01-02T14:00:00+02:00", "2020-01-02T12:00:00"])

    assert convert(times, "datetime").tolist() == [NOON] * 3


def test_timestamps_beside_text():
    """Each alone is a time, so both are."""
    times = S([NOON, "2020-01-02T12:00:00", None, dt.date(2020, 1, 2)], dtype=object)

    found = convert(times, "datetime")

    assert found[[0, 1, 3]].tolist() == [NOON, NOON, pd.Timestamp("2020-01-02")]
    assert found[2] is pd.NaT


@pytest.mark.parametrize("year", ["1500", "2500"])
def test_times_beyond_nanoseconds(year):
    """They are refused, not wrapped."""
    with pytest.raises(BadInputError, match="must be datetime: a value is out of range"):
        convert(S([f"{year}-01-01"]), "datetime")


@pytest.mark.parametrize("values", [S(["a", None], dtype=object), S(["a", np.nan]), S(["a", pd.NA], dtype="string")])
def test_a_missing_text_is_one_value(values):
    """None, NaN or NA, as it was sent: a sub-model sees NaN, whatever the other rows are."""
    whole, alone = convert(values, "string"), convert(values[1:], "string")

    assert [value != value for value in (whole[1], alone[1])] == [True, True]


def test_dates_are_timestamps():
    """A date is its midnight."""
    assert convert(S([dt.date(2020, 1, 2)]), "datetime").tolist() == [pd.Timestamp("2020-01-02")]


def test_any_type_passes_unchanged():
    """What may be anything is as it was sent."""
    values = S([b"a", ["b"], 1, True, None], dtype=object)

    assert convert(values, "any").tolist() == [b"a", ["b"], 1, True, None]


BESIDE_A_NULL = {
    "texts": S(["a", None]),
    "times": S([NOON, None]),
    "category-of-texts": S(pd.Categorical(["a", None])),
    "category-of-integers": S(pd.Categorical([2**53 + 1, None])),
    "category-of-nullable-integers": S(pd.array([2**53 + 1, None], "Int64")).astype("category"),
    "category-of-booleans": S(pd.Categorical([True, None])),
    "nullable-integers": S(pd.array([2**53 + 1, None], "Int64")),
    "arrow": S([2**53 + 1, None], dtype="int64[pyarrow]"),
}


@pytest.mark.parametrize("sent", BESIDE_A_NULL.values(), ids=BESIDE_A_NULL)
def test_any_type_does_not_depend_on_the_rows_beside(sent):
    """A value and a null are the same together and alone: pandas makes one type of a column, which may change both."""
    together, alone = convert(sent, "any").tolist(), [convert(sent.iloc[[row]], "any").tolist()[0] for row in (0, 1)]

    assert together == alone == [sent.tolist()[0], None]
    assert type(together[0]) is type(alone[0])


def test_whole_numbers_of_a_category_stay_exact_beside_a_null():
    """In an optional column: as floats they would be refused, or other numbers."""
    sent = S(pd.Categorical([2**53 + 1, None]))

    found = check_frame(sent.to_frame("x"), [Column("x", "long", required=False)], frozenset())["x"]

    assert (found[0], found.isna().tolist()) == (2**53 + 1, [False, True])


@pytest.mark.parametrize("kind", ["integer", "long", "float", "double", "boolean", "string", "datetime"])
@pytest.mark.parametrize("dtype", ["object", "float64"])
def test_no_rows_fit_every_type(kind, dtype):
    """An empty table has no types: JSON gives object or float columns, whatever was declared."""
    assert len(convert(S([], dtype=dtype), kind)) == 0


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        pytest.param("long", S([1.5, 2.5, 3.0]), "2 rows are not whole numbers", id="long-fractions"),
        pytest.param("long", S([1, 2.5], dtype=object), "1 rows are not whole numbers", id="long-object-fractions"),
        pytest.param(
            "long",
            S([1.0, np.nan]),
            "1 values are missing, and integers have no null",
            id="long-missing-float",
        ),
        pytest.param(
            "integer",
            S([1, None], dtype="Int64"),
            "1 values are missing, and integers have no null",
            id="integer-NA",
        ),
        pytest.param(
            "long", S([None], dtype=object), "1 values are missing, and integers have no null", id="long-None"
        ),
        pytest.param("long", S([2.0**63]), "a value is out of range", id="long-just-too-large"),
        pytest.param(
            "long", S([2.0**53]), "a value has more digits than a float holds: send integers", id="long-inexact"
        ),
        pytest.param(
            "long", S([2.0**24], dtype="float32"), "a value has more digits than a float holds: send integers", id="f32"
        ),
        pytest.param("long", S([1e300]), "a value is out of range", id="long-too-large"),
        pytest.param("long", S([np.inf]), "1 rows are not whole numbers", id="long-infinite"),
        pytest.param("long", S([2**63], dtype="uint64"), "a value is out of range", id="long-from-uint64"),
        pytest.param("long", S([10**30], dtype=object), "a value is out of range", id="long-from-huge"),
        pytest.param("integer", S([2**31]), "a value is out of range", id="integer-too-large"),
        pytest.param("integer", S([-(2**31) - 1]), "a value is out of range", id="integer-too-small"),
        pytest.param("float", S([1e300]), "a value is out of range", id="float-too-large"),
        pytest.param("double", S(["1.5"]), f"it is {TEXT}", id="double-text"),
        pytest.param("double", S(["1.5"], dtype=object), "it holds text", id="double-object-text"),
        pytest.param("double", S([1, "a"], dtype=object), "it holds text and numbers", id="double-mixed"),
        pytest.param("double", S([True]), "it is bool", id="double-bool"),
        pytest.param("double", S([True], dtype=object), "it holds booleans", id="double-object-bool"),
        pytest.param("double", S([1.5 + 2j]), "it is complex128", id="double-complex"),
        pytest.param("long", S([True], dtype="boolean"), "it is boolean", id="long-boolean"),
        pytest.param("long", S([NOON]).astype("M8[ns]"), "it is datetime64[ns]", id="long-datetime"),
        pytest.param("long", S(["7"], dtype="category"), f"it is {TEXT}", id="long-category-text"),
        pytest.param("boolean", S([1, 0]), "it is int64", id="boolean-integers"),
        pytest.param("boolean", S(["True"]), f"it is {TEXT}", id="boolean-text"),
        pytest.param("boolean", S([True, None], dtype=object), "1 values are missing", id="boolean-missing"),
        pytest.param("boolean", S([True, None], dtype="boolean"), "1 values are missing", id="boolean-NA"),
        pytest.param("boolean", S([True, None], dtype="category"), "1 values are missing", id="boolean-category"),
        pytest.param("string", S([1, 2]), "it is int64", id="string-integers"),
        pytest.param("string", S([1, 2], dtype="category"), "it is int64", id="string-category-integers"),
        pytest.param("string", S([1, "a"], dtype=object), "it holds text and numbers", id="string-mixed"),
        pytest.param("string", S([b"a"]), "it holds bytes values", id="string-bytes"),
        pytest.param("string", S([True]), "it is bool", id="string-bool"),
        pytest.param("datetime", S([1]), "it is int64", id="datetime-integers"),
        pytest.param("datetime", S([1.5]), "it is float64", id="datetime-floats"),
        pytest.param("datetime", S([True]), "it is bool", id="datetime-bool"),
        pytest.param("datetime", S(["noon"]), "it holds text that is no ISO 8601 timestamp", id="datetime-text"),
        pytest.param(
            "datetime", S(["01/02/2020"]), "it holds text that is no ISO 8601 timestamp", id="datetime-american"
        ),
    ],
)
def test_refused(kind, values, why):
    """The message names the column, the declared type and what was sent instead."""
    assert refusal(values, kind) == f"column 'x' must be {kind}: {why}."


@pytest.mark.parametrize(
    "values", [S([20200102, None], dtype=object), S([20200102], dtype="category")], ids=["obj", "cat"]
)
def test_numbers_are_no_timestamps(values):
    """A number is not read as a date, whatever its column is packed in."""
    assert refusal(values, "datetime").startswith("column 'x' must be datetime: ")


SECRET_TEXT, SECRET_NUMBER = "s3cr3t", 987654321
SAMPLES = {
    "text": S([SECRET_TEXT, None]),
    "object-text": S([SECRET_TEXT, None], dtype=object),
    "string": S([SECRET_TEXT, None], dtype="string"),
    "object-mixed": S([SECRET_TEXT, SECRET_NUMBER, None, True], dtype=object),
    "bytes": S([SECRET_TEXT.encode()]),
    "lists": S([[SECRET_TEXT]]),
    "maps": S([{SECRET_TEXT: SECRET_NUMBER}]),
    "int64": S([SECRET_NUMBER]),
    "uint64": S([2**64 - 1], dtype="uint64"),
    "Int64": S([SECRET_NUMBER, None], dtype="Int64"),
    "float64": S([SECRET_NUMBER + 0.5, np.nan]),
    "infinite": S([np.inf]),
    "object-integers": S([SECRET_NUMBER, None], dtype=object),
    "object-infinite": S([SECRET_NUMBER, np.inf], dtype=object),
    "object-huge": S([SECRET_NUMBER * 10**30], dtype=object),
    "decimals": S([Decimal(SECRET_NUMBER) / 2, None]),
    "infinite-decimals": S([Decimal("Infinity")]),
    "complex": S([SECRET_NUMBER + 1j]),
    "bool": S([True]),
    "object-bool": S([True, None], dtype=object),
    "boolean": S([True, None], dtype="boolean"),
    "datetime64": S([NOON, pd.NaT]),
    "datetime64-tz": S([NOON.tz_localize("UTC"), pd.NaT]),
    "mixed-zones": S(["2020-01-02T12:00:00Z", "2020-01-02T12:00:00+01:00"]),
    "year-99999": S(["99999-01-02"]),
    "timedelta": S([pd.Timedelta(SECRET_NUMBER)]),
    "period": S(pd.period_range("2020", periods=1)),
    "interval": S(pd.interval_range(0, 1)),
    "dates": S([dt.date(2020, 1, 2), None]),
    "times": S([dt.time(1)]),
    "category-text": S([SECRET_TEXT, None], dtype="category"),
    "category-integers": S([SECRET_NUMBER, None], dtype="category"),
    "category-floats": S([SECRET_NUMBER + 0.5, None], dtype="category"),
    "category-bools": S([True, None], dtype="category"),
    "category-times": S([NOON, pd.NaT], dtype="category"),
    "category-mixed": S([SECRET_TEXT, SECRET_NUMBER], dtype="category"),
    "missing": S([None, None], dtype=object),
    "missing-float": S([np.nan]),
}
KINDS = {"integer": "i", "long": "i", "float": "f", "double": "f", "boolean": "b", "string": "OT", "datetime": "M"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_converted_or_refused_without_showing_a_value(sample, kind):
    """Any column is converted to the declared type, row by row, or refused with our own error that holds no value."""
    values = SAMPLES[sample]
    try:
        converted = convert(values, kind)
    except BadInputError as error:
        shown = f"{error} {error.__cause__ or ''}"
        assert SECRET_TEXT not in shown
        assert str(SECRET_NUMBER) not in shown
    else:
        assert converted.dtype.kind in KINDS[kind]
        assert len(converted) == len(values)


# -- columns -------------------------------------------------------------------------------------------------------

SCHEMA = [Column("age", "double"), Column("town", "string"), Column("note", "string", required=False)]
NEEDED = frozenset({"age", "town"})
TABLE = pd.DataFrame({"town": ["rome", "oslo"], "age": [1, 2], "other": [0, 0], "note": ["x", "y"]}, index=[5, 5])


def test_columns_in_the_order_of_the_schema():
    """The schema's columns come in its order; others are left out."""
    assert check_frame(TABLE, SCHEMA, NEEDED).columns.tolist() == ["age", "town", "note"]


def test_the_index_stays():
    """Rows keep their labels, duplicates too, and their order."""
    checked = check_frame(TABLE, SCHEMA, NEEDED)

    assert (checked.index.tolist(), checked["age"].tolist()) == ([5, 5], [1.0, 2.0])


def test_rows_stay_where_no_column_does():
    """A sub-model that needs nothing of what was sent still gets as many rows."""
    checked = check_frame(TABLE[["other"]], [Column("note", "long", required=False)], frozenset())

    assert (checked.shape, checked.index.tolist()) == ((2, 0), [5, 5])


def test_the_callers_table_stays():
    """The caller's own frame is not changed."""
    before = TABLE.copy(deep=True)

    check_frame(TABLE, SCHEMA, NEEDED)

    pd.testing.assert_frame_equal(TABLE, before)


def test_a_column_that_is_not_needed_may_be_missing():
    """An optional column that was not sent is null in every row, as it is in a row that lacks it beside others."""
    checked = check_frame(TABLE.drop(columns="note"), SCHEMA, NEEDED)

    assert checked.columns.tolist() == ["age", "town", "note"]
    assert checked["note"].isna().all()


def test_a_column_that_is_not_needed_is_still_checked():
    """An optional column that was sent must have its type."""
    with pytest.raises(BadInputError, match=r"^column 'note' must be string: it is int64\.$"):
        check_frame(TABLE.assign(note=[1, 2]), SCHEMA, NEEDED)


@pytest.mark.parametrize(
    ("renamed", "hint"),
    [
        pytest.param({"age": "Age"}, "Did you mean 'Age'? Other columns that were sent: Age, other.", id="near"),
        pytest.param({"age": "zz"}, "Other columns that were sent: other, zz.", id="nothing-close"),
        pytest.param({"age": "town2", "other": "x"}, "Other columns that were sent: town2, x.", id="not-taken"),
    ],
)
def test_a_missing_column_is_answered_with_the_nearest(renamed, hint):
    """The nearest name is one that was sent and that the schema does not use itself."""
    with pytest.raises(BadInputError) as caught:
        check_frame(TABLE.rename(columns=renamed), SCHEMA, NEEDED)

    assert str(caught.value) == f"column 'age' (double) is missing. {hint}"


def test_a_table_without_columns():
    """Every needed column is named, in the schema's order, and what was sent."""
    with pytest.raises(BadInputError) as caught:
        check_frame(pd.DataFrame(index=range(2)), SCHEMA, NEEDED)

    assert str(caught.value) == (
        "column 'age' (double) is missing. Other columns that were sent: none.\n"
        "  column 'town' (string) is missing. Other columns that were sent: none."
    )


def test_everything_that_is_wrong_at_once():
    """One answer lists every fault, so that a client is mended in one go."""
    frame = pd.DataFrame({"age": ["x"], "note": [1]})

    with pytest.raises(BadInputError) as caught:
        check_frame(frame, SCHEMA, NEEDED)

    assert str(caught.value) == (
        f"column 'age' must be double: it is {TEXT}.\n"
        "  column 'town' (string) is missing. Other columns that were sent: none.\n"
        "  column 'note' must be string: it is int64."
    )
