"""Keys from timestamps: the part that the clock of one time zone shows."""

from __future__ import annotations

import datetime as dt
import warnings
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mmeframe.builtin.datepart import DatepartConf, DatepartStrategy
from mmeframe.errors import BadInputError
from mmeframe.rows.batch import FrameBatch
from mmeframe.rows.keys import canonical

S = pd.Series
NEW_YORK = "America/New_York"


def keys(values: pd.Series, **options: object) -> list[str | None]:
    """Canonical keys of a column ``ts``."""
    strategy = DatepartStrategy(DatepartConf("ts", **options))
    raw = strategy.route_keys(FrameBatch(pd.DataFrame({"ts": values})), {})
    return [canonical(value) for value in raw]


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("year", "2013"),
        ("quarter", "1"),
        ("month", "2"),
        ("week", "5"),
        ("day", "3"),
        ("dayofyear", "34"),
        ("weekday", "6"),
        ("day_name", "Sunday"),
        ("hour", "4"),
        ("minute", "5"),
        ("date", "2013-02-03"),
    ],
)
def test_parts(part, key):
    """Every part, of a Sunday, without a warning: 0 is Monday, and weeks are ISO weeks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = keys(S(["2013-02-03T04:05:06"]), part=part)

    assert found == [key]


@pytest.mark.parametrize(
    ("day", "week"), [("2012-12-31", "1"), ("2013-01-06", "1"), ("2013-01-07", "2"), ("2021-01-01", "53")]
)
def test_weeks_are_iso_weeks(day, week):
    """A week belongs to the year of its Thursday."""
    assert keys(S([day]), part="week") == [week]


AT_MIDNIGHT = ["2013-01-01T04:59:59Z", "2013-01-01T05:00:00Z"]
EVE, NEW_YEAR = "2012-12-31", "2013-01-01"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S(AT_MIDNIGHT), id="text"),
        pytest.param(S(["2013-01-01 04:59:59+00:00", "2013-01-01 05:00:00+00:00"]), id="text-with-an-offset"),
        pytest.param(S(["2013-01-01T04:59:59+0000", "2013-01-01T05:00:00+0000"]), id="text-with-a-short-offset"),
        pytest.param(S(["2013-01-01 04:59:59+00", "2013-01-01 05:00:00+00"]), id="text-as-postgres-writes-it"),
        pytest.param(S(["2013-01-01T13:59:59+09:00", "2012-12-31T21:00:00-0800"]), id="text-of-two-zones"),
        pytest.param(S(["2013-01-01T04:59:59.999999999Z", "2013-01-01T05:00Z"]), id="text-of-two-precisions"),
        pytest.param(S(AT_MIDNIGHT, dtype=object), id="object-text"),
        pytest.param(S(AT_MIDNIGHT, dtype="string"), id="string"),
        pytest.param(S(AT_MIDNIGHT, dtype="category"), id="category-text"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT)), id="datetime64-utc"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT).tz_convert("Asia/Tokyo")), id="datetime64-tokyo"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT).as_unit("ns")), id="datetime64-ns"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT), dtype="category"), id="category-timestamps"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT).astype(object)), id="object-timestamps"),
        pytest.param(S([dt.datetime.fromisoformat(text) for text in AT_MIDNIGHT], dtype=object), id="datetimes"),
        pytest.param(S(pd.to_datetime(AT_MIDNIGHT)).astype("timestamp[us, tz=UTC][pyarrow]"), id="arrow"),
    ],
)
def test_midnight_in_new_york(values):
    """05:00 UTC is midnight in New York, in whatever form the times come."""
    assert keys(values, part="date", timezone=NEW_YORK) == [EVE, NEW_YEAR]


@pytest.mark.parametrize(
    ("utc", "hour"),
    [
        pytest.param("2013-03-10T06:59:59Z", "1", id="before-spring"),
        pytest.param("2013-03-10T07:00:00Z", "3", id="the-skipped-hour-is-not-there"),
        pytest.param("2013-11-03T05:59:59Z", "1", id="before-autumn"),
        pytest.param("2013-11-03T06:00:00Z", "1", id="the-same-hour-again"),
        pytest.param("2013-11-03T07:00:00Z", "2", id="after-autumn"),
    ],
)
def test_clock_changes(utc, hour):
    """The hour is what the clock on the wall shows on the two days of the year."""
    assert keys(S([utc]), part="hour", timezone=NEW_YORK) == [hour]


@pytest.mark.parametrize("values", [S(["2013-01-01T02:00"]), S([pd.Timestamp("2013-01-01T02:00")])], ids=["text", "dt"])
@pytest.mark.parametrize(
    ("options", "key"),
    [
        pytest.param({}, "2013-01-01", id="as-they-are"),
        pytest.param({"timezone": NEW_YORK}, "2013-01-01", id="taken-as-the-zone's-own"),
        pytest.param({"timezone": NEW_YORK, "assume": NEW_YORK}, "2013-01-01", id="assumed-the-same"),
        pytest.param({"timezone": NEW_YORK, "assume": "UTC"}, "2012-12-31", id="assumed-utc"),
        pytest.param({"timezone": "UTC", "assume": NEW_YORK}, "2013-01-01", id="assumed-new-york"),
        pytest.param({"assume": NEW_YORK}, "2013-01-01", id="assumed-without-a-zone"),
    ],
)
def test_naive_times(values, options, key):
    """Times without a zone are on the clock that counts, unless ``assume`` names another."""
    assert keys(values, part="date", **options) == [key]


def test_naive_times_around_clock_changes():
    """A skipped time moves forward to the next that exists; a repeated one is the first."""
    values = S(["2013-03-10T02:30:00", "2013-11-03T01:30:00"])

    assert keys(values, part="hour", timezone="UTC", assume=NEW_YORK) == ["7", "5"]


def test_naive_and_aware_text_in_one_column():
    """Each text is read by what it says itself."""
    values = S(["2013-01-01T04:59:59Z", "2013-01-01T04:59:59", "2013-01-01T05:00:00"])

    assert keys(values, part="date", timezone=NEW_YORK, assume="UTC") == [EVE, EVE, NEW_YEAR]


def test_an_offset_counts_over_what_is_assumed():
    """``assume`` is for times that carry no zone, also where an offset is written short."""
    values = S(["2013-01-01T04:59:59+00:00", "2013-01-01 04:59:59+00"])

    assert keys(values, part="date", timezone=NEW_YORK, assume="Asia/Tokyo") == [EVE, EVE]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S(["2013-01-01T00:30:00-05:00", "2013-01-01T05:30:00Z"]), id="text"),
        pytest.param(S(["2013-01-01T00:30:00-05", "2013-01-01T05:30:00+00"]), id="text-with-a-short-offset"),
        pytest.param(
            S([pd.Timestamp("2013-01-01T00:30:00-05:00"), pd.Timestamp("2013-01-01T05:30Z")], dtype=object),
            id="object-timestamps",
        ),
    ],
)
def test_without_a_zone_each_time_has_its_own_clock(values):
    """With ``timezone: null`` the time as written counts: one instant on two clocks gives two keys."""
    assert keys(values, part="hour") == ["0", "5"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S(["2013-01-01", None]), id="text"),
        pytest.param(S(["2013-01-01", np.nan], dtype=object), id="object"),
        pytest.param(S(["2013-01-01", "NaT"]), id="text-NaT"),
        pytest.param(S(["2013-01-01", ""]), id="empty-text"),
        pytest.param(S(["2013-01-01", None], dtype="string"), id="string"),
        pytest.param(S(["2013-01-01", None], dtype="category"), id="category"),
        pytest.param(S([pd.Timestamp("2013-01-01"), pd.NaT]), id="datetime64"),
        pytest.param(S([pd.Timestamp("2013-01-01", tz="UTC"), pd.NaT]), id="datetime64-utc"),
        pytest.param(S([dt.date(2013, 1, 1), None]), id="dates"),
    ],
)
@pytest.mark.parametrize(
    ("part", "key"), [("weekday", "1"), ("week", "1"), ("day_name", "Tuesday"), ("date", NEW_YEAR)]
)
def test_missing_times(values, part, key):
    """A missing time has no key, and changes no other row's."""
    assert keys(values, part=part) == [key, None]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([None, None], dtype=object), id="object"),
        pytest.param(S([np.nan, np.nan]), id="float64"),
        pytest.param(S([pd.NaT, pd.NaT]), id="datetime64"),
        pytest.param(S([None, None], dtype="Int64"), id="Int64"),
        pytest.param(S([None, None], dtype="category"), id="category"),
    ],
)
def test_all_times_missing(values):
    """A column without any time has no type to refuse."""
    assert keys(values) == [None, None]


@pytest.mark.parametrize("dtype", ["object", "float64", "int64", "str", "M8[ns]", "M8[ns, UTC]", "category"])
def test_no_rows(dtype):
    """An empty batch has no keys."""
    assert keys(S([], dtype=dtype), timezone=NEW_YORK) == []


def test_equal_times_in_many_rows():
    """Each row has its key, in the order of the rows, however often a time repeats."""
    values = S(["2013-01-02", "2013-01-01", "2013-01-02", None, "2013-01-01"])

    assert keys(values) == ["2", "1", "2", None, "1"]


TEXT_HINT = "\n  Send datetimes, or text such as 2013-01-01T10:00:00Z."


@pytest.mark.parametrize(
    "value",
    ["s3cr3t", "01/02/2013", "2013-13-01", "2013-02-30", "10:00", "1356998400", "now", "today", "2013-01-01T25:00"],
)
def test_text_that_is_no_timestamp(value):
    """Text that is not ISO 8601 is refused without showing it, and words that depend on the day are not read."""
    with pytest.raises(BadInputError) as caught:
        keys(S(["2013-01-01", value]))

    assert str(caught.value) == (
        f"column 'ts' cannot be read as timestamps: it holds text that is no ISO 8601 timestamp.{TEXT_HINT}"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param(S([20130101, 20130102]), "int64", id="integers"),
        pytest.param(S([1356998400.0]), "float64", id="floats"),
        pytest.param(S([20130101, None], dtype="Int64"), "Int64", id="nullable"),
        pytest.param(S([True]), "bool", id="bools"),
    ],
)
def test_numbers(values, kind):
    """Numbers are refused: whether they are days, seconds or milliseconds is a guess."""
    with pytest.raises(BadInputError) as caught:
        keys(values)

    assert str(caught.value) == f"column 'ts' cannot be read as timestamps: it is {kind}.{TEXT_HINT}"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(S([20130101, None], dtype=object), id="object"),
        pytest.param(S([20130101, "2013-01-01"], dtype=object), id="among-text"),
        pytest.param(S([20130101], dtype="category"), id="category"),
        pytest.param(S([2013.0, None], dtype=object), id="object-floats"),
        pytest.param(S([True, None], dtype=object), id="object-bools"),
    ],
)
def test_numbers_in_other_columns(values):
    """A number is no timestamp in a column of objects or a category either."""
    with pytest.raises(BadInputError, match=r"^column 'ts' cannot be read as timestamps: "):
        keys(values)


@pytest.mark.parametrize("option", ["timezone", "assume"])
def test_an_unknown_time_zone(option):
    """A zone is checked when the config is, not when the first row comes."""
    with pytest.raises(ValidationError, match="no time zone named 'Mars/Base'; write it as in 'America/New_York'"):
        TypeAdapter(DatepartConf).validate_python({"column": "ts", option: "Mars/Base"})


def test_an_unknown_part():
    """Only parts that exist can be chosen."""
    with pytest.raises(ValidationError, match="part"):
        TypeAdapter(DatepartConf).validate_python({"column": "ts", "part": "fortnight"})


def test_inputs():
    """The strategy says which column it reads, and as what."""
    inputs = DatepartStrategy(DatepartConf("ts")).inputs()

    assert (dict(inputs.columns), inputs.params) == ({"ts": "datetime"}, ())


def test_a_column_that_was_not_sent():
    """The missing column is named."""
    batch = FrameBatch(pd.DataFrame({"time": ["2013-01-01"]}))

    with pytest.raises(BadInputError, match=r"^column 'ts' is missing"):
        DatepartStrategy(DatepartConf("ts")).route_keys(batch, {})


PARTS = {
    "date": lambda time: time.strftime("%Y-%m-%d"),
    "hour": lambda time: str(time.hour),
    "weekday": lambda time: str(time.weekday()),
    "week": lambda time: str(time.isocalendar().week),
}
INSTANTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2037, 12, 31), timezones=st.just(dt.UTC))  # noqa: DTZ001


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(INSTANTS, min_size=1, max_size=5),
    zone=st.sampled_from([NEW_YORK, "Europe/Berlin", "Asia/Kolkata", "Pacific/Apia", "UTC"]),
    part=st.sampled_from(sorted(PARTS)),
    form=st.sampled_from(["text", "datetime64", "objects"]),
)
def test_like_the_standard_library(times, zone, part, form):
    """Any instant, in any zone and form, has the part that Python's own datetime shows."""
    values = {
        "text": lambda: S([time.isoformat() for time in times]),
        "datetime64": lambda: S(pd.to_datetime(times, utc=True)),
        "objects": lambda: S(times, dtype=object),
    }[form]()

    assert keys(values, part=part, timezone=zone) == [PARTS[part](time.astimezone(ZoneInfo(zone))) for time in times]


# -- how offsets are written -----------------------------------------------------------------------------------------

OFFSETS = [
    pytest.param("2013-01-01T23:00:00+05", "18", "23", id="hours"),
    pytest.param("2013-01-01T23:00:00+0500", "18", "23", id="four-digits"),
    pytest.param("2013-01-01T23:00:00+05:00", "18", "23", id="colon"),
    pytest.param("2013-01-01 23:00:00 +05", "18", "23", id="blank-hours"),
    pytest.param("2013-01-01 23:00:00 +0500", "18", "23", id="blank-four-digits"),
    pytest.param("2013-01-01 23:00:00 +05:00", "18", "23", id="blank-colon"),
    pytest.param("2013-01-01T23:00:00+05:30", "17", "23", id="half-an-hour"),
    pytest.param("2013-01-01T23:00:00-0530", "4", "23", id="west"),
    pytest.param("2013-01-01T23:00:00Z", "23", "23", id="Z"),
    pytest.param("2013-01-01 23:00:00 Z", "23", "23", id="blank-Z"),
    pytest.param("20130101T230000+05", "18", "23", id="basic-hours"),
    pytest.param("20130101T230000+0500", "18", "23", id="basic-four-digits"),
    pytest.param("20130101T230000Z", "23", "23", id="basic-Z"),
    pytest.param("2013-01-01 23:00:00.123456+00", "23", "23", id="postgres"),
    pytest.param("2013-01-01 23:00:00.123456+05:30", "17", "23", id="postgres-half-an-hour"),
    pytest.param("2013-01-01T23:00+05", "18", "23", id="without-seconds"),
    pytest.param("2013-01-01T23:00:00", "23", "23", id="none"),
]


@pytest.mark.parametrize(("text", "utc", "own"), OFFSETS)
@pytest.mark.parametrize("dtype", ["str", "object", "category"])
def test_offsets(text, utc, own, dtype):
    """On UTC's clock, and on the time's own: alone, and beside a time with another offset and one with none."""
    values = S([text, "2013-01-01T10:30:00+01:00", "2013-01-01T09:30:00"], dtype=dtype)

    assert keys(values, part="hour", timezone="UTC") == [utc, "9", "9"]
    assert keys(values, part="hour") == [own, "10", "9"]
    assert keys(values.iloc[:1], part="hour", timezone="UTC") == [utc]
    assert keys(values.iloc[:1], part="hour") == [own]


@pytest.mark.parametrize(
    "text",
    [
        "2013-01-01T23:00:00+5:00",
        "2013-01-01T23:00:00 +5:00",
        "2013-01-01T23:00:00+5",
        "2013-01-01T23:00:00+050",
        "2013-01-01T23:00:00+05:0",
        "2013-01-01T23:00:00 UTC+5",
        "2013-01-01T23:00:00 CET",
    ],
)
@pytest.mark.parametrize("timezone", [None, "UTC", NEW_YORK])
@pytest.mark.parametrize("others", [[], ["2013-01-01T10:30:00+01:00"], ["2013-01-01T10:30:00"]], ids=len)
def test_offsets_that_are_none(text, timezone, others):
    """An offset that ISO 8601 has no such form for is refused: it is never left out, whatever is beside it."""
    with pytest.raises(BadInputError, match=r"^column 'ts' cannot be read as timestamps: it holds "):
        keys(S([text, *others]), part="hour", timezone=timezone)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        pytest.param(["9999-12-31T23:59:59-05:00"], {"timezone": NEW_YORK}, id="text"),
        pytest.param(["9999-12-31T23:59:59"], {"timezone": "UTC", "assume": NEW_YORK}, id="assumed"),
        pytest.param(
            pd.Series(["9999-12-31T23:59:59"]).astype("M8[s]"), {"timezone": "UTC", "assume": NEW_YORK}, id="times"
        ),
        pytest.param(
            [dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-5)))],
            {"timezone": NEW_YORK},
            id="objects",
        ),
    ],
)
def test_the_end_of_time(values, options):
    """A day that stands for no end, and is in the year 10000 on another clock, is bad input and no failure of ours."""
    with pytest.raises(BadInputError, match=r"^column 'ts' cannot be read as timestamps: it holds "):
        keys(S(values), part="hour", **options)


# -- columns of other types ------------------------------------------------------------------------------------------


def arrow(cells: list, kind: pa.DataType) -> pd.Series:
    return pd.Series(pd.array(cells, dtype=pd.ArrowDtype(kind)))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        pytest.param(arrow([[1], None], pa.list_(pa.int64())), "it holds lists or objects", id="lists"),
        pytest.param(arrow([{"a": 1}, None], pa.struct({"a": pa.int64()})), "it holds lists or objects", id="objects"),
        pytest.param(arrow([True, None], pa.bool_()), "it is bool", id="booleans"),
        pytest.param(arrow([dt.timedelta(1), None], pa.duration("us")), "it is duration", id="durations"),
        pytest.param(S(["\ud800", None], dtype=object), "text that is no Unicode", id="half-a-character"),
        pytest.param(S([b"\xff", None], dtype=object), "it holds bytes values", id="bytes"),
        pytest.param(S([b"\xff", None], dtype="category"), "it holds bytes values", id="category-bytes"),
        pytest.param(arrow([b"\xff", None], pa.binary()), "it holds bytes values", id="binary"),
        pytest.param(S([10**5000, None], dtype=object), "it holds int values", id="endless"),
        pytest.param(S([10**5000, None], dtype="category"), "it holds int values", id="category-endless"),
        pytest.param(S([("a",), None], dtype="category"), "it holds tuple values", id="category-tuples"),
        pytest.param(S([pd.Interval(1, 2), None], dtype="category"), "it holds Interval values", id="intervals"),
    ],
)
def test_a_column_without_times_is_named(values, what):
    """Alone as in a batch; a row without a value has no key, whatever type its column has."""
    for rows in (values, values[:1]):
        with pytest.raises(BadInputError, match=what):
            keys(rows)
    if values.dtype.kind in "bm":
        assert keys(values[1:]) == [None]
