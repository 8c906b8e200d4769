"""What a strategy may return as keys: one value, or an array or list with one for each row; nothing else has a key."""

from __future__ import annotations

import array
import collections
import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mmeframe.errors import BadInputError, PluginError
from mmeframe.rows.batch import as_batch
from mmeframe.rows.key_columns import normalised
from mmeframe.rows.key_index import KeyIndex
from mmeframe.rows.keys import canonical
from mmeframe.spec import SubModelEntry
from tests.route.test_routing import Fleet, Raw, made, reached

KEYS = ["a", "7", "b"]
ROWS = pd.DataFrame({"p": KEYS}, index=[2, 0, 1])
FLEET = Fleet([["p"], []], [SubModelEntry(key, "", {"p": key}) for key in KEYS] + [SubModelEntry("all", "", {})])
FLEET = Fleet(FLEET.levels, FLEET.models, parts=["p"])


class Plain:
    """An object without a text of its own."""


class Shown(Plain):
    """An object that says something of itself, to programmers."""

    def __repr__(self) -> str:
        return "a"


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        pytest.param(lambda: (key for key in KEYS), "generator", id="generator"),
        pytest.param(lambda: map(str, KEYS), "map", id="map"),
        pytest.param(lambda: zip(KEYS, strict=True), "zip", id="zip"),
        pytest.param(lambda: filter(None, KEYS), "filter", id="filter"),
        pytest.param(lambda: iter(KEYS), "list_iterator", id="iterator"),
        pytest.param(lambda: enumerate(KEYS), "enumerate", id="enumerate"),
        pytest.param(lambda: dict.fromkeys(KEYS), "dict", id="dict"),
        pytest.param(lambda: dict.fromkeys(KEYS).keys(), "dict_keys", id="keys"),
        pytest.param(lambda: dict.fromkeys(KEYS, "a").values(), "dict_values", id="values"),
        pytest.param(lambda: dict.fromkeys(KEYS, "a").items(), "dict_items", id="items"),
        pytest.param(lambda: set(KEYS), "set", id="set"),
        pytest.param(lambda: frozenset(KEYS), "frozenset", id="frozenset"),
        pytest.param(lambda: collections.Counter(KEYS), "Counter", id="counter"),
        pytest.param(lambda: ROWS, "DataFrame", id="frame"),
        pytest.param(lambda: ROWS[["p"]], "DataFrame", id="frame-of-one-column"),
        pytest.param(lambda: ROWS.groupby("p"), "DataFrameGroupBy", id="groups"),
        pytest.param(lambda: pa.table(ROWS), "Table", id="arrow-table"),
        pytest.param(lambda: b"abc", "bytes", id="bytes"),
        pytest.param(lambda: bytearray(b"abc"), "bytearray", id="bytearray"),
        pytest.param(lambda: memoryview(b"abc"), "memoryview", id="memoryview"),
        pytest.param(lambda: str, "type", id="class"),
        pytest.param(lambda: str.upper, "method_descriptor", id="method"),
        pytest.param(lambda: len, "builtin_function_or_method", id="function"),
        pytest.param(lambda: Ellipsis, "ellipsis", id="ellipsis"),
        pytest.param(lambda: 1j, "complex", id="complex"),
        pytest.param(Plain, "Plain", id="object"),
        pytest.param(Shown, "Shown", id="object-with-a-repr"),
    ],
)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_what_is_no_key_and_no_array_is_refused(keys: Callable[[], Any], kind: str, n_rows: int):
    """Its text would be one key for all rows, and every row would go to the global sub-model."""
    routing = made(FLEET, {"p": Raw(lambda frame: keys())})

    with pytest.raises(PluginError) as caught:
        reached(routing, ROWS.head(n_rows))

    assert str(caught.value) == (
        f"routing.keys.p: the strategy returned a {kind}, which is neither one value nor an array with one "
        f"for each row.\n"
        "  route_keys returns one scalar for all rows, or an array, a Series or a list with one for each."
    )


class Array:
    """An array of another library: all that numpy asks for."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(KEYS, object)


ARRAYS = {
    "list": KEYS,
    "tuple": tuple(KEYS),
    "deque": collections.deque(KEYS),
    "UserList": collections.UserList(KEYS),
    "mixed-list": ["a", 7.0, "b"],
    "objects": np.array(KEYS, object),
    "numpy-text": np.array(KEYS),
    "series": pd.Series(KEYS, index=[1, 2, 0]),
    "nullable-series": pd.Series(KEYS, dtype="string"),
    "index": pd.Index(KEYS),
    "category": pd.Categorical(KEYS),
    "category-series": pd.Series(KEYS, dtype="category"),
    "category-index": pd.CategoricalIndex(KEYS),
    "arrow": pa.array(KEYS),
    "arrow-chunks": pa.chunked_array([KEYS[:1], KEYS[1:]]),
    "arrow-dictionary": pa.array(KEYS).dictionary_encode(),
    "arrow-scalars": [pa.scalar("a"), pa.scalar(7.0), pa.scalar("b")],
    "array-like": Array(),
    "masked": np.ma.array(KEYS, mask=False),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_has_a_key_for_each_row(name):
    """Numpy's, pandas', Arrow's, whatever numpy can read, and sequences: one for each row, in the order of the rows."""
    routing = made(FLEET, {"p": Raw(lambda frame: ARRAYS[name])})

    assert [id_ for id_, _, _ in reached(routing, ROWS)] == KEYS
    assert [it["key"]["p"] for it in routing.explain(as_batch(ROWS), {})] == KEYS


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("n_rows", [0, 1, 2, 4])
def test_an_array_of_another_length_is_refused(name, n_rows):
    """Also where it has one value, which could be meant for all rows."""
    rows = ROWS.reindex(range(n_rows))

    with pytest.raises(PluginError, match=f"^routing.keys.p: the strategy returned 3 key values for {n_rows} rows"):
        reached(made(FLEET, {"p": Raw(lambda frame: ARRAYS[name])}), rows)


@pytest.mark.parametrize(
    ("raw", "keys"),
    [
        pytest.param(range(3), ["0", "1", "2"], id="range"),
        pytest.param(array.array("q", [0, 1, 2]), ["0", "1", "2"], id="array"),
        pytest.param(pa.array([2**53 + 1, None, 7]), [str(2**53 + 1), None, "7"], id="arrow-whole-numbers"),
        pytest.param(pa.array([True, None, False]), ["True", None, "False"], id="arrow-booleans"),
        pytest.param(pa.array([1.0, None, 0.5]), ["1", None, "0.5"], id="arrow-floats"),
        pytest.param(np.ma.array([2**53 + 1, 5, 7], mask=[0, 1, 0]), [str(2**53 + 1), None, "7"], id="masked"),
        pytest.param(pd.Index([1, 2, 3]), ["1", "2", "3"], id="index"),
        pytest.param(
            pd.date_range("2020-01-01", periods=3).date, ["2020-01-01", "2020-01-02", "2020-01-03"], id="days"
        ),
        pytest.param(pd.interval_range(0, 3), ["(0, 1]", "(1, 2]", "(2, 3]"], id="intervals"),
    ],
)
def test_arrays_keep_their_values(raw, keys):
    """Whole numbers beside a missing one stay whole numbers, what is masked is missing."""
    found = normalised(raw, 3)
    index = KeyIndex.of([key for key in keys if key])

    assert [None if pd.isna(key) else key for key in found.tolist()] == keys
    assert index.codes(raw, 3).tolist() == [index.code(key) for key in keys]


class Colour(enum.StrEnum):
    RED = "a"


class Size(enum.IntEnum):
    BIG = 7


class Old(str, enum.Enum):  # noqa: UP042 - as it was written before Python 3.11: its str() is its name
    RED = "a"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param("a", "a", id="text"),
        pytest.param(7, "7", id="int"),
        pytest.param(True, "True", id="bool"),
        pytest.param(Decimal("7.00"), "7", id="decimal"),
        pytest.param(Fraction(7), "7", id="fraction"),
        pytest.param(np.float32(7), "7", id="float32"),
        pytest.param(np.str_("a"), "a", id="numpy-text"),
        pytest.param(np.array(7), "7", id="0d-array"),
        pytest.param(pa.scalar(7.0), "7", id="arrow-scalar"),
        pytest.param(Colour.RED, "a", id="enum-of-texts"),
        pytest.param(Old.RED, "a", id="text-and-enum"),
        pytest.param(Size.BIG, "7", id="enum-of-numbers"),
        pytest.param(uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", id="uuid"),
        pytest.param(dt.date(2020, 1, 2), "2020-01-02", id="date"),
        pytest.param(pd.Timestamp("2020-01-02"), "2020-01-02T00:00:00", id="timestamp"),
        pytest.param(pd.Period("2020-01"), "2020-01", id="period"),
        pytest.param(None, None, id="None"),
        pytest.param(pd.NA, None, id="NA"),
        pytest.param(pd.NaT, None, id="NaT"),
        pytest.param(float("nan"), None, id="nan"),
        pytest.param(pa.scalar(None), None, id="arrow-null"),
    ],
)
def test_one_value_is_the_key_of_all_rows(value, key):
    """What has a text that says what it is."""
    routing = made(FLEET, {"p": Raw(lambda frame: value)})

    assert canonical(value) == key
    assert [it["key"]["p"] for it in routing.explain(as_batch(ROWS), {})] == [key] * 3
    assert [id_ for id_, _, _ in reached(routing, ROWS)] == [key if key in KEYS else "all"] * 3


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Plain(), id="object"),
        pytest.param(Shown(), id="object-with-a-repr"),
        pytest.param(b"a", id="bytes"),
        pytest.param(np.bytes_(b"a"), id="numpy-bytes"),
        pytest.param(1j, id="complex"),
        pytest.param(["a"], id="list"),
        pytest.param({"a": 1}, id="dict"),
        pytest.param({"a"}, id="set"),
        pytest.param(iter("a"), id="iterator"),
        pytest.param(np.array(["a"]), id="array"),
        pytest.param(pd.Series(["a"]), id="series"),
        pytest.param(pa.scalar(["a"]), id="arrow-list"),
        pytest.param(np.void(b"a"), id="void"),
    ],
)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_what_is_no_key_among_keys_is_refused(value, n_rows):
    """No value of a row is a key by the text of its repr; that is the caller's error, whose rows it is of."""
    cells = np.empty(n_rows, object)
    cells[:] = "a"
    cells[n_rows - 1] = value
    routing = made(FLEET, {"p": Raw(lambda frame: cells)})

    with pytest.raises(BadInputError, match=r"^routing.keys.p: a routing key must be one value, not "):
        reached(routing, ROWS.head(n_rows))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        pytest.param(pa.array([{"a": 1}, {"a": 2}, None]), "dict", id="objects"),
        pytest.param(pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())), "list", id="maps"),
        pytest.param(pa.array([["a"], None, []]), "list", id="lists"),
    ],
)
@pytest.mark.parametrize("n_rows", [1, 3])
def test_a_column_of_arrow_that_holds_no_scalars(cells, kind, n_rows):
    """Its cells are told by their type, as those of a column of Python's objects are."""
    routing = made(FLEET, {"p": Raw(lambda frame: cells[:n_rows])})

    with pytest.raises(BadInputError, match=f"^routing.keys.p: a routing key must be one value, not {kind}"):
        reached(routing, ROWS.head(n_rows))
