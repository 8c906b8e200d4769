"""One value of each of MLflow's types: what is taken, what becomes of it, and what is refused by name."""

from __future__ import annotations

import base64
import datetime as dt
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.types import DataType
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from mmeframe.errors import BadInputError
from mmeframe.plugin.conf import ColumnType
from mmeframe.rows.schema import check_frame
from mmeframe.rows.types import TYPES, RefusedError, converter, is_compound, nullable, shown, type_text
from mmeframe.spec import Column

DOUBLES = type_text(Array(DataType.double))
TABLE = type_text(Array(Array(DataType.long)))
MAP = type_text(Map(DataType.double))
POINT = type_text(Object([Property("lat", DataType.double), Property("tags", Array(DataType.string), required=False)]))
POINTS = type_text(Array(Object([Property("lat", DataType.double)])))
LABELS = type_text(Array(DataType.string))
NOON = np.datetime64("2024-01-02T12:00", "ns")


def test_the_table_has_every_plain_type():
    """All of MLflow's, and those are what a config may write."""
    assert set(TYPES) == {kind.name for kind in DataType} == set(get_args(ColumnType))


@pytest.mark.parametrize("name", TYPES)
def test_what_the_table_says_of_a_type_agrees(name):
    """Its samples are of it, numpy and Arrow hold them as it says, and null is what numpy has one for."""
    it = TYPES[name]
    for values in it.samples:
        column = check_frame(pd.DataFrame({"x": values}), [Column("x", name)], frozenset("x"))["x"]
        assert [it.convert(value) for value in values] == column.tolist()
        assert not it.numpy or column.dtype == np.dtype(it.numpy)
        assert not it.arrow or pa.Array.from_pandas(column).type in (pa.type_for_alias(it.arrow), pa.large_string())
    assert it.has_null == (np.dtype(it.numpy or object).kind not in "ib")


@pytest.mark.parametrize(
    ("kind", "text", "seen"),
    [
        *(pytest.param(kind, kind.name, kind.name, id=kind.name) for kind in DataType),
        pytest.param(AnyType(), "any", "any", id="any"),
        pytest.param(Array(DataType.double), DOUBLES, "array(double)", id="array"),
        pytest.param(Array(Array(DataType.long)), TABLE, "array(array(long))", id="table"),
        pytest.param(Map(DataType.double), MAP, "map(double)", id="map"),
    ],
)
def test_every_type_has_a_text(kind, text, seen):
    """Names are MLflow's; what has no name is MLflow's description, and messages show it in words."""
    assert (type_text(kind), shown(text), is_compound(text)) == (text, seen, text.startswith("{"))


def test_an_object_is_shown_with_its_names():
    """Names of an object, with their types."""
    assert shown(POINT) == "object(lat: double, tags: array(string))"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param(DOUBLES, [1, 2], [1.0, 2.0], id="whole-numbers-for-doubles"),
        pytest.param(DOUBLES, np.array([1, 2]), [1.0, 2.0], id="numpy"),
        pytest.param(DOUBLES, (1.5,), [1.5], id="tuple"),
        pytest.param(DOUBLES, [Decimal("1.5"), np.float32(0.5)], [1.5, 0.5], id="decimals"),
        pytest.param(DOUBLES, [], [], id="empty"),
        pytest.param(TABLE, [[1.0], [2, 3]], [[1], [2, 3]], id="whole-floats-for-longs"),
        pytest.param(TABLE, np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], id="numpy-table"),
        pytest.param(LABELS, ["a", None], ["a", None], id="null-text"),
        pytest.param(MAP, {"a": 1}, {"a": 1.0}, id="map"),
        pytest.param(MAP, [("a", 1)], {"a": 1.0}, id="arrow-map"),
        pytest.param(POINT, {"lat": 1}, {"lat": 1.0}, id="object"),
        pytest.param(POINT, {"lat": 1, "tags": None}, {"lat": 1.0}, id="arrow-object"),
        pytest.param(POINT, {"tags": ["x"], "lat": 1}, {"lat": 1.0, "tags": ["x"]}, id="object-in-order"),
        pytest.param(POINTS, [{"lat": 1}], [{"lat": 1.0}], id="array-of-objects"),
        pytest.param("binary", "YQA=", b"a\x00", id="base64"),
        pytest.param("binary", base64.encodebytes(b"a" * 99).decode(), b"a" * 99, id="base64-of-mlflow"),
        pytest.param("binary", b"a\x00", b"a\x00", id="bytes"),
        pytest.param("binary", bytearray(b"a\x00"), b"a\x00", id="bytearray"),
        pytest.param("datetime", "2024-01-02T12:00:00Z", NOON, id="text"),
        pytest.param("datetime", "2024-01-02T13:00:00+01:00", NOON, id="offset"),
        pytest.param("datetime", dt.datetime(2024, 1, 2, 12), NOON, id="python"),  # noqa: DTZ001 - naive is meant
        pytest.param("datetime", np.datetime64("2024-01-02T12:00"), NOON, id="numpy-time"),
        pytest.param("any", [1.5], [1.5], id="any-list"),
        pytest.param("any", np.array([1.5]), [1.5], id="any-array"),
        pytest.param("any", {"a": 1}, {"a": 1}, id="any-object"),
        pytest.param("any", np.array([np.array([1]), None], object), [[1], None], id="any-arrow-lists"),
        pytest.param("any", {"a": (np.float32(0.5), np.int64(1))}, {"a": [0.5, 1]}, id="any-numpy-inside"),
        pytest.param("any", np.True_, True, id="any-numpy-scalar"),
    ],
)
def test_taken(kind, value, expected):
    """Values have the declared type, whichever container they came in."""
    found = converter(kind)(value)

    assert found == expected
    assert repr(found) == repr(expected)


def test_a_missing_double_in_a_list_is_nan():
    """As it is in a column."""
    assert np.isnan(converter(DOUBLES)([1.0, None])[1])


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        pytest.param(DOUBLES, 1.5, "it holds numbers, not array(double)", id="number-for-list"),
        pytest.param(DOUBLES, "[1, 2]", "it holds text, not array(double)", id="text-for-list"),
        pytest.param(DOUBLES, ["a"], "it holds text, not double", id="text-for-double"),
        pytest.param(DOUBLES, [True], "it holds booleans, not double", id="boolean-for-double"),
        pytest.param(DOUBLES, [[1.0]], "it holds lists, not double", id="too-deep"),
        pytest.param(TABLE, [[1.5]], "a value is not a whole number", id="fraction"),
        pytest.param(TABLE, [[2.0**53]], "a value has more digits than a float holds: send integers", id="inexact"),
        pytest.param(TABLE, [[2**63]], "a value is out of range", id="range"),
        pytest.param(TABLE, [[None]], "it holds nulls, not long", id="null-for-long"),
        pytest.param(LABELS, [1], "it holds numbers, not string", id="number-for-text"),
        pytest.param(MAP, [1], "it holds lists, not map(double)", id="list-for-map"),
        pytest.param(MAP, {1: 1.0}, "it holds objects, not map(double)", id="number-as-name"),
        pytest.param(POINT, {}, "it lacks 'lat' of object(lat: double, tags: array(string))", id="lacks"),
        pytest.param(
            POINT,
            {"lat": 1, "x": 1},
            "it has 1 names that object(lat: double, tags: array(string)) does not declare",
            id="more",
        ),
        pytest.param("binary", "no base64!", "it holds text that is not base64", id="base64"),
        pytest.param("binary", 1, "it holds numbers, not binary", id="number-for-bytes"),
        pytest.param("datetime", "now", "it holds text that is no ISO 8601 timestamp", id="now"),
        pytest.param("datetime", "today", "it holds text that is no ISO 8601 timestamp", id="today"),
        pytest.param("datetime", 3, "it holds numbers, not datetime", id="number-for-time"),
        pytest.param('{"type":"sparkml_vector"}', 1, "sparkml_vector is a type that is not supported", id="unknown"),
    ],
)
def test_refused(kind, value, why):
    """What has not the declared type is refused by what it is; no value is shown."""
    with pytest.raises(RefusedError) as caught:
        converter(kind)(value)

    assert str(caught.value) == why


@pytest.mark.parametrize("text", ["now", "today", "NOW", "Today", " now"])
@pytest.mark.parametrize("dtype", ["object", "str", "string"])
def test_no_column_of_times_is_read_by_the_clock(text, dtype):
    """pandas takes some words for the time at which it reads them."""
    frame = pd.DataFrame({"t": pd.Series(["2024-01-02", text], dtype=dtype)})

    with pytest.raises(BadInputError, match="'t' must be datetime: it holds text that is no ISO 8601 timestamp"):
        check_frame(frame, [Column("t", "datetime")], frozenset({"t"}))


@pytest.mark.parametrize("kind", [DOUBLES, MAP, POINT, "binary", "any", "string", "double", "datetime"])
def test_an_optional_column_of_a_nullable_type_is_null_where_it_is_missing(kind: Any):
    """Sent or not."""
    column = Column("x", kind, required=False)
    absent = check_frame(pd.DataFrame({"y": [1, 2]}), [column], frozenset())
    null = check_frame(pd.DataFrame({"x": np.array([None, None], object)}), [column], frozenset())

    assert nullable(kind)
    assert absent["x"].isna().all()
    assert null["x"].isna().all()
    assert absent["x"].dtype == null["x"].dtype


@pytest.mark.parametrize("kind", [DOUBLES, MAP, POINT])
def test_a_null_where_a_list_or_an_object_is_due(kind):
    """A required one must be there, as MLflow has it."""
    frame = pd.DataFrame({"x": np.array([None], object)})

    with pytest.raises(BadInputError, match="1 values are missing"):
        check_frame(frame, [Column("x", kind)], frozenset({"x"}))
