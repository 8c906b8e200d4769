"""Whole floats that may be rounded: no place where numbers become keys takes one for the number that it shows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmeframe.builtin.bins import BinsConf, BinsStrategy
from mmeframe.builtin.column import ColumnConf, ColumnStrategy
from mmeframe.builtin.hashed import HashConf, HashStrategy
from mmeframe.builtin.lookup import LookupConf, LookupStrategy
from mmeframe.builtin.manifest import ManifestConf, ManifestSource
from mmeframe.builtin.param import ParamConf, ParamStrategy
from mmeframe.builtin.rules import RulesConf, RulesStrategy
from mmeframe.errors import BadInputError, ConfigError, ProblemsError
from mmeframe.plugin import SourceContext
from mmeframe.rows.batch import as_batch
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.key_index import KeyIndex
from mmeframe.rows.keys import canonical
from mmeframe.sections import TrafficSpec
from mmeframe.spec import Column, SubModelEntry
from mmeframe.testing import bound, keys_of
from tests.builtin.options import problems
from tests.route.test_routing import Fleet, made, reached

BIG = 2**53
REFUSED = (
    "a routing key is a whole number sent as float64, which is exact only below 2**53.\n"
    "  Send it as text or as an integer. JSON, CSV and Spark turn whole numbers beside an empty cell into "
    "floats: send such a column as text."
)
# Bits of each width: whole numbers of fewer bits are exact.
BITS = {"float16": 11, "float32": 24, "float64": 53, "longdouble": np.finfo(np.longdouble).nmant + 1}


def objects(values: np.ndarray) -> np.ndarray:
    return np.fromiter(values, object, len(values))


# How floats of a width come: as an array, nullable, as Arrow's, as a category, sparse, one by one among objects.
FORMS = {
    **{width: (width, lambda values: values) for width in BITS},
    **{f"{width}-objects": (width, objects) for width in BITS},
    **{
        f"{width}-category": (width, lambda values: pd.Categorical(pd.Series(values)))
        for width in ("float32", "float64")
    },
    "Float32": ("float32", lambda values: pd.array(values, dtype="Float32")),
    "Float64": ("float64", lambda values: pd.array(values, dtype="Float64")),
    "halffloat[pyarrow]": ("float16", lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.float16()))),
    "float[pyarrow]": ("float32", lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.float32()))),
    "double[pyarrow]": ("float64", lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.float64()))),
    "sparse": ("float64", pd.arrays.SparseArray),
    "arrow": ("float32", pa.array),
    "list": ("float64", lambda values: values.tolist()),
}


def outcome(found: Any, *args: Any) -> Any:
    """What a call gives, ``refused`` for bad input."""
    try:
        return found(*args)
    except BadInputError:
        return "refused"


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_whole_float_is_a_key_where_its_width_is_exact(form, data):
    """Below the bound of its width it is the integer's key; from there on it is refused, in whatever it is packed."""
    width, packed = FORMS[form]
    bits = BITS[width]
    bound_, largest = 2**bits, 2**16 - 64 if width == "float16" else 2 ** (bits + 6)
    around = st.one_of(st.integers(-9, 9), st.integers(bound_ - 9, bound_ + 9), st.integers(-largest, largest))
    numbers = data.draw(st.lists(around, min_size=2, max_size=6))
    values = np.array(numbers, width)
    raw, index = packed(values), KeyIndex.of({str(number) for number in [*numbers, *map(int, values)]})

    codes = outcome(lambda: index.codes(raw, len(numbers)).tolist())
    texts = outcome(lambda: normalised(raw, len(numbers)).tolist())

    if any(abs(int(value)) >= bound_ for value in values):
        assert (codes, texts) == ("refused", "refused")
    else:
        assert (codes, texts) == ([index.code(str(number)) for number in numbers], list(map(str, numbers)))


@pytest.mark.parametrize("text", [False, True], ids=["whole", "mixed"])
def test_an_integer_and_a_text_are_exact_at_any_size(text):
    """Only floats round: 2**53 + 1 is its own key as an integer, a Decimal or text."""
    index = KeyIndex.of([str(BIG), str(BIG + 1), *(["a"] if text else [])])

    for value in (BIG + 1, str(BIG + 1), np.int64(BIG + 1), np.uint64(BIG + 1), Decimal(BIG + 1)):
        assert index[index.code(value)] == str(BIG + 1)
        assert index.codes(pd.Series([value] * 2).array, 2).tolist() == [index.code(str(BIG + 1))] * 2
    nullable = pd.array([BIG + 1, None], dtype="Int64")
    assert index.codes(nullable, 2).tolist() == [index.code(str(BIG + 1)), index.code(None)]


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=25, min_value=-(10**9), max_value=10**9)


@settings(max_examples=200, deadline=None)
@given(one=st.one_of(DECIMALS, st.decimals(allow_nan=False)), two=DECIMALS)
@example(one=Decimal("0.1"), two=Decimal("0.1000000000000000000000001"))
@example(one=Decimal("1E-999999"), two=Decimal(0))
@example(one=Decimal(BIG) + Decimal("0.5"), two=Decimal(BIG))
def test_decimals_that_differ_are_different_keys(one, two):
    """A decimal is no double: equal ones have one key however many zeros they end with, others do not."""
    assert (canonical(one) == canonical(two)) == (one == two)


@given(number=st.floats(-1e9, 1e9))
def test_a_decimal_as_a_double_is_written_is_its_key(number):
    """2.5 is one key in a column of decimals and in one of doubles."""
    assert canonical(Decimal(repr(number))) == canonical(number)


def test_a_category_that_no_row_has_is_not_refused():
    """A row is not refused for what other rows have, be they cut away."""
    whole = pd.Categorical([7.0, float(BIG)])
    index = KeyIndex.of(["7"])

    assert index.codes(whole[:1], 1).tolist() == [0]
    assert index.codes(whole[[0, 0]], 2).tolist() == [0, 0]
    assert normalised(whole[[0, 0]], 2).tolist() == ["7", "7"]
    with pytest.raises(BadInputError):
        index.codes(whole, 2)


# -- in a router -----------------------------------------------------------------------------------------------------

STORES = Fleet([["p"], []], [SubModelEntry("big", "", {"p": str(BIG)}), SubModelEntry("all", "", {})], parts=["p"])


def test_a_number_beside_a_null_reaches_no_other_numbers_sub_model():
    """2**53 + 1 beside a null is 2**53 to pandas: refused by name with the cure, and taken as text or whole numbers."""
    routing = made(STORES)

    with pytest.raises(BadInputError) as caught:
        reached(routing, pd.DataFrame([{"p": BIG + 1}, {"p": None}]))

    assert str(caught.value) == f"routing.keys.p: {REFUSED}"
    for cells in ([str(BIG + 1), None], pd.array([BIG + 1, None], dtype="Int64")):
        assert [id_ for id_, _, _ in reached(routing, pd.DataFrame({"p": cells}))] == ["all", "all"]


WIDTHS = ("float16", "float32", "float64", "int64", "Float32", "object")


@settings(max_examples=100, deadline=None)
@given(
    cells=st.lists(
        st.one_of(st.integers(0, 9000), st.integers(2**24 - 4, 2**24 + 4), st.integers(BIG - 4, BIG + 4)), max_size=4
    ),
    dtype=st.sampled_from(WIDTHS),
    beside=st.sampled_from(WIDTHS[:4]),
)
@example(cells=[4096], dtype="float16", beside="float64")
@example(cells=[2**24], dtype="float32", beside="float64")
@example(cells=[3000], dtype="int64", beside="float32")
def test_a_row_alone_is_refused_where_it_is_in_a_batch(cells, dtype, beside):
    """pandas hands one row over as floats of the widest column: it counts as what its own column is."""
    with np.errstate(over="ignore"):
        column = pd.Series(cells, dtype="float64" if dtype == "float16" else object).astype(dtype)
    frame = pd.DataFrame({"p": column, "x": np.zeros(len(cells), beside)})
    routing = made(STORES)

    whole = outcome(reached, routing, frame)
    alone = [outcome(reached, routing, frame.iloc[[row]]) for row in range(len(frame))]

    assert whole == ("refused" if "refused" in alone else [found[0] for found in alone])


@pytest.mark.parametrize("value", [float(BIG), np.float32(2**24), np.float16(2**11)], ids=["64", "32", "16"])
def test_a_parameter(value):
    """A parameter is a key like others."""
    routing = made(STORES, {"p": ParamStrategy(ParamConf("p"))})

    with pytest.raises(BadInputError, match=r"^parameter 'p': a routing key is a whole number sent as float"):
        routing.reach(as_batch([{"x": 1}]), {"p": value})
    assert reached(routing, pd.DataFrame({"x": [1]}), {"p": BIG})[0][0] == "big"


ARMS = [SubModelEntry("new", "", {}, arm="new"), SubModelEntry("all", "", {})]


@pytest.mark.parametrize(
    ("kind", "value", "refused"),
    [
        pytest.param(None, float(BIG), True, id="not-of-the-sub-models"),
        pytest.param("long", float(BIG), True, id="a-long-that-came-as-a-float"),
        pytest.param("long", BIG + 1, False, id="a-long"),
        pytest.param("double", 1e20, False, id="a-double"),
        pytest.param(None, str(BIG + 1), False, id="text"),
    ],
)
@pytest.mark.parametrize("more", [None, "null"], ids=["alone", "beside-a-null"])
def test_sticky_values(kind, value, refused, more):
    """Who is in an arm is not decided by a rounded id; a declared double is what it is, however large."""
    fleet = Fleet([[]], ARMS, TrafficSpec({"new": 0.5}, ("u",)), parts=[])
    routing = made(fleet, {}, [Column("u", kind)] if kind else [])
    cells = [value, None] if more else [value]
    frame = pd.DataFrame({"u": pd.Series(cells, dtype="float64" if isinstance(value, float) else object), "x": 1})

    if refused:
        with pytest.raises(BadInputError, match=r"^column 'u': a routing key is a whole number sent as float64"):
            reached(routing, frame)
    else:
        assert len(reached(routing, frame)) == len(cells)


def test_values_of_all_columns_are_not_refused():
    """Without ``traffic.sticky`` a row is in an arm by everything that it has: no number of it is anybody's name."""
    fleet = Fleet([[]], ARMS, TrafficSpec({"new": 0.5}), parts=[])

    found = reached(made(fleet, {}, [Column("x", "double")]), pd.DataFrame({"x": [1e20, 0.5]}))

    assert len(found) == 2


# -- in strategies and sources ---------------------------------------------------------------------------------------


def test_a_hash_of_a_rounded_id_is_refused():
    """Half of the customers is half of the ids that they have."""
    strategy = bound(HashStrategy(HashConf("id", {"a": 0.5, "b": 0.5})))

    with pytest.raises(BadInputError, match=r"^column 'id': a routing key is a whole number sent as float64"):
        keys_of(strategy, pd.DataFrame({"id": [float(BIG), 7.0]}))
    assert None not in keys_of(strategy, pd.DataFrame({"id": [BIG + 1, 7]}))


def test_a_table_with_rounded_keys_is_refused(tmp_path):
    """A look-up from a rounded key would answer for another one."""
    path = tmp_path / "stores.parquet"
    pd.DataFrame({"store": [float(BIG), None], "region": ["eu", "us"]}).to_parquet(path)

    with pytest.raises(ConfigError) as caught:
        LookupStrategy(LookupConf("store", table=str(path), to="region")).prepare()

    assert str(caught.value) == (
        "key: in the column 'store' a routing key is a whole number sent as float64, which is exact only below "
        "2**53.\n  Save it as text."
    )


@pytest.mark.parametrize(("dtype", "key"), [("float64", BIG), ("float32", 2**24)])
def test_a_manifest_with_rounded_keys_is_refused(tmp_path, dtype, key):
    """An empty cell makes floats of a manifest's keys; those that may be others are named by their rows."""
    path = tmp_path / "fleet.parquet"
    frame = pd.DataFrame({"id": ["a", "b", "c"], "uri": "u", "store": pd.Series([key, 7, None], dtype=dtype)})
    frame.to_parquet(path)
    source = ManifestSource(ManifestConf(path=str(path)))
    source.bind(SourceContext(name="fleet", parts=("store",)))

    with pytest.raises(ProblemsError, match=r"the key part 'store' cannot be a key: row 1 \(the float "):
        source.expand()

    frame.assign(store=frame["store"].where(frame.index > 0)).to_parquet(path)
    assert [dict(entry.key) for entry in source.expand()] == [{}, {"store": 7}, {}]


@pytest.mark.parametrize("dtype", ["int64", "Int64", "object", "decimal"])
@pytest.mark.parametrize("closed", ["left", "right"])
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(-9, 9), min_size=1, max_size=6), power=st.integers(53, 61))
def test_bins_move_no_whole_number_over_a_border(dtype, closed, steps, power):
    """A border is a double, a whole number beside it may be none: it is compared as it is."""
    border = 2**power
    values = [border + step for step in steps]
    column = [Decimal(value) for value in values] if dtype == "decimal" else pd.Series(values, dtype=dtype)
    strategy = BinsStrategy(BinsConf("x", {"low": [None, float(border)], "high": [float(border), None]}, closed))

    keys = keys_of(bound(strategy), pd.DataFrame({"x": column}))

    low = (lambda value: value < border) if closed == "left" else (lambda value: value <= border)
    assert keys == ["low" if low(value) else "high" for value in values]


def test_missing_numbers_among_large_ones():
    """What is missing stays so where the others are compared as whole numbers."""
    strategy = bound(BinsStrategy(BinsConf("x", {"low": [None, 1e16], "high": [1e16, None]})))
    column = pd.array([10**16 - 1, None, 10**16 + 1, 5], dtype="Int64")

    assert keys_of(strategy, pd.DataFrame({"x": column})) == ["low", None, "high", "low"]


def test_a_border_that_no_double_is_is_refused():
    """A border that is rounded when the config is read would stand at another number."""
    told = problems("routing strategy", kind="bins", column="x", bins={"a": [None, BIG + 1], "b": [BIG + 2, None]})

    assert told == [
        "at.bins.a[1]: no double equals this whole number, so the border would move; choose one that a double holds."
    ]


def rule(operator: str, value: Any) -> RulesStrategy:
    when = {"column": "x", "operator": operator, "value": value}
    strategy = RulesStrategy(RulesConf([{"key": "yes", "when": when}], otherwise="no"))
    bound_: RulesStrategy = bound(strategy)
    return bound_


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
@given(step=st.integers(-3, 3))
def test_rules_compare_whole_numbers_as_they_are(operator, step):
    """2**53 + 1 is more than 2**53 in a rule, too."""
    value = BIG + step
    compare = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}[operator]

    for dtype in ("int64", "Int64", "object"):
        keys = keys_of(rule(operator, BIG + 1), pd.DataFrame({"x": pd.Series([value, 5], dtype=dtype)}))
        assert keys == ["yes" if compare(cell, BIG + 1) else "no" for cell in (value, 5)]


@pytest.mark.parametrize("operator", ["==", "!=", "in", "not_in"])
@pytest.mark.parametrize("dtype", ["float64", "object", "Float64", "category"])
def test_rules_do_not_take_a_rounded_number_for_theirs(operator, dtype):
    """A float that the rule's number may have been rounded to is refused; large floats that it is not are different."""
    listed = operator in ("in", "not_in")
    strategy = rule(operator, [BIG + 1, 7] if listed else BIG + 1)

    with pytest.raises(BadInputError, match=r"^column 'x' is compared with a whole number, and has floats"):
        keys_of(strategy, pd.DataFrame({"x": pd.Series([float(BIG), 1.5]).astype(dtype)}))
    different = "yes" if operator in ("!=", "not_in") else "no"
    assert keys_of(strategy, pd.DataFrame({"x": pd.Series([1e20, 1.5]).astype(dtype)})) == [different] * 2


def test_a_rule_names_a_whole_number_without_an_exponent():
    """What YAML read as a large float may be another number than was meant."""
    when = {"column": "x", "operator": "==", "value": 1e16}

    told = problems("routing strategy", kind="rules", rules=[{"key": "a", "when": when}])

    assert told == [
        "at.rules[0].when.value: a float this large may be a rounded number; write it without point or exponent."
    ]


def test_a_column_of_keys_of_every_width():
    """The strategy that reads a column says so by the width of the column, not by that of what lies beside it."""
    strategy = bound(ColumnStrategy(ColumnConf("k")))
    frame = pd.DataFrame({"k": np.array([2**24, 7], "float32"), "x": [0.5, 0.25]})

    with pytest.raises(BadInputError, match="float32, which is exact only below 2\\*\\*24"):
        keys_of(strategy, frame)
    assert keys_of(strategy, frame.astype({"k": "float64"})) == ["16777216", "7"]
