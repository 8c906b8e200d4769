"""Keys from the first rule that holds."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import errors
from mmeframe.builtin.rules import MAX_DEPTH, RulesConf, RulesStrategy
from mmeframe.errors import BadInputError
from mmeframe.rows.keys import canonical, csv_form
from mmeframe.testing import bound, keys_of
from tests.builtin.options import made, problems

Condition = dict[str, Any]


def when(name: str, value: Any = None, column: str = "x") -> Condition:
    """A comparison of one column."""
    condition = {"column": column, "operator": name, "value": value}
    return {k: v for k, v in condition.items() if k != "value" or name not in ("is_missing", "not_missing")}


def holds(condition: Condition, values: Any, **columns: Any) -> list[bool]:
    """For which rows of a column ``x`` a condition holds."""
    strategy = RulesStrategy(RulesConf([{"key": "yes", "when": condition}], otherwise="no"))
    return [key == "yes" for key in keys_of(bound(strategy), pd.DataFrame({"x": values, **columns}))]


OBJECTS = np.array([7, 7.0, "7", True, None, "7.0"], object)


@pytest.mark.parametrize(
    ("name", "value", "values", "expected"),
    [
        ("==", 7, [7, 8], [1, 0]),
        ("==", 7, [7.0, np.nan], [1, 0]),
        ("==", 7, ["7", "07"], [1, 0]),
        ("==", "7", [7, 8], [1, 0]),
        ("==", 7.0, OBJECTS, [1, 1, 1, 0, 0, 0]),
        ("==", "7.0", ["7", True, None, "7.0"], [0, 0, 0, 1]),
        ("==", 0, [-0.0, 0.0], [1, 1]),
        ("==", -0.0, [0, 1], [1, 0]),
        ("==", 0.1, [0.1, 0.2], [1, 0]),
        ("==", "True", [True, False], [1, 0]),
        ("==", "", ["", "a"], [1, 0]),
        ("==", "2013-01-01T00:00:00", pd.to_datetime(["2013-01-01", None]), [1, 0]),
        ("==", 2**63, np.array([2**63, 1], "uint64"), [1, 0]),
        ("==", "07", ["7", "07"], [0, 1]),
        ("in", ["07", 7], [7, 8], [1, 0]),
        ("==", "nan", [np.nan, 1.0], [0, 0]),
        ("==", "inf", [np.inf, 1.0], [1, 0]),
        ("==", -1, np.array([255, 0], "uint8"), [0, 0]),
        ("==", 256, np.array([0, 1], "uint8"), [0, 0]),
        ("==", 2**53 + 1, [2**53, 2**53 + 1], [0, 1]),
        ("==", 0.5, np.array([0.5, 0.1], "float32"), [1, 0]),
        ("==", 0.1, np.array([0.1, 1], "float32"), [0, 0]),
        ("==", 1, [True, False], [0, 0]),
        ("==", 1, [1e22, 1.0], [0, 1]),
        ("!=", 7, [7, 8], [0, 1]),
        ("!=", 7, [np.nan, 8], [0, 1]),
        ("in", [7, "a"], ["7", "b"], [1, 0]),
        ("in", [7, "a"], [7, 9], [1, 0]),
        ("not_in", [7, "a"], ["7", "b"], [0, 1]),
        ("not_in", [7], [np.nan, 1], [0, 1]),
        ("<", 5, [4.9, 5], [1, 0]),
        ("<=", 5, [5, 5.1], [1, 0]),
        (">", 5, [math.inf, -math.inf], [1, 0]),
        (">=", 5, [5, 4], [1, 0]),
        (">=", 0, [-0.0, -1], [1, 0]),
        ("<", 5, [np.nan, 1], [0, 1]),
        (">=", 5, [np.nan, 1], [0, 0]),
        ("<", 5.5, pd.array([5, None], dtype="Int64"), [1, 0]),
        ("<", 5, pd.Categorical([4, 6]), [1, 0]),
        ("<", "m", ["a", "z"], [1, 0]),
        ("<=", "m", ["m", "ma"], [1, 0]),
        (">", "B", ["a", "A"], [1, 0]),
        (">", "10", ["9", "1"], [1, 0]),
        (">", "a", ["b", None], [1, 0]),
        ("contains", "an", ["banana", "apple"], [1, 0]),
        ("contains", ".", ["a.b", "ab"], [1, 0]),
        ("contains", "a", [None, "a"], [0, 1]),
        ("starts_with", "N", ["N14228", "xN"], [1, 0]),
        ("ends_with", "ß", ["Spaß", "ßx"], [1, 0]),
        ("contains", "a", pd.Categorical(["a", "b"]), [1, 0]),
        ("contains", "a", pd.array(["a", None], dtype="string"), [1, 0]),
        ("contains", "a", pd.array(["a", None], dtype="string[pyarrow]"), [1, 0]),
        ("is_missing", None, [np.nan, 1], [1, 0]),
        ("is_missing", None, [None, ""], [1, 0]),
        ("is_missing", None, pd.to_datetime([None, "2013-01-01"]), [1, 0]),
        ("is_missing", None, pd.array([None, 1], dtype="Int64"), [1, 0]),
        ("is_missing", None, pd.Categorical([None, "a"]), [1, 0]),
        ("is_missing", None, pd.Series([[1], None]), [0, 1]),
        ("not_missing", None, [np.nan, 1], [0, 1]),
    ],
)
def test_comparisons(name, value, values, expected):
    """What each operator says of values in every form; a missing value compares with nothing."""
    assert holds(when(name, value), values) == list(map(bool, expected))


NEW_YEAR = ["2012-12-31T23:59:59", "2013-01-01T00:00:00"]


@pytest.mark.parametrize(
    ("name", "value", "values", "expected"),
    [
        pytest.param(">=", "2013-01-01", pd.to_datetime(NEW_YEAR), [0, 1], id="datetimes"),
        pytest.param(">=", "2013-01-01", NEW_YEAR, [0, 1], id="text"),
        pytest.param(">=", "2013-01-01 00:00", NEW_YEAR, [0, 1], id="with-a-space"),
        pytest.param("<", "2013-01-01", [*NEW_YEAR[:1], None], [1, 0], id="missing"),
        pytest.param("<", "2013-01-01", pd.to_datetime([*NEW_YEAR[:1], None]), [1, 0], id="NaT"),
        pytest.param(">=", "2013-01-01", pd.Categorical(NEW_YEAR), [0, 1], id="category"),
        pytest.param(
            ">=", "2013-01-01", pd.to_datetime(NEW_YEAR).tz_localize("Asia/Tokyo"), [0, 1], id="own-clock-of-a-zone"
        ),
        pytest.param(">=", "2013-01-01", [f"{time}+09:00" for time in NEW_YEAR], [0, 1], id="own-clock-as-written"),
        pytest.param(
            ">=", "2013-01-01T00:00Z", pd.to_datetime(NEW_YEAR).tz_localize("America/New_York"), [1, 1], id="a-moment"
        ),
        pytest.param(
            "<", "2013-01-01T00:00+00:00", [f"{time}+09:00" for time in NEW_YEAR], [1, 1], id="a-moment-in-text"
        ),
        pytest.param(
            ">=", "2013-01-01T01:00:00+01:00", NEW_YEAR, [0, 1], id="times-without-an-offset-are-UTC-to-a-moment"
        ),
        pytest.param(
            ">",
            "2013-01-01",
            pd.to_datetime(["2013-01-01T00:00:00.000000001", "2013-01-01"], format="ISO8601"),
            [1, 0],
            id="ns",
        ),
    ],
)
def test_timestamps(name, value, values, expected):
    """A text that begins as a date makes the comparison one of times, in whatever form they come."""
    assert holds(when(name, value), values) == list(map(bool, expected))


ODD = [7, 7.0, -0.0, 0, 1.5, 10**22, 2**53, 2**53 + 1, "7", "07", "7.0", "nan", "inf", "-inf", "1e22", "a", ""]
ARRAYS = [
    np.array([7, 0, -3, 2**53, 2**53 + 1, 2**63 - 1]),
    np.array([7, 0, 2**63, 2**64 - 1], "uint64"),
    np.array([7, 0, 255], "uint8"),
    np.array([7.0, -0.0, 1.5, 0.1, 1e22, 2.0**53, math.nan, math.inf, -math.inf]),
    np.array([7.0, 0.1, 1.5, math.nan, math.inf], "float32"),
    np.array([7.0, 0.1, math.nan], "float16"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
@settings(max_examples=60, deadline=None)
@given(
    value=st.one_of(st.sampled_from([it for it in ODD if not isinstance(it, int) or it <= 2**64]), st.integers(-9, 300))
)
def test_equal_keys_of_numbers(array, value):
    """Columns of numbers, which never become text, say what the text of each of their numbers says.

    A float that may be the rounded whole number of the rule is neither equal nor different; and a number that a CSV
    reader may have made of the rule's text is refused.
    """
    if csv_form(str(canonical(value, exact=False))) in {canonical(one, exact=False) for one in array} - {None}:
        with pytest.raises(BadInputError, match="compared with text, and has numbers or booleans"):
            holds(when("==", value), array)
        return
    same = [canonical(one, exact=False) == canonical(value) for one in array]
    missing = [canonical(one, exact=False) is None for one in array]

    if array.dtype == np.float64 and str(value) in ("9007199254740992", "9007199254740993"):
        with pytest.raises(BadInputError, match="compared with a whole number"):
            holds(when("==", value), array)
        return
    assert holds(when("==", value), array) == same
    assert holds(when("not_in", [value]), array) == [not (one or lost) for one, lost in zip(same, missing, strict=True)]


@pytest.mark.parametrize("name", ["==", "!=", "in", "not_in"])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("007", [7, 8], id="leading-zeros"),
        pytest.param("007", pd.array([None, 7], dtype="Int64"), id="nullable"),
        pytest.param("007", pd.Categorical([7, 8]), id="category"),
        pytest.param("1e3", [1000.0, 8.0], id="exponent"),
        pytest.param("TRUE", [True, False], id="boolean"),
        pytest.param("7.0", OBJECTS, id="objects"),
    ],
)
def test_a_column_that_a_csv_reader_changed(name, text, values):
    """It was text in the file, and no rule would hold: refused, as a key of that text is."""
    condition = when(name, [text, "a"] if "in" in name else text)
    for rows in (values, values[:2]):
        with pytest.raises(BadInputError, match="compared with text, and has numbers or booleans"):
            holds(condition, rows)
    assert holds(condition, ["a"]) == [name in ("in", "!=")]


A, B = when("==", "a"), when("==", "b")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"all": [A]}, "a"),
        ({"all": [A, B]}, ""),
        ({"any": [A, B]}, "ab"),
        ({"not": A}, "bc-"),
        ({"not": {"any": [A, B]}}, "c-"),
        ({"not": {"not": A}}, "a"),
        ({"all": [{"not": A}, when("not_missing")]}, "bc"),
        ({"not": when("!=", "a")}, "a-"),
        ({"any": [{"all": [A, {"not": B}]}, when("is_missing")]}, "a-"),
    ],
)
def test_joins(condition, expected):
    """``all``, ``any`` and ``not``, in one another; what does not hold of a missing value holds with ``not``."""
    assert holds(condition, ["a", "b", "c", None]) == [letter in expected for letter in "abc-"]


def test_the_first_rule_wins():
    """Rules are tried in their order; keys may stand in several; what is left has the key ``otherwise``."""
    rules = [
        {"key": "far", "when": when(">", 1000)},
        {"key": 7, "when": when(">", 500)},
        {"key": "far", "when": when("==", 3)},
        {"key": "never", "when": when(">", 2000)},
    ]
    strategy = bound(RulesStrategy(RulesConf(rules, otherwise="near")))

    assert keys_of(strategy, pd.DataFrame({"x": [3000, 600, 3, 1, np.nan]})) == ["far", "7", "far", "near", "near"]
    assert [*strategy.keys()] == ["far", 7, "far", "never", "near"]


def test_without_otherwise():
    """A row for which no rule holds has no key; 0 is a key."""
    rules = [{"key": 0, "when": when(">", 5)}]

    assert keys_of(bound(RulesStrategy(RulesConf(rules))), pd.DataFrame({"x": [9, 1]})) == ["0", None]
    assert keys_of(bound(RulesStrategy(RulesConf(rules, otherwise=0))), pd.DataFrame({"x": [9, 1]})) == ["0", "0"]


def test_a_number_and_its_text_are_one_key():
    """Keys 7 and "7" are one category."""
    rules = [{"key": 7, "when": when("==", 1)}, {"key": "7", "when": when("==", 2)}]
    raw = bound(RulesStrategy(RulesConf(rules))).route_keys(_Batch(x=[1, 2]), {})

    assert (list(raw), list(raw.categories)) == (["7", "7"], ["7"])


class _Batch:
    """Counts how often a column is read."""

    def __init__(self, **columns: Any) -> None:
        self.data = {name: np.array(values) for name, values in columns.items()}
        self.reads = 0

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def column(self, name: str) -> Any:
        self.reads += 1
        return self.data[name]


def test_each_column_is_read_once():
    """Many rules over one column cost one look at it."""
    rules = [{"key": number, "when": when("==", number)} for number in range(50)]
    batch = _Batch(x=[1, 2, 49])

    raw = bound(RulesStrategy(RulesConf(rules))).route_keys(batch, {})

    assert (list(raw), batch.reads) == (["1", "2", "49"], 1)


def test_inputs():
    """A column is a number, text or a time by what it is compared with; equality takes anything."""
    condition = {
        "all": [
            when("==", 7, "any"),
            when("in", ["a"], "any"),
            when("is_missing", column="any"),
            when(">", 7, "number"),
            when("==", 7, "number"),
            {"not": when("contains", "a", "text")},
            {"any": [when("<", "m", "order"), when("<", "2013-01-01", "time")]},
        ]
    }
    inputs = RulesStrategy(RulesConf([{"key": "k", "when": condition}])).inputs()

    assert dict(inputs.columns) == {
        "any": "any",
        "number": "double",
        "text": "string",
        "order": "string",
        "time": "datetime",
    }


@pytest.mark.parametrize(
    ("condition", "values", "what"),
    [
        pytest.param(when("<", 5), ["s3cr3t"], "column 'x' must be double: it ", id="number"),
        pytest.param(when("contains", "a"), [5], "column 'x' cannot be read as text: it is int64.", id="text"),
        pytest.param(when("<", "m"), [5], "column 'x' cannot be read as text: it is int64.", id="order"),
        pytest.param(
            when("<", "2013-01-01"),
            ["s3cr3t"],
            "column 'x' cannot be read as timestamps: it holds text that is no ISO 8601 timestamp.",
            id="time",
        ),
        pytest.param(when("==", "a"), pd.Series([["s3cr3t"]]), "a routing key must be one value, not list.", id="list"),
        pytest.param(when("==", "a", "y"), [1], "column 'y' is missing.", id="column"),
    ],
)
def test_bad_rows(condition, values, what):
    """A column that cannot be compared so is refused, without showing its values."""
    with pytest.raises(BadInputError) as caught:
        holds(condition, values)

    assert caught.value.what.startswith(what)
    assert f"column {condition['column']!r}" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


AT = "at.rules[0].when"
KNOWN = "!=, <, <=, ==, >, >=, contains, ends_with, in, is_missing, not_in, not_missing, starts_with."
BOOL = "YAML read this as bool True; quote it: 'True' is the key of true."


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        pytest.param(
            when("contain", "a"),
            f"{AT}.operator: there is no operator 'contain'. Did you mean 'contains'? Known: {KNOWN}",
            id="operator",
        ),
        pytest.param(
            {"all": [A, {"any": [B, when("=", 1)]}]},
            f"{AT}.all[1].any[1].operator: there is no operator '='. Did you mean '=='? Known: {KNOWN}",
            id="nested",
        ),
        pytest.param(
            when("__class__", 1), f"{AT}.operator: there is no operator '__class__'. Known: {KNOWN}", id="dunder"
        ),
        pytest.param(
            {"not": when("{what}", 1)},
            f"{AT}.not.operator: there is no operator '{{what}}'. Known: {KNOWN}",
            id="braces",
        ),
        pytest.param(when(5, 1), f"{AT}.operator: an operator is text. Known: {KNOWN}", id="operator-5"),
        pytest.param(when("==", None), f"{AT}.value: nothing compares with null; use ", id="null"),
        pytest.param(when("==", True), f"{AT}.value: {BOOL}", id="bool"),
        pytest.param(when("<", True), f"{AT}.value: {BOOL}", id="bool-order"),
        pytest.param(when("in", ["a", True]), f"{AT}.value[1]: {BOOL}", id="bool-in"),
        pytest.param(when("in", "a"), f"{AT}.value: 'in' needs a list of at least one value.", id="in-text"),
        pytest.param(when("in", []), f"{AT}.value: 'in' needs a list of at least one value.", id="in-nothing"),
        pytest.param(when("==", [1]), f"{AT}.value: a value is text or a number, and this is list.", id="list"),
        pytest.param(when("<", math.nan), f"{AT}.value: a number is finite; ", id="nan"),
        pytest.param(when("<", 10**400), f"{AT}.value: this number is too large.", id="huge"),
        pytest.param(when("contains", 7), f"{AT}.value: 'contains' needs text: quote it.", id="contains-7"),
        pytest.param(when("contains", ""), f"{AT}.value: 'contains' needs text.", id="contains-nothing"),
        pytest.param(when("<", "2013-02-30"), f"{AT}.value: '2013-02-30' begins as a date and is no ", id="date"),
        pytest.param(
            {"column": "x", "operator": "is_missing", "value": 1},
            f"{AT}.value: there is no 'value' here. Known: column, operator.",
            id="value-of-is_missing",
        ),
        pytest.param({"column": "x", "operator": "<"}, f"{AT}.value: this is required.", id="no-value"),
        pytest.param(
            {"colum": "x", "operator": "<", "value": 1},
            f"{AT}.colum: there is no 'colum' here. Did you mean 'column'? Known: column, operator, value.",
            id="misspelt",
        ),
        pytest.param(
            {"column": 5, "operator": "<", "value": 1}, f"{AT}.column: a column is named by text.", id="column"
        ),
        pytest.param({"alll": [A]}, f"{AT}: this is no condition: ", id="join"),
        pytest.param({}, f"{AT}: this is no condition: ", id="nothing"),
        pytest.param("x > 5", f"{AT}: this must be a map of column, operator, value.", id="an-expression"),
        pytest.param({"all": []}, f"{AT}.all: this must be a list of at least one condition.", id="all-nothing"),
        pytest.param({"any": A}, f"{AT}.any: this must be a list of at least one condition.", id="any-map"),
        pytest.param({"all": [A], "not": B}, f"{AT}: 'all' must be the only name; ", id="two-joins"),
        pytest.param({**A, "not": B}, f"{AT}: 'not' must be the only name; ", id="join-beside-a-column"),
        pytest.param(
            {"all": [when("<", 1), {"not": when(">", "m")}]},
            f"{AT}.all[1].not: column 'x' is compared as text here, as a number in rules[0].when.all[0].",
            id="number-and-text",
        ),
        pytest.param(
            {"all": [when("<", "2013-01-01"), when("contains", "2013")]},
            f"{AT}.all[1]: column 'x' is compared as text here, as a timestamp in rules[0].when.all[0].",
            id="time-and-text",
        ),
    ],
)
def test_wrong_conditions(condition, found):
    """Each mistake is told at its own path, however deep it stands."""
    (told,) = problems("routing strategy", kind="rules", rules=[{"key": "k", "when": condition}])

    assert told.startswith(found)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param({}, ["at.rules: there are no rules; write them as in [{key: far, "], id="none"),
        pytest.param({"rules": {"a": A}}, ["at.rules: input should be a list."], id="map"),
        pytest.param({"rules": [5]}, ["at.rules[0]: this must be a map of key, when."], id="no-rule"),
        pytest.param({"rules": [{"key": "k"}]}, ["at.rules[0].when: this is required."], id="no-when"),
        pytest.param({"rules": [{"when": A}]}, ["at.rules[0].key: this is required."], id="no-key"),
        pytest.param(
            {"rules": [{"key": "k", "wen": A}]},
            ["at.rules[0].wen: there is no 'wen' here. Did you mean 'when'? Known: key, when."],
            id="misspelt",
        ),
        pytest.param(
            {"rules": [{"key": True, "when": A}]},
            ["at.rules[0].key: YAML read this as bool True; quote it."],
            id="key-bool",
        ),
        pytest.param(
            {"rules": [{"key": 1.5, "when": A}]},
            ["at.rules[0].key: YAML read this as float 1.5; quote it."],
            id="key-float",
        ),
        pytest.param({"rules": [{"key": None, "when": A}]}, ["at.rules[0].key: a key is text or "], id="key-null"),
        pytest.param({"rules": [{"key": "", "when": A}]}, ["at.rules[0].key: a key is text or "], id="key-empty"),
        pytest.param(
            {"rules": [{"key": "k", "when": A}], "otherwise": False},
            [f"at.otherwise: input should be a valid string.\n  YAML read this as bool False; {errors.QUOTE}."],
            id="otherwise",
        ),
        pytest.param(
            {"rules": [{"key": None, "when": when("=", 1)}, {"key": "k", "when": {"all": [when("<", None), 5]}}]},
            [
                "at.rules[0].key: ",
                "at.rules[0].when.operator: ",
                "at.rules[1].when.all[0].value: ",
                "at.rules[1].when.all[1]",
            ],
            id="all-at-once",
        ),
        pytest.param(
            {
                "rules": [
                    {"key": "k", "when": when("<", 1)},
                    {"key": "k", "when": when("contains", "a")},
                ]
            },
            ["at.rules[1].when: column 'x' is compared as text here, as a number in rules[0].when."],
            id="number-and-text-in-two-rules",
        ),
    ],
)
def test_wrong_rules(options, found):
    """All that is wrong is one report."""
    told = sorted(problems("routing strategy", kind="rules", **options))

    assert len(told) == len(found)
    assert all(one.startswith(start) for one, start in zip(told, found, strict=True))


def nested(depth: int) -> Condition:
    condition = A
    for _ in range(depth - 1):
        condition = {"not": condition}
    return condition


def test_depth():
    """Conditions may stand in one another so deep and no deeper, and a bomb is refused at once."""
    assert holds(nested(MAX_DEPTH - 1), ["a", "b"]) == [True, False]
    for depth in (MAX_DEPTH + 1, 900):
        (told,) = problems("routing strategy", kind="rules", rules=[{"key": "k", "when": nested(depth)}])
        assert told.endswith("conditions are nested more than 20 deep.")


def test_made_from_a_bundle():
    """What the bundle records makes the same strategy."""
    rules = [{"key": 7, "when": {"all": [when("in", ["a", 1]), {"not": when("<", 5, "y")}]}}]
    strategy = made("routing strategy", kind="rules", rules=rules, otherwise="z")

    assert keys_of(bound(strategy), pd.DataFrame({"x": ["1", "a", "b"], "y": [5, 1, 9]})) == ["7", "z", "z"]


NUMBERS = [0, 1, -1, 2.5, -0.0, math.inf, math.nan, None]
TEXTS = ["", "a", "ab", "b", "1", "2013-01-01", None]
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def says(condition: Condition, row: dict[str, Any]) -> bool:
    """What a condition says of one row, written down a second time."""
    ((first, inner), *_) = condition.items()
    if first in ("all", "any"):
        return (all if first == "all" else any)(says(part, row) for part in inner)
    if first == "not":
        return not says(inner, row)
    value, name = row[condition["column"]], condition["operator"]
    missing = canonical(value) is None
    if name.endswith("missing"):
        return missing == (name == "is_missing")
    if missing:
        return False
    wanted = condition["value"]
    if name in ORDER:
        return bool(ORDER[name](value, wanted))
    if name in ("contains", "starts_with", "ends_with"):
        return {"contains": wanted in value, "starts_with": value.startswith(wanted)}.get(name, value.endswith(wanted))
    found = canonical(value) in [canonical(item) for item in (wanted if isinstance(wanted, list) else [wanted])]
    return found == (name in ("==", "in"))


ANY = st.sampled_from(["==", "!="])
LEAVES = st.one_of(
    st.builds(when, ANY, st.sampled_from([0, 1, "1", 2.5, "a"]), st.sampled_from(["n", "t"])),
    st.builds(when, st.sampled_from(["in", "not_in"]), st.just([1, "a", 2.5]), st.sampled_from(["n", "t"])),
    st.builds(when, st.sampled_from(sorted(ORDER)), st.sampled_from([0, 1, 2.5]), st.just("n")),
    st.builds(when, st.sampled_from(["contains", "starts_with", "<", ">="]), st.sampled_from(["a", "b"]), st.just("t")),
    st.builds(when, st.sampled_from(["is_missing", "not_missing"]), st.none(), st.sampled_from(["n", "t"])),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda how, parts: {how: parts}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    conditions=st.lists(CONDITIONS, min_size=1, max_size=3),
    rows=st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(TEXTS)), min_size=1, max_size=6),
    data=st.data(),
)
def test_like_a_loop(conditions, rows, data):
    """Any conditions say of all rows, in any order and cut, what they say of each row alone."""
    rules = [{"key": number, "when": condition} for number, condition in enumerate(conditions)]
    strategy = bound(RulesStrategy(RulesConf(rules)))
    expected = [
        next((str(at) for at, it in enumerate(conditions) if says(it, {"n": number, "t": text})), None)
        for number, text in rows
    ]
    frame = pd.DataFrame(
        {
            "n": pd.Series([number for number, _ in rows], dtype="float64"),
            "t": pd.Series([text for _, text in rows], dtype=object),
        }
    )
    order = data.draw(st.permutations(range(len(rows))))
    cut = data.draw(st.integers(0, len(rows)))

    assert keys_of(strategy, frame) == expected
    for piece in (order[:cut], order[cut:]):
        assert keys_of(strategy, frame.iloc[list(piece)]) == [expected[row] for row in piece]
