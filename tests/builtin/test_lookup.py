"""Keys from a table about another key part."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import errors
from mmeframe.builtin.lookup import LookupConf, LookupStrategy
from mmeframe.errors import ConfigError, MissingError
from mmeframe.plugin import ComponentContext
from mmeframe.testing import bound, keys_of
from tests.builtin.options import made, problems

REGIONS = {"berlin": "eu", "paris": "eu", "boston": "us", "02108": "us", "7": 1}


def keys(strategy: LookupStrategy, values: Any) -> list[str | None]:
    """Keys of a part ``store`` with these values."""
    return keys_of(bound(strategy), pd.DataFrame({"store": values}))


def from_table(path: Path, **options: Any) -> LookupStrategy:
    return LookupStrategy(LookupConf("store", table=str(path), **{"to": "region", **options}))


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "stores.csv"
    path.write_text("store,region,size\nberlin,eu,1\nparis,eu,2\n02108,us,3\n7,,4\n8,9,5\n,eu,6\n")
    return path


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param(["berlin", "boston", "paris"], ["eu", "us", "eu"], id="text"),
        pytest.param(["berlin", "tokyo"], ["eu", None], id="unknown"),
        pytest.param(["berlin", None], ["eu", None], id="missing"),
        pytest.param(["02108", "2108"], ["us", None], id="leading-zero"),
        pytest.param([7, 8], ["1", None], id="integers"),
        pytest.param([7.0, np.nan], ["1", None], id="floats"),
        pytest.param(np.array(["7", 7, 7.0, None, "berlin"], object), ["1", "1", "1", None, "eu"], id="mixed"),
        pytest.param(pd.Categorical(["paris", "berlin", None], ["x", "berlin", "paris"]), ["eu", "eu", None], id="cat"),
        pytest.param(pd.array([7, None], dtype="Int64"), ["1", None], id="Int64"),
        pytest.param(["tokyo"], [None], id="one-row"),
        pytest.param([None, None], [None, None], id="all-missing"),
    ],
)
def test_values(values, found):
    """Each row has the answer for its part; a value that is not listed has no key."""
    assert keys(LookupStrategy(LookupConf("store", values=REGIONS)), values) == found


def test_a_part_of_the_whole_request():
    """A part that a parameter carries is one value for all rows."""
    strategy = bound(LookupStrategy(LookupConf("store", values=REGIONS)))

    class Batch:
        def part(self, name: str) -> pd.Categorical:
            return pd.Categorical(["berlin"] * 3)

    assert list(strategy.route_keys(Batch(), {})) == ["eu", "eu", "eu"]


def test_equal_answers_are_one_category():
    """The host looks up each answer once, however many values have it; only answers that are there are named."""
    strategy = bound(LookupStrategy(LookupConf("store", values=REGIONS)))
    raw = strategy.route_keys(_Part(pd.Categorical(["berlin", "paris", "berlin"])), {})

    assert list(raw.categories) == ["eu"]


class _Part:
    def __init__(self, values: pd.Categorical) -> None:
        self.values = values

    def part(self, name: str) -> pd.Categorical:
        return self.values


def test_csv(csv):
    """CSV is text: leading zeros survive, and an empty cell says nothing on either side."""
    assert keys(from_table(csv), ["02108", "paris", "7", 8, "", "tokyo"]) == ["us", "eu", None, "9", None, None]


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"store": [7, 8], "region": [1, 2]}, id="int64"),
        pytest.param({"store": [7.0, 8.0], "region": [1.0, 2.0]}, id="whole-floats"),
        pytest.param({"store": pd.array([7, 8, None], "Int64"), "region": pd.array([1, 2, 3], "Int64")}, id="nullable"),
        pytest.param({"store": ["7", "8"], "region": ["1", "2"]}, id="text"),
        pytest.param({"store": pd.Categorical(["7", "8"]), "region": pd.Categorical(["1", "2"])}, id="category"),
    ],
)
def test_parquet(tmp_path, table):
    """Whole numbers are one key in whatever type the table and the rows hold them."""
    path = tmp_path / "stores.parquet"
    pd.DataFrame(table).to_parquet(path)

    for values in ([8, 7, 9], ["8", "7", "9"], [8.0, 7.0, 9.5]):
        assert keys(from_table(path), values) == ["2", "1", None]


@pytest.mark.parametrize("empty", [None, np.nan, ""])
def test_parquet_without_an_answer(tmp_path, empty):
    """An empty, null or NaN answer is a missing key."""
    path = tmp_path / "stores.PARQUET"
    pd.DataFrame({"store": ["a", "b"], "region": ["eu", empty]}).to_parquet(path)

    assert keys(from_table(path), ["a", "b"]) == ["eu", None]


def test_a_byte_order_mark_and_quotes(tmp_path):
    """CSV as spreadsheets write it."""
    path = tmp_path / "stores.csv"
    path.write_bytes("\ufeffstore,region\r\n\"a,b\",eu\r\n'c',us\r\n".encode())

    assert keys(from_table(path), ["a,b", "'c'"]) == ["eu", "us"]


def test_the_columns_can_have_other_names(csv):
    """``key`` names the column with the part's values."""
    strategy = LookupStrategy(LookupConf("store", table=str(csv), key="size", to="store"))

    assert keys(strategy, [1, 2, 6]) == ["berlin", "paris", None]


def test_the_table_is_not_needed_to_serve(csv):
    """The router reads what the build stored: a table that changed or went away changes nothing."""
    strategy = from_table(csv)
    files = strategy.prepare()
    csv.unlink()
    strategy.bind(ComponentContext({name: memoryview(data) for name, data in files.items()}))

    assert keys_of(strategy, pd.DataFrame({"store": ["berlin"]})) == ["eu"]


def test_the_stored_file_is_deterministic(tmp_path):
    """The order of the table's rows changes no byte."""
    rows = ["a,1", "b,2", "c,1"]
    found = set()
    for lines in (rows, rows[::-1]):
        path = tmp_path / "stores.csv"
        path.write_text("\n".join(["store,region", *lines]))
        found.add(tuple(from_table(path).prepare().items()))

    assert found == {(("table.json", b'{"a":"1","b":"2","c":"1"}'),)}


def test_inline_values_need_no_file():
    """The values are options, which the bundle has anyway."""
    assert LookupStrategy(LookupConf("store", values=REGIONS)).prepare() == {}


def test_keys(csv):
    """All answers, each once."""
    assert [*bound(from_table(csv)).keys()] == ["9", "eu", "us"]
    assert [*bound(LookupStrategy(LookupConf("store", values=REGIONS))).keys()] == ["1", "eu", "us"]


def test_inputs():
    """It reads a part, and no column."""
    inputs = LookupStrategy(LookupConf("store", values=REGIONS)).inputs()

    assert (inputs.parts, dict(inputs.columns), inputs.params) == (("store",), {}, ())


def test_a_key_with_equal_rows(tmp_path):
    """A value that stands twice with one answer is fine."""
    path = tmp_path / "stores.csv"
    path.write_text("store,region\na,eu\na,eu\n")

    assert keys(from_table(path), ["a"]) == ["eu"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        pytest.param("a,1\na,2\nb,1\n", "answers 1 key in two ways: 'a'.", id="one"),
        pytest.param("a,1\na,\n", "answers 1 key in two ways: 'a'.", id="once-empty"),
        pytest.param(
            "".join(f"k{number},{answer}\n" for number in range(5) for answer in "12"),
            "answers 5 keys in two ways: 'k0', 'k1', 'k2' ...",
            id="many",
        ),
    ],
)
def test_a_key_with_two_answers(tmp_path, rows, text):
    """Which of two answers is right is not guessed; at most three of the keys are named."""
    path = tmp_path / "stores.csv"
    path.write_text(f"store,region\n{rows}")

    with pytest.raises(ConfigError) as caught:
        from_table(path).prepare()

    assert (caught.value.where, caught.value.hint) == ("table", "Keep one row for each value of 'store'.")
    assert text in caught.value.what


def test_numbers_and_their_text_are_one_key(tmp_path):
    """7 and 7.0 in a column of floats are one value, and so are their rows."""
    path = tmp_path / "stores.parquet"
    pd.DataFrame({"store": ["7", "7"], "region": [1.0, 2.0]}).to_parquet(path)

    with pytest.raises(ConfigError, match="answers 1 key in two ways: '7'"):
        from_table(path).prepare()


@pytest.mark.parametrize(
    ("options", "where", "text"),
    [
        pytest.param({"to": "regoin"}, "to", "has no column 'regoin'.\n  Did you mean 'region'? ", id="to"),
        pytest.param({"key": "stroe"}, "key", "has no column 'stroe'.\n  Did you mean 'store'? ", id="key"),
        pytest.param({"to": "zzz"}, "to", "has no column 'zzz'.\n  Its columns: region, size, store.", id="nothing"),
    ],
)
def test_a_column_that_is_not_there(csv, options, where, text):
    """The nearest column is named, and all that exist."""
    with pytest.raises(ConfigError) as caught:
        from_table(csv, **options).prepare()

    assert caught.value.where == where
    assert text in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    """The path is shown whole."""
    with pytest.raises(MissingError) as caught:
        from_table(tmp_path / "store.csv").prepare()

    assert str(caught.value) == f"table: there is no file {tmp_path}/store.csv."


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        pytest.param("stores.xlsx", b"store,region\na,eu\n", "is none of .csv, .tsv, ", id="ending"),
        pytest.param("stores.csv", b"", "cannot be read: No columns to parse from file.", id="empty"),
        pytest.param(
            "stores.csv",
            b"store,region\na,eu,x\n",
            "cannot be read: a row has more values than the header",
            id="too-many-values",
        ),
        pytest.param(
            "stores.csv",
            b"store,region\n\xff,eu\n",
            "cannot be read: 'utf-8' codec can",
            id="not-utf-8",
        ),
        pytest.param("stores.parquet", b"store,region\n", "cannot be read: Parquet magic bytes", id="no-parquet"),
        pytest.param("stores.csv", b"store,region\n", "has no row with both 'store' and 'region'.", id="no-rows"),
        pytest.param("stores.csv", b"store,region\na\n", "has no row with both 'store' and 'region'.", id="no-answers"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, name, content, text):
    """What is wrong with the file, without its content."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        from_table(path).prepare()

    assert caught.value.where == "table"
    assert caught.value.what.startswith(f"{path} {text}")
    assert "eu" not in caught.value.what


def test_a_column_that_stands_twice(tmp_path):
    """Which one is meant is not guessed."""
    path = tmp_path / "stores.csv"
    path.write_text("store,region,region\na,eu,us\n")

    with pytest.raises(ConfigError, match=r"its header has 'region' twice\.") as caught:
        from_table(path).prepare()

    assert caught.value.where == "table"


def test_lists_in_a_table(tmp_path):
    """A cell is one value."""
    path = tmp_path / "stores.parquet"
    pd.DataFrame({"store": ["a"], "region": [["eu", "us"]]}).to_parquet(path)

    with pytest.raises(ConfigError, match="in the column 'region' a routing key must be one value, not ndarray"):
        from_table(path).prepare()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param({}, ["at.part: this option is required.\n  Set it: at.part=<value>."], id="no-part"),
        pytest.param(
            {"part": "s"},
            ["at: nothing to look up in: give table, a CSV or Parquet file, or values, as in {berlin: eu}."],
            id="neither",
        ),
        pytest.param(
            {"part": "s", "table": "a.csv", "to": "r", "values": {"a": "b"}},
            ["at: table and values are both given; keep one."],
            id="both",
        ),
        pytest.param(
            {"part": "s", "table": "a.csv"}, ["at.to: a table needs it: the column with the answers."], id="no-to"
        ),
        pytest.param(
            {"part": "s", "values": {"a": "b"}, "to": "r"},
            ["at.to: it names a column of a table, and there is no table."],
            id="to-without-table",
        ),
        pytest.param(
            {"part": "s", "values": {"a": "b"}, "key": "r"},
            ["at.key: it names a column of a table, and there is no table."],
            id="key-without-table",
        ),
        pytest.param(
            {"part": "s", "values": {"no": False, 7: "x"}},
            [
                f"at.values.no: input should be a valid string.\n  YAML read this as bool False; {errors.QUOTE}.",
                f"at.values.7: input should be a valid string.\n  YAML read this as int 7; {errors.QUOTE}.",
            ],
            id="yaml",
        ),
        pytest.param({"part": "s", "values": {"a": 1.5}}, ["at.values.a"], id="fraction"),
        pytest.param({"part": "s", "values": {"a": None}}, ["at.values.a"], id="null"),
        pytest.param({"part": "s", "values": {"a": ""}}, ["at.values.a"], id="empty"),
    ],
)
def test_wrong_options(options, found):
    """Each mistake is told at its own path."""
    told = problems("routing strategy", kind="lookup", **options)

    assert len(told) == len(found)
    assert all(one.startswith(start) for one, start in zip(sorted(told), sorted(found), strict=True))


def test_made_from_a_bundle():
    """What the bundle records makes the same strategy."""
    strategy = made("routing strategy", kind="lookup", part="store", values=REGIONS)

    assert keys(strategy, ["berlin", 7]) == ["eu", "1"]


def test_a_million_rows_and_five_thousand_keys():
    """The work is done once per distinct value: a million rows cost little more than one take."""
    names = [f"store_{number}" for number in range(5000)]
    strategy = bound(LookupStrategy(LookupConf("store", values={name: f"r{at % 50}" for at, name in enumerate(names)})))
    part = _Part(pd.Categorical.from_codes(np.random.default_rng(0).integers(-1, 5000, 1_000_000), names))

    start = time.perf_counter()
    raw = strategy.route_keys(part, {})
    seconds = time.perf_counter() - start

    assert (len(raw), len(raw.categories)) == (1_000_000, 50)
    # Some 10 ms; a Python loop over rows would take longer than this.
    assert seconds < 0.2


@settings(max_examples=50, deadline=None)
@given(
    table=st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from(["x", "y", 1, 2]), min_size=1),
    rows=st.lists(st.sampled_from([*"abcdefgh", None]), max_size=12),
)
def test_each_row_is_looked_up_by_itself(table, rows):
    """Any rows have what a dict says about each."""
    expected = [str(table[row]) if row in table else None for row in rows]

    assert keys(LookupStrategy(LookupConf("store", values=table)), pd.Series(rows, dtype=object)) == expected
